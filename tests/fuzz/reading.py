"""Run as a program: reads hostile files in a process with little memory and prints what came of each as JSON.

``reading.py READER,READER FOLDER MIB``: every file of FOLDER by each reader, with at most MIB more of address space
than after the imports.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
import time
from pathlib import Path

SECONDS = 20  # for one file; a reader that needs more hangs


def readers() -> dict:
    """Name -> (function of a path, the exception that it may raise)."""
    import torch

    from demoe import images
    from demoe.data.real import pixels
    from demoe.model import checkpoints

    torch.set_num_threads(1)
    return {
        "images": (images.read, images.ImageError),
        "pixels": (pixels.read, ValueError),
        "windows": (lambda path: pixels.read(path, (1, 2, 3, 4), bits=16), ValueError),
        "headers": (lambda path: (pixels.header(path), pixels.size(path)), ValueError),
        "checkpoints": (checkpoints.load, checkpoints.CheckpointError),
        "tensors": (checkpoints.tensors, checkpoints.CheckpointError),
        "provenance": (checkpoints.provenance, checkpoints.CheckpointError),
    }


def main(names: str, folder: str, mebibytes: str) -> None:
    known = readers()
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = size + (int(mebibytes) << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for name, path in [(name, path) for name in names.split(",") for path in sorted(Path(folder).iterdir())]:
        function, allowed = known[name]
        print(json.dumps({"reader": name, "file": path.name, "outcome": "began"}), flush=True)
        signal.alarm(SECONDS)
        start = time.perf_counter()
        outcome, sentence = "read", ""
        try:
            function(path)
        except allowed as error:
            outcome, sentence = "refused", str(error)
        except BaseException as error:
            outcome, sentence = type(error).__name__, str(error)
        signal.alarm(0)
        seconds = time.perf_counter() - start
        told = {"outcome": outcome, "sentence": sentence, "seconds": seconds}
        print(json.dumps({"reader": name, "file": path.name, **told}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
