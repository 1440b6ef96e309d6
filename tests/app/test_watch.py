"""Photographs that arrive in a folder: whole ones, once, and again when they have changed."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image

from demoe.app import watch
from demoe.models import checkpoints
from demoe.models.demoe import DeMoE, DeMoEConfig


def test_only_what_has_settled_is_given_and_once_in_each_state(tmp_path):
    looks = watch.arriving(tmp_path, pause=0)
    assert next(looks) == []
    (tmp_path / "a.jpg").write_bytes(b"half of ")
    (tmp_path / "notes.txt").touch()
    assert next(looks) == []  # it may be growing
    with (tmp_path / "a.jpg").open("ab") as stream:
        stream.write(b"a picture")
    assert next(looks) == []  # it was
    assert next(looks) == [tmp_path / "a.jpg"] and next(looks) == []
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/b.png").touch()
    os.utime(tmp_path / "a.jpg", (1, 1))  # written anew
    assert next(looks) == []
    assert sorted(next(looks)) == [tmp_path / "a.jpg", tmp_path / "sub/b.png"]
    (tmp_path / "a.jpg").unlink()
    assert next(looks) == [] == next(looks)
    (tmp_path / "gone").mkdir()
    looks = watch.arriving(tmp_path / "gone", pause=0)
    (tmp_path / "gone").rmdir()
    with pytest.raises(NotADirectoryError):
        next(looks)


def test_the_command(tmp_path):
    """What is there, what arrives and what is no picture; Ctrl-C ends it with the count and the status of an
    interruption."""
    torch.manual_seed(0)
    net = DeMoE(DeMoEConfig(width=2, encoder_blocks=(1,), middle_blocks=1, decoder_blocks=(1,)))
    checkpoints.save(net, tmp_path / "net.safetensors")
    inbox, out = tmp_path / "inbox", tmp_path / "inbox/restored"
    inbox.mkdir()
    picture = Image.fromarray(np.full((8, 9, 3), 99, np.uint8))
    picture.save(inbox / "first.png")
    out.mkdir()
    (out / "first.png").write_bytes(own := b"painted over by hand")  # what is there stays, and gets its comparison
    words = [
        "deblur",
        "--watch",
        str(inbox),
        "-o",
        str(out),
        "--weights",
        str(tmp_path / "net.safetensors"),
        "--compare",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "demoe", *words, "--compare"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_for(out / "first.png.compare.png", process)
        picture.save(inbox / "second.jpg")
        (inbox / "words.png").write_text("these are words")
        wait_for(out / "second.jpg.compare.png", process)
        time.sleep(1)  # written, it is counted only after that
        process.send_signal(signal.SIGINT)
        said, complained = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert said.startswith(f"watching {inbox}, until Ctrl-C\n") and said.count(" -> ") == 2
    assert "words.png is not a" in complained and complained.splitlines()[-1] == "demoe: interrupted"
    assert "2 deblurred (2 with warnings), 1 failed, 0 other files skipped" in complained
    results = ["first.png", "second.jpg"]
    assert sorted(file.name for file in out.iterdir()) == sorted(
        [*results, *(f"{name}.compare.png" for name in results)]
    )
    assert (out / "first.png").read_bytes() == own


def wait_for(file, process):
    """Until the file is there; the test's own time limit is a minute."""
    for _ in range(600):
        if file.exists():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    raise AssertionError(f"{file} did not come")
