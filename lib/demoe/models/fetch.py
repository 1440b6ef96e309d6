"""Fetching weights: from their address, a mirror or a path; whole and checked, or not at all."""

from __future__ import annotations

import http
import http.client
import shutil
import urllib.error
import urllib.request
from pathlib import Path

from tqdm.auto import tqdm

from demoe.core import __version__
from demoe.core.downloads import no_answer, unreachable
from demoe.core.files import alone, checksum, replacing

from . import checkpoints
from .pretrained import Item

TIMEOUT = 20.0  # seconds without a byte


class CannotFetch(RuntimeError):
    """Weights that were not fetched. The message is a sentence that says what to do."""


def fetch(item: Item, source: str | None = None, folder: Path | None = None, progress: bool = False) -> Path:
    """The path of the file, fetched if it is not in ``folder`` (default ``item.home()``) yet.

    ``source``: an address (http or https; one that ends in "/" is a folder), or the path of a file or a folder that
    holds it; None takes the item's own. One given as ``source`` is asked even with HF_HUB_OFFLINE. The SHA-256 is
    compared with as much of it as is published, and a network must be readable as one; else nothing is kept, and
    ``CannotFetch`` says why, as it does within seconds where there is no network.
    """
    folder = Path(folder) if folder else item.home()
    target = folder / item.file
    place = None if target.is_file() else _place(item, source)  # what is refused at once leaves no folder and no lock
    with alone(folder / f".{item.file}.lock", f"another process is fetching {item.file}: waiting for it"):
        if target.is_file():
            _check(item, target, f"delete {target} and fetch it again")
            return target
        place = place or _place(item, source)
        with replacing(target) as partial:
            if isinstance(place, Path):
                shutil.copyfile(place, partial)
                _check(item, partial, "name another file with --from")
            else:
                _download(place, partial, item.file, progress)
                _check(item, partial, "run this again, or name another source with --from")
    return target


def _place(item: Item, source: str | None) -> str | Path:
    """The address, which answers, or the file to take it from."""
    wanted, by_hand = source or item.url, f"demoe weights fetch {item.name} --from FILE"
    if item.owner:
        raise CannotFetch(f"{item.name} comes with {item.page} and is not fetched")
    if not wanted:
        raise CannotFetch(f"no address of {item.file} is known: get it from {item.page}, then {by_hand}")
    if not wanted.startswith(("http://", "https://")):
        file = Path(wanted).expanduser()
        file = file / item.file if file.is_dir() else file
        if not file.is_file():
            raise CannotFetch(f"there is no file {file}")
        return file
    url = wanted + item.file if wanted.endswith("/") else wanted
    if why := no_answer(url) if source else unreachable(url):
        raise CannotFetch(
            f"{item.file} cannot be fetched from {url} ({why}): fetch it on another machine from {item.page}, then "
            f"{by_hand}; or name a mirror with --from ADDRESS"
        )
    return url


def _check(item: Item, path: Path, advice: str) -> None:
    digest = checksum(path)
    if not digest.startswith(item.sha256):
        expected = item.sha256 + "..." * (len(item.sha256) < 64)
        raise CannotFetch(f"{item.file} has SHA-256 {digest}, expected {expected}; {advice}")
    if item.network:
        try:
            checkpoints.load(path)
        except checkpoints.CheckpointError as error:
            raise CannotFetch(f"this is no {item.file}: {error} {advice}") from None


def _download(url: str, partial: Path, name: str, progress: bool) -> None:
    """The whole of what the address gives, in ``partial``; what an earlier call brought of it is gone on from.

    That waits in ``.NAME.begun``, with the address and the version that its server gave, which must be the same again.
    By hand, because ``torch.hub.download_url_to_file`` waits for ever where a server falls silent, takes the page that
    Google Drive shows instead of a file, and takes what a connection brought before it broke off for the whole.
    """
    begun, version = (partial.with_name(f".{name}.{what}") for what in ("begun", "version"))
    known = version.read_text().splitlines() if begun.is_file() and version.is_file() else []
    asked = {"User-Agent": f"demoe/{__version__}"}
    if known[:1] == [url]:
        asked |= {"Range": f"bytes={begun.stat().st_size}-", "If-Range": known[1]}
    again = "run this again, or name another source with --from"
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())  # SharePoint gives no file without
    try:
        with browser.open(urllib.request.Request(url, headers=asked), timeout=TIMEOUT) as answer:
            if answer.headers.get_content_type() == "text/html":
                raise CannotFetch(f"{url} gives a web page, not the file: open it in a browser, then use --from FILE")
            there = begun.stat().st_size if answer.status == http.HTTPStatus.PARTIAL_CONTENT else 0
            coming = int(answer.headers.get("Content-Length") or 0)
            length = there + coming if coming else 0
            if coming > shutil.disk_usage(partial.parent).free:
                raise CannotFetch(f"{url} has {length} bytes, which do not fit on the disk of {partial.parent}")
            tag = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
            kept = bool(tag) and not tag.startswith("W/") and answer.headers.get("Accept-Ranges") == "bytes"
            version.unlink(missing_ok=True)
            if kept:
                version.write_text(f"{url}\n{tag}\n")
            bar = {"total": length or None, "initial": there, "desc": name, "leave": False, "disable": not progress}
            with begun.open("ab" if there else "wb") as file, tqdm.wrapattr(answer, "read", **bar) as stream:
                shutil.copyfileobj(stream, file)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and "Range" in asked:
            begun.unlink()  # all of it came, or it is another file now
            return _download(url, partial, name, progress)
        raise CannotFetch(f"{url} answers {error.code} {error.reason}: name another source with --from") from None
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, OSError) and error.filename:  # this machine's disk
            raise
        raise CannotFetch(f"{url} broke off ({getattr(error, 'reason', error)}): {again}") from None
    if (size := begun.stat().st_size) < length:
        goes_on = ", and it goes on from there" if kept else ""
        if not kept:
            begun.unlink()
        raise CannotFetch(f"{url} broke off after {size} of {length} bytes: run this again{goes_on}")
    begun.replace(partial)
    version.unlink(missing_ok=True)
