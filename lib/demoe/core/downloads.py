"""Pretrained weights that metrics need: on this machine, to be had, or missing. Decided within seconds."""

from __future__ import annotations

import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import torch

PROBE_SECONDS = 5.0  # for a host to answer: what a download itself would wait is most of a minute


class CannotMeasure(RuntimeError):
    """A metric has no value for this picture, or on this machine.

    ``reason`` is short and names no machine's folder, for tables; the message also says what to do about it.
    """

    def __init__(self, reason: str, advice: str = ""):
        super().__init__(f"{reason}: {advice}" if advice else reason)
        self.reason = reason


def require(metric: str, files: Sequence[str], url: str, folder: str = "") -> None:
    """Raises ``CannotMeasure`` if one of the ``files`` is neither in torch's hub cache nor can be fetched from ``url``.

    ``folder`` is the place below ``torch.hub.get_dir()``. With ``HF_HUB_OFFLINE=1`` nothing is asked for: the cache
    decides.
    """
    place = Path(torch.hub.get_dir()) / folder
    missing = [name for name in files if not (place / name).is_file()]
    if missing and (why := unreachable(url)):
        raise CannotMeasure(
            f"weights missing ({', '.join(missing)})",
            f"{metric} needs them in {place}, and {url} gives none ({why}); run this once with network, or put the "
            "files there",
        )


def unreachable(url: str) -> str:
    """Why nothing can be fetched from the host of ``url``; "" if it answers. With HF_HUB_OFFLINE=1 it is not asked."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return "HF_HUB_OFFLINE is set"
    return no_answer(url)


def no_answer(url: str) -> str:
    """Why the host of ``url`` gives nothing; "" if it answers. Each is asked at most once a minute: a network that was
    gone may be back."""
    return _asked("/".join(url.split("/")[:3]), int(time.monotonic() // 60))


@lru_cache
def _asked(host: str, minute: int) -> str:
    answer = [f"no answer within {PROBE_SECONDS:g} s"]

    def ask() -> None:
        try:
            with urllib.request.urlopen(urllib.request.Request(host, method="HEAD"), timeout=PROBE_SECONDS):
                answer[0] = ""
        except urllib.error.HTTPError:  # it says no to this question, but it answers
            answer[0] = ""
        except OSError as error:
            answer[0] = str(getattr(error, "reason", error))

    # In a thread, because the time limit of a connection does not hold for looking up the host's name.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PROBE_SECONDS)
    return answer[0]
