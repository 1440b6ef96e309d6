"""Videos out and in again, through PyAV or ffmpeg, whichever is there; the sentence where neither is."""

import importlib.util
import shutil
from fractions import Fraction

import numpy as np
import pytest
import torch
from conftest import shake

from demoe.app import cli, frames, video
from demoe.core import images
from demoe.core.files import PARTIAL
from demoe.models import checkpoints
from demoe.models.demoe import DeMoE, DeMoEConfig

TOOLS = [
    name
    for name, there in (
        ("av", importlib.util.find_spec("av")),
        ("ffmpeg", shutil.which("ffmpeg") and shutil.which("ffprobe")),
    )
    if there
]


@pytest.fixture(params=["av", "ffmpeg"])
def tool(request, monkeypatch):
    if request.param not in TOOLS:
        pytest.skip(f"{request.param} is not installed")
    monkeypatch.setattr(video, "tool", lambda: request.param)
    return request.param


def clip(count=6, size=(37, 50)):
    """Smooth colours that move: what a video encoder keeps."""
    y, x = np.mgrid[: size[0], : size[1]]
    return [
        np.stack([(x + 4 * i) * 3 % 256, y * 5 % 256, np.full_like(x, 40 * i)], -1).clip(0, 255).astype(np.uint8)
        for i in range(count)
    ]


def test_without_a_program_there_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(video.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(video.shutil, "which", lambda name: None)
    with pytest.raises(video.NoReader, match=r"PyAV \(pip install 'demoe\[video\]'\) or ffmpeg.*folder of numbered"):
        video.tool()
    monkeypatch.setattr(video.shutil, "which", lambda name: f"/bin/{name}")
    assert video.tool() == "ffmpeg"


def test_out_and_in(tmp_path, tool):
    flat = [np.full((37, 50, 3), colour, np.uint8) for colour in ((200, 30, 30), (30, 180, 40), (20, 40, 220))]
    assert video.write(tmp_path / "a.mp4", flat, Fraction(30000, 1001)) is True  # one row more
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


@pytest.mark.parametrize("suffix", video.CONTAINERS)
def test_every_container(tmp_path, tool, suffix):
    path = tmp_path / f"a{suffix.upper()}"
    assert video.write(path, clip(3, (36, 50)), Fraction(25)) is False
    assert len(list(video.frames(path))) == 3 and video.rate(path) == 25


def test_what_is_not_written_and_what_a_killed_process_leaves(tmp_path, tool, monkeypatch):
    for name in ("a.gif", "a.webm", "a"):
        with pytest.raises(ValueError, match=r"one of \.mp4"):
            video.write(tmp_path / name, clip(1), Fraction(25))
    with pytest.raises(ValueError, match="no frames"):
        video.write(tmp_path / "a.mp4", [], Fraction(25))
    seen, encode = [], f"_{tool}_write"
    real = getattr(video, encode)

    def watched(partial, *more):
        real(partial, *more)
        seen.extend(file.name for file in tmp_path.iterdir())

    monkeypatch.setattr(video, encode, watched)
    video.write(tmp_path / "a.mp4", clip(2), Fraction(25))
    assert len(seen) == 1 and seen[0].endswith(PARTIAL)  # which ``paths.sweep`` knows
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]


def test_an_older_ffmpeg_is_asked_in_its_own_words(tmp_path, monkeypatch):
    """A program in its place that knows -vsync only, and gives two frames of 2x1 pixels."""
    program = tmp_path / "ffmpeg"
    program.write_text("""#!/bin/sh
case "$*" in
*-fps_mode*) echo "Unrecognized option 'fps_mode'." >&2; echo "Option not found" >&2; exit 1;;
*"-vsync passthrough"*) printf 'P6\\n2 1\\n255\\nabcdefP6\\n2 1\\n255\\nghijkl';;
esac
""")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(video, "tool", lambda: "ffmpeg")
    found = [frame.tobytes() for frame in video.frames(tmp_path / "a.mp4")]
    assert found == [b"abcdef", b"ghijkl"]
    program.write_text("#!/bin/sh\necho 'Invalid data' >&2; exit 1\n")
    with pytest.raises(ValueError, match=r"a\.mp4 is damaged or no video file: Invalid data"):
        list(video.frames(tmp_path / "a.mp4"))


@pytest.mark.parametrize(("size", "padded"), [((36, 50), False), ((36, 51), True)])
def test_the_command_says_that_odd_sides_were_made_even(tmp_path, tool, capsys, size, padded):
    torch.manual_seed(0)
    net = DeMoE(DeMoEConfig(width=2, encoder_blocks=(1, 1), middle_blocks=1, decoder_blocks=(1, 1)))
    weights = checkpoints.save(net, tmp_path / "w.safetensors")
    for number, frame in enumerate(clip(2, size)):
        images.write_photograph(tmp_path / f"in/{number}.png", images.from_array(frame))
    words = [
        "frames",
        tmp_path / "in",
        "-o",
        tmp_path / "out",
        "--weights",
        weights,
        "--device",
        "cpu",
        "--video",
        tmp_path / "v.mp4",
    ]
    assert cli.main([*map(str, words)]) == 0
    out = capsys.readouterr().out
    assert "v.mp4, 25 frames a second, without sound" in out and ("one pixel more at odd sides" in out) == padded


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
