"""Videos out and in again, through PyAV; what a new one does not have; the sentence where PyAV is not there."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import shake
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from demoe.app import cli, frames, video
from demoe.core import images
from demoe.core.files import PARTIAL
from demoe.models import checkpoints
from demoe.models.demoe import DeMoE, DeMoEConfig


def clip(count=6, size=(37, 50)):
    """Smooth colours that move: what a video encoder keeps."""
    y, x = np.mgrid[: size[0], : size[1]]
    return [
        np.stack([(x + 4 * i) * 3 % 256, y * 5 % 256, np.full_like(x, 40 * i)], -1).clip(0, 255).astype(np.uint8)
        for i in range(count)
    ]


def test_without_the_extra_there_is_a_sentence(monkeypatch):
    monkeypatch.setattr(video.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(video.NoReader, match=r"PyAV \(pip install 'demoe\[video\]'\).*folder of numbered"):
        video.require()


def test_out_and_in(tmp_path):
    flat = [np.full((37, 50, 3), colour, np.uint8) for colour in ((200, 30, 30), (30, 180, 40), (20, 40, 220))]
    assert video.write_video(tmp_path / "a.mp4", flat, Fraction(30000, 1001)) is True  # one row more
    found = list(video.frames(tmp_path / "a.mp4"))
    assert [frame.shape for frame in found] == [(38, 50, 3)] * 3  # one row more: H.264 has even sides
    assert max(np.abs(a[:37].astype(int) - b).max() for a, b in zip(found, flat, strict=True)) <= 8  # its colours too
    assert video.describe(tmp_path / "a.mp4").rate == Fraction(30000, 1001)
    with pytest.raises(FileExistsError):
        video.write_video(tmp_path / "a.mp4", flat, Fraction(25))
    with pytest.raises(ValueError, match="different sizes"):
        video.write_video(tmp_path / "b.mp4", [flat[0], flat[0][:10]], Fraction(25))
    (tmp_path / "c.mp4").write_bytes(b"no video at all")
    with pytest.raises(ValueError, match=r"c\.mp4"):
        list(video.frames(tmp_path / "c.mp4"))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.mp4", "c.mp4"]


@pytest.mark.parametrize("suffix", video.CONTAINERS)
def test_every_container(tmp_path, suffix):
    path = tmp_path / f"a{suffix.upper()}"
    assert video.write_video(path, clip(3, (36, 50)), Fraction(25)) is False
    assert len(list(video.frames(path))) == 3 and video.describe(path).rate == 25


def test_a_colon_in_a_name_makes_no_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("clip:1.mp4", "http:a.mp4"):
        video.write_video(Path(name), clip(2), Fraction(25))
        assert len(list(video.frames(Path(name)))) == 2


def test_what_is_not_written_and_what_a_killed_process_leaves(tmp_path, monkeypatch):
    for name in ("a.gif", "a.webm", "a"):
        with pytest.raises(ValueError, match=r"one of \.mp4"):
            video.write_video(tmp_path / name, clip(1), Fraction(25))
    with pytest.raises(ValueError, match="no frames"):
        video.write_video(tmp_path / "a.mp4", [], Fraction(25))
    seen, real = [], video._encode

    def watched(partial, *more):
        shape = real(partial, *more)
        seen.extend(file.name for file in tmp_path.iterdir())
        return shape

    monkeypatch.setattr(video, "_encode", watched)
    video.write_video(tmp_path / "a.mp4", clip(2), Fraction(25))
    assert len(seen) == 1 and seen[0].endswith(PARTIAL)  # which ``paths.sweep`` knows
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize(("size", "padded"), [((36, 50), False), ((36, 51), True)])
def test_the_command_says_that_odd_sides_were_made_even(tmp_path, capsys, size, padded):
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


def test_a_video_becomes_numbered_frames(tmp_path):
    video.write_video(tmp_path / "a.mp4", clip(), Fraction(25))
    torch.manual_seed(0)
    net = shake(DeMoE(DeMoEConfig(width=2, encoder_blocks=(1, 1), middle_blocks=1, decoder_blocks=(1, 1))))
    done = frames.deblur_frames(tmp_path / "a.mp4", tmp_path / "out", model=net)
    assert done.made == 6 and [file.name for file in done.files] == [f"{i:06d}.png" for i in range(1, 7)]
    (tmp_path / "out/000004.png").unlink()
    again = frames.deblur_frames(tmp_path / "a.mp4", tmp_path / "out", model=net)
    assert (again.made, again.kept) == (1, 5)
    (tmp_path / "a.mp4").unlink()
    video.write_video(tmp_path / "a.mp4", clip(5), Fraction(25))
    with pytest.raises(FileExistsError, match="made otherwise \\(video\\)"):
        frames.deblur_frames(tmp_path / "a.mp4", tmp_path / "out", model=net)


def encoded(path, pictures, codec="libx264", pixels="yuv420p", colours=None, times=None, matrix=None, shape=None):
    """A video as others write them."""
    import av

    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=25, options={"crf": "4"} if codec == "libx264" else {})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt, context = pixels, stream.codec_context
        if colours:
            context.colorspace, context.color_primaries, context.color_trc, context.color_range = colours
        if shape:
            stream.sample_aspect_ratio = shape
        if times:
            context.time_base = Fraction(1, 1000)
        if matrix:
            stream.set_display_matrix(matrix)
        for i, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            into = {"dst_colorspace": colours[0], "dst_color_range": colours[3]} if colours else {}
            frame = frame.reformat(format=pixels, **into)
            if times:
                frame.pts, frame.time_base = times[i], Fraction(1, 1000)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())


@pytest.mark.parametrize("lines", [64, 720])
@pytest.mark.parametrize("matrix", [1, 5, 9])
@pytest.mark.parametrize("colour_range", [1, 2])
def test_colours_are_those_of_the_files_matrix_and_range(tmp_path, lines, matrix, colour_range):
    colours = (200, 40, 60), (40, 180, 60), (30, 60, 200), (250, 250, 250), (8, 8, 8)
    frames_in = [np.full((lines, 64, 3), colour, np.uint8) for colour in colours]
    encoded(tmp_path / "a.mkv", frames_in, pixels="yuv444p", colours=(matrix, 1, 1, colour_range))
    for before, after in zip(frames_in, video.frames(tmp_path / "a.mkv"), strict=True):
        assert np.abs(before.astype(int) - after).max() <= 4


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("across", [1, -1])
@pytest.mark.parametrize("down", [1, -1])
def test_display_matrices_turn_and_mirror(tmp_path, swapped, across, down):
    a, b, c, d = (0, down, across, 0) if swapped else (across, 0, 0, down)
    picture = np.zeros((32, 48, 3), np.uint8)
    picture[:8, :16] = 255, 0, 0  # one corner
    encoded(tmp_path / "a.mp4", [picture] * 2, matrix=[a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30])
    frame = next(video.frames(tmp_path / "a.mp4"))
    assert frame.shape[:2] == ((32, 48) if a else (48, 32))
    right, low = across < 0, down < 0  # x goes to ax + cy, y to bx + dy
    corner = frame[-6:] if low else frame[:6]
    corner = corner[:, -6:] if right else corner[:, :6]
    assert corner[..., 0].mean() > 200 and frame[..., 0].mean() < 60


@pytest.mark.parametrize(("degrees", "shape"), [(91, (48, 32)), (45, (32, 48))])
def test_odd_angles_are_rounded_or_told(tmp_path, degrees, shape):
    a, b = (int(65536 * turn(np.radians(degrees))) for turn in (np.cos, np.sin))
    encoded(tmp_path / "a.mp4", clip(2, (32, 48)), matrix=[a, b, 0, -b, a, 0, 0, 0, 1 << 30])
    assert next(video.frames(tmp_path / "a.mp4")).shape[:2] == shape
    assert len(video.describe(tmp_path / "a.mp4").lost) == (degrees == 45)


def test_what_a_new_video_does_not_have_is_told(tmp_path):
    pictures = clip(6, (32, 48))
    plain = {"a.mp4": {}, "b.mp4": {"times": [0, 40, 80, 120, 160, 200]}, "j.mkv": {"times": [0, 8, 17, 25, 33, 42]}}
    odd = {
        "c.mp4": ({"pixels": "yuv420p10le", "colours": (9, 9, 16, 1)}, ("10 bits", "HDR (PQ)", "BT.2020")),
        "d.mp4": ({"times": [0, 40, 80, 880, 920, 960]}, ("variable rate",)),
        "e.mov": ({"codec": "qtrle", "pixels": "argb"}, ("transparency",)),
        "f.mp4": ({"shape": Fraction(4, 3)}, ("4:3",)),
        "g.mp4": ({"times": [0, 40, 80, 140, 180, 220]}, ("variable rate",)),
        "h.mp4": ({"colours": (1, 12, 1, 1)}, ("Display P3",)),
        "j.mp4": ({"colours": (8, 1, 1, 1)}, ("colour matrix",)),  # YCgCo
        "i.webm": ({"codec": "libvpx-vp9", "pixels": "yuva420p"}, ("transparency",)),
    }
    for name, options in plain.items():
        encoded(tmp_path / name, pictures, **options)
        assert video.describe(tmp_path / name).lost == ()
    for name, (options, words) in odd.items():
        encoded(tmp_path / name, pictures, **options)
        lost = video.describe(tmp_path / name).lost
        assert len(lost) == len(words) and all(word in phrase for word, phrase in zip(words, lost, strict=True))


def test_sound_alone_is_no_video(tmp_path):
    import av

    with av.open(str(tmp_path / "a.mp4"), "w") as file:
        stream = file.add_stream("aac", rate=48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48000
        file.mux(stream.encode(frame))
        file.mux(stream.encode())
    with pytest.raises(ValueError, match=r"a\.mp4 holds sound but no pictures that move"):
        video.describe(tmp_path / "a.mp4")


def test_a_damaged_frame_is_told_and_the_others_are_read(tmp_path):
    encoded(tmp_path / "a.avi", list(np.random.default_rng(0).integers(0, 256, (9, 32, 48, 3), dtype=np.uint8)))
    data = bytearray((tmp_path / "a.avi").read_bytes())
    at = [at for at in range(len(data)) if data[at : at + 4] == b"00dc"][4] + 8  # its fifth packet
    data[at : at + 400] = bytes(400)
    (tmp_path / "a.avi").write_bytes(data)
    assert video.describe(tmp_path / "a.avi").lost == ("frames that are damaged (1 of them)",)
    torch.manual_seed(0)
    net = shake(DeMoE(DeMoEConfig(width=2, encoder_blocks=(1, 1), middle_blocks=1, decoder_blocks=(1, 1))))
    done = frames.deblur_frames(tmp_path / "a.avi", tmp_path / "out", model=net)
    assert done.made == 8 and len(done.failed) == 1 and "'s frame" in done.failed[0] and "is damaged" in done.failed[0]


def test_sizes_that_change_are_told_before_anything_is_made(tmp_path, capsys):
    for name, size in {"a.mpg": (32, 48), "b.mpg": (48, 64)}.items():
        encoded(tmp_path / name, clip(4, size), codec="mpeg2video")
    (tmp_path / "c.mpg").write_bytes((tmp_path / "a.mpg").read_bytes() + (tmp_path / "b.mpg").read_bytes())
    with pytest.raises(SystemExit):
        cli.main(["frames", str(tmp_path / "c.mpg"), "-o", str(tmp_path / "out"), "--video", str(tmp_path / "v.mp4")])
    assert "different sizes, of which no video can be made: 48x32 and 64x48" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_cut_file_and_a_picture_are_told(tmp_path):
    noise = list(np.random.default_rng(0).integers(0, 256, (30, 32, 48, 3), dtype=np.uint8))
    encoded(tmp_path / "a.mkv", noise)
    assert video.describe(tmp_path / "a.mkv").lost == ()
    data = (tmp_path / "a.mkv").read_bytes()
    (tmp_path / "a.mkv").write_bytes(data[: len(data) // 2])
    assert "it is cut short" in video.describe(tmp_path / "a.mkv").lost[0]
    images.write_photograph(tmp_path / "a.png", images.from_array(noise[0]))
    (tmp_path / "a.png").rename(tmp_path / "a.mp4")
    with pytest.raises(ValueError, match="is a picture and no video"):
        video.describe(tmp_path / "a.mp4")


def test_what_frames_and_their_video_do_not_keep_is_told(tmp_path, capsys):
    net = DeMoE(DeMoEConfig(width=2, encoder_blocks=(1, 1), middle_blocks=1, decoder_blocks=(1, 1)))
    weights = checkpoints.save(net, tmp_path / "w.safetensors")
    (tmp_path / "in").mkdir()
    text = PngInfo()
    text.add_text("Comment", "seen")
    Image.fromarray(np.full((36, 50, 4), 90, np.uint8)).save(tmp_path / "in/1.png", pnginfo=text)
    deep = images.from_array(np.full((36, 50, 3), 9000, np.uint16))
    images.write_photograph(tmp_path / "in/2.png", deep)
    words = ["frames", tmp_path / "in", "-o", tmp_path / "out", "--weights", weights, "--video", tmp_path / "v.mp4"]
    assert cli.main([*map(str, words), "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    assert "its text not kept (in 1 frames)" in out
    assert "not kept in the video: 16 bits a sample, transparency" in out
