"""Run as a program: reads hostile files in processes with little memory that say what came of each as JSON.

It takes lines of JSON [readers, folder, MiB, output, errors]: every file of the folder is read by each reader, with at
most so many MiB more of address space than after the imports, and what is said goes to the two files. The answer is the
exit status of a process of its own, forked because PyTorch takes seconds to import.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
import traceback
from pathlib import Path

SECONDS = 20  # for one file; a reader that needs more hangs


def readers() -> dict:
    """Name -> (function of a path, the exception that it may raise)."""
    import torch

    from demoe.core import images
    from demoe.data.real import pixels
    from demoe.models import checkpoints
    from demoe.models.checkpoint_files import read_weights

    torch.set_num_threads(1)
    return {
        "images": (images.read_photograph, images.ImageError),
        "pixels": (pixels.read_pixels, ValueError),
        "windows": (lambda path: pixels.read_pixels(path, (1, 2, 3, 4), bits=16), ValueError),
        "headers": (lambda path: (pixels.header(path), pixels.size(path)), ValueError),
        "checkpoints": (checkpoints.load, checkpoints.CheckpointError),
        "tensors": (read_weights, checkpoints.CheckpointError),
        "provenance": (checkpoints.provenance, checkpoints.CheckpointError),
    }


def main(known: dict, names: list[str], folder: str, mebibytes: int) -> None:
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = size + (mebibytes << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for name, path in [(name, path) for name in names for path in sorted(Path(folder).iterdir())]:
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


def serve() -> None:
    known = readers()
    for line in sys.stdin:
        *asked, output, errors = json.loads(line)
        if not (child := os.fork()):
            for number, file in ((1, output), (2, errors)):
                os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), number)
            try:
                main(known, *asked)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    serve()
