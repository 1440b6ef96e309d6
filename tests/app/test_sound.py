"""The sound of a video goes along as it is, beside the picture that it went with, or is said to be lost."""

import json
from fractions import Fraction

import numpy as np
import pytest
import torch

from demoe.app import cli, video
from demoe.models import checkpoints
from demoe.models.demoe import DeMoE, DeMoEConfig

av = pytest.importorskip("av", reason="pip install 'demoe[video]'")
RATE = 16000  # samples a second


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    model = DeMoE(DeMoEConfig(width=2, encoder_blocks=(1,), middle_blocks=1, decoder_blocks=(1,)))
    return str(checkpoints.save(model, tmp_path_factory.mktemp("weights") / "w.safetensors"))


def talking(path, codec="aac", frames=25, fps=25, begin=0):
    """A video whose sound is silent but for a beep from the middle of its pictures on, which turn white there.

    ``begin``: seconds at which its first picture stands.
    """
    with av.open(str(path), "w") as file:
        picture = file.add_stream("libx264", rate=fps)
        picture.width, picture.height, picture.pix_fmt = 32, 32, "yuv420p"
        picture.codec_context.max_b_frames = 0
        sound = file.add_stream(codec, rate=RATE, layout="mono")
        half = (begin + frames / fps / 2) * RATE
        time = np.arange(int((begin + frames / fps) * RATE))
        wave = (np.sin(time * 2 * np.pi * 1000 / RATE) * (time >= half) * 20000).astype(np.int16)
        for start in range(0, len(wave), 1000):
            heard = av.AudioFrame.from_ndarray(wave[None, start : start + 1000], "s16", "mono")
            heard.sample_rate, heard.pts = RATE, start
            file.mux(sound.encode(heard))
        file.mux(sound.encode())
        for number in range(frames):
            array = np.full((32, 32, 3), 255 * (number >= frames / 2), np.uint8)
            seen = av.VideoFrame.from_ndarray(array, format="rgb24")
            seen.pts, seen.time_base = number + begin * fps, Fraction(1, fps)
            file.mux(picture.encode(seen))
        file.mux(picture.encode())
    return path


def beep(path):
    """(seconds at which the beep begins, seconds of sound)."""
    with av.open(str(path)) as file:
        parts = [(part.time, part.to_ndarray().astype(float)) for part in file.decode(audio=0)]
    loud = np.abs(np.concatenate([part[0] for _, part in parts]))
    return parts[0][0] + np.argmax(loud > loud.max() / 4) / RATE, len(loud) / RATE


@pytest.mark.parametrize("begin", [0, 1])
def test_it_stays_beside_its_picture(tmp_path, begin):
    clip = talking(tmp_path / "clip.mp4", begin=begin)
    described = video.describe(clip)
    assert described.sound == "aac" and video.takes_sound(tmp_path / "x.mov", "aac")
    pictures = list(video.frames(clip))
    video.write_video(tmp_path / "new.mkv", pictures, described.rate, clip)
    began, lasts = beep(tmp_path / "new.mkv")
    assert began == pytest.approx(0.5, abs=0.08) and lasts == pytest.approx(1, abs=0.2)  # an AAC packet has 64 ms
    assert len(list(video.frames(tmp_path / "new.mkv"))) == 25
    video.write_video(tmp_path / "short.mp4", pictures[:5], described.rate, clip)
    with av.open(str(tmp_path / "short.mp4")) as file:
        assert sum(len(part.to_ndarray()[0]) for part in file.decode(audio=0)) / RATE < 0.5  # cut with the pictures


def test_the_command_keeps_it_or_says_so(tmp_path, weights, capsys):
    clip = talking(tmp_path / "clip.mp4", frames=3)
    words = ["frames", str(clip), "-o", str(tmp_path / "out"), "--weights", weights, "--device", "cpu"]
    new = ["--video", str(tmp_path / "new.mp4")]
    assert cli.main(words) == 0 and "not kept: its sound (aac: frames have none)" in capsys.readouterr().out
    assert cli.main([*words, *new]) == 0
    assert "25 frames a second, with its sound" in capsys.readouterr().out and beep(tmp_path / "new.mp4")[1] > 0
    with pytest.raises(SystemExit, match="2"):
        cli.main([*words, *new])
    assert "new.mp4 exists already; use --overwrite" in capsys.readouterr().err
    assert cli.main([*words, *new, "--overwrite", "--fps", "10", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["made"], record["kept"], record["sound"], record["video"]) == (3, 0, False, new[1])
    assert record["lost"] == ["its sound (aac: --fps changes how long it would be)"]
    with pytest.raises(SystemExit, match="2"):
        cli.main([*words, "--video", str(clip), "--overwrite"])
    assert "is the input itself, which is never replaced" in capsys.readouterr().err


def test_a_codec_that_the_container_does_not_take_is_said(tmp_path, weights, capsys):
    clip = talking(tmp_path / "clip.mov", codec="pcm_alaw", frames=2)
    words = ["frames", str(clip), "-o", str(tmp_path / "out"), "--weights", weights, "--device", "cpu"]
    assert not video.takes_sound(tmp_path / "x.mp4", "pcm_alaw")
    assert cli.main([*words, "--video", str(tmp_path / "new.mp4")]) == 0
    out = capsys.readouterr().out
    assert "its sound (pcm_alaw: it does not go into .mp4)" in out and "without sound" in out
    assert cli.main([*words, "--video", str(tmp_path / "new.avi")]) == 0
    assert beep(tmp_path / "new.avi")[1] > 0
