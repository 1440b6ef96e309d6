"""``demoe app``: a page in the browser for people with photographs, served on this machine alone."""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
from pathlib import Path
from tempfile import TemporaryDirectory

from . import photos


def app(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Serves the page until Ctrl-C. What was uploaded and what was made goes away at the end."""
    if importlib.util.find_spec("gradio") is None:
        raise ModuleNotFoundError("demoe app needs Gradio: pip install 'demoe[gui]', or -e '.[gui]' in a checkout")
    model = photos.default_model(args.weights, args.device)
    network = photos.default_label() if args.weights is None else Path(args.weights).name
    for ends in ("SIGTERM", "SIGHUP"):  # as Ctrl-C does, so that no photographs stay behind; Windows has no SIGHUP
        if hasattr(signal, ends):
            signal.signal(getattr(signal, ends), signal.default_int_handler)
    with TemporaryDirectory(prefix="demoe-app-") as folder:
        os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": f"{folder}/uploads"}
        from . import window  # reads these

        results = Path(folder, "results")
        results.mkdir()
        page = window.page(model, network, results, args.max_memory)
        window.launch(page, results, args.port, not args.no_browser, _say)
    return 0


def _say(address: str) -> None:
    print(f"{address}  (on this machine alone; Ctrl-C ends it)", flush=True)
