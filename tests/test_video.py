"""Videos out and in again, through PyAV or ffmpeg, whichever is there; the sentence where neither is."""

import importlib.util
import shutil
from fractions import Fraction

import numpy as np
import pytest
import torch
from conftest import shake

from demoe import frames, video
from demoe.model.demoe import DeMoE, DeMoEConfig

TOOLS = [name for name, there in (("av", importlib.util.find_spec("av")),
                                  ("ffmpeg", shutil.which("ffmpeg") and shutil.which("ffprobe"))) if there]


@pytest.fixture(params=["av", "ffmpeg"])
def tool(request, monkeypatch):
    if request.param not in TOOLS:
        pytest.skip(f"{request.param} is not installed")
    monkeypatch.setattr(video, "tool", lambda: request.param)


def clip(count=6, size=(37, 50)):
    """Smooth colours that move: what a video encoder keeps."""
    y, x = np.mgrid[: size[0], : size[1]]
    return [np.stack([(x + 4 * i) * 3 % 256, y * 5 % 256, np.full_like(x, 40 * i)], -1).clip(0, 255).astype(np.uint8)
            for i in range(count)]


def test_without_a_program_there_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(video.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(video.shutil, "which", lambda name: None)
    with pytest.raises(video.NoReader, match=r"PyAV \(pip install 'demoe\[video\]'\) or ffmpeg.*folder of numbered"):
        video.tool()
    monkeypatch.setattr(video.shutil, "which", lambda name: f"/bin/{name}")
    assert video.tool() == "ffmpeg"


def test_out_and_in(tmp_path, tool):
    flat = [np.full((37, 50, 3), colour, np.uint8) for colour in ((200, 30, 30), (30, 180, 40), (20, 40, 220))]
    video.write(tmp_path / "a.mp4", flat, Fraction(30000, 1001))
    found = list(video.frames(tmp_path / "a.mp4"))
    assert [frame.shape for frame in found] == [(38, 50, 3)] * 3  # one row more: H.264 has even sides
    assert max(np.abs(a[:37].astype(int) - b).max() for a, b in zip(found, flat, strict=True)) <= 8  # its colours too
    assert video.rate(tmp_path / "a.mp4") == Fraction(30000, 1001)
    with pytest.raises(FileExistsError):
        video.write(tmp_path / "a.mp4", flat, Fraction(25))
    with pytest.raises(ValueError, match="different sizes"):
        video.write(tmp_path / "b.mp4", [flat[0], flat[0][:10]], Fraction(25))
    (tmp_path / "c.mp4").write_bytes(b"no video at all")
    with pytest.raises(ValueError, match=r"c\.mp4"):
        list(video.frames(tmp_path / "c.mp4"))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.mp4", "c.mp4"]


def test_a_video_becomes_numbered_frames(tmp_path, tool):
    video.write(tmp_path / "a.mp4", clip(), Fraction(25))
    torch.manual_seed(0)
    net = shake(DeMoE(DeMoEConfig(width=2, encoder_blocks=(1, 1), middle_blocks=1, decoder_blocks=(1, 1))))
    done = frames.deblur_frames(tmp_path / "a.mp4", tmp_path / "out", model=net)
    assert done.made == 6 and [file.name for file in done.files] == [f"{i:06d}.png" for i in range(1, 7)]
    (tmp_path / "out/000004.png").unlink()
    again = frames.deblur_frames(tmp_path / "a.mp4", tmp_path / "out", model=net)
    assert (again.made, again.kept) == (1, 5)
    (tmp_path / "a.mp4").unlink()
    video.write(tmp_path / "a.mp4", clip(5), Fraction(25))
    with pytest.raises(FileExistsError, match="made otherwise \\(video\\)"):
        frames.deblur_frames(tmp_path / "a.mp4", tmp_path / "out", model=net)
