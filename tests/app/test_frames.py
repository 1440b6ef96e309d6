"""Frames: order, names, the smoothed decision, continuing, never overwriting."""

import copy
import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import shake
from PIL import Image

from demoe.app import cli, frames, photos
from demoe.core import images
from demoe.core.tasks import EXPERTS
from demoe.inference.guard import STAYS, UNSURE
from demoe.models import checkpoints
from demoe.models.demoe import DeMoE, DeMoEConfig
from demoe.models.moe import normalised_entropy, top_k_weights
from demoe.models.nafnet import NAFNet, NAFNetConfig

SMALL = DeMoEConfig(width=2, encoder_blocks=(1, 1), middle_blocks=1, decoder_blocks=(1, 1))


@pytest.fixture(scope="module")
def model():
    """Its router changes its mind with the brightness of a picture."""
    torch.manual_seed(0)
    net = shake(DeMoE(SMALL))
    with torch.no_grad():
        net.mlp_branch.classifier[-1].weight.mul_(30)
    return net


def write(folder, names, size=(13, 9)):
    folder.mkdir(exist_ok=True)
    for seed, name in enumerate(names):
        array = np.random.default_rng(seed).integers(0, 256 if seed % 2 else 60, (size[1], size[0], 3))
        Image.fromarray(array.astype(np.uint8)).save(folder / name)


def rows(folder):
    with (folder / frames.JOURNAL).open() as stream:
        return list(csv.DictReader(stream))


def content(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir() if not file.name.startswith(".")}


def test_natural_order(tmp_path):
    names = ["f10.png", "f2.png", "F1.png", "f02b.png", "a.png", "1²2.png"]
    write(tmp_path / "in", [*names, ".hidden.png"])
    (tmp_path / "in/notes.txt").touch()
    found = [file.name for file in frames.listed(tmp_path / "in").values()]
    assert found == ["1²2.png", "a.png", "F1.png", "f2.png", "f02b.png", "f10.png"]
    (tmp_path / "in/a.heic").touch()
    with pytest.raises(ValueError, match=r"would both be written as a\.png"):
        frames.listed(tmp_path / "in")
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match="holds no frames"):
        frames.listed(tmp_path / "none")


@pytest.mark.parametrize(("smooth", "k"), [(0, 1), (0.7, 1), (0.7, 3), (0.5, None)])
@pytest.mark.parametrize("sure", [False, True])
def test_the_decision_is_the_exponential_average(tmp_path, model, smooth, k, sure):
    model = copy.deepcopy(model)
    with torch.no_grad():
        model.mlp_branch.classifier[-1].weight.mul_(20 if sure else 1)
    write(tmp_path / "in", [f"{i}.png" for i in range(5)])
    done = frames.deblur_frames(tmp_path / "in", tmp_path / "out", model=model, smooth=smooth, k=k)
    assert done.made == 5 and not done.failed and [file.name for file in done.files] == [f"{i}.png" for i in range(5)]
    past, unsure = None, False
    for i, row in enumerate(rows(tmp_path / "out")):
        photo = images.read_photograph(tmp_path / f"in/{i}.png")
        with torch.no_grad():
            logits = model(photo.pixels[None]).logits.double()
        share = logits.softmax(1)
        past = share if past is None else smooth * past + (1 - smooth) * share
        assert [float(row[f"smoothed_{name}"]) for name in EXPERTS] == pytest.approx(past[0].tolist(), abs=1e-5)
        unsure = k == 1 and normalised_entropy(past).item() > UNSURE * (STAYS if unsure else 1)
        assert (row["guarded"] == "unsure") == (row["unsure"] == "yes") == unsure
        weights = top_k_weights(past, None if unsure else k).float()
        assert row["expert"] == EXPERTS[int(weights.argmax())]
        expected = photos.deblur(photo, model=model, expert=lambda logits, weights=weights: weights).image
        assert (images.read_photograph(tmp_path / f"out/{i}.png").pixels - expected).abs().max() < 1.5 / 255


def test_smoothing_calms_the_router(tmp_path, model):
    write(tmp_path / "in", [f"{i}.png" for i in range(6)])
    alone = frames.deblur_frames(tmp_path / "in", tmp_path / "alone", model=model, smooth=0)
    calm = frames.deblur_frames(tmp_path / "in", tmp_path / "calm", model=model, smooth=0.9)
    assert alone.switches == alone.alone == calm.alone > calm.switches
    assert sum(calm.experts.values()) == 6


def test_an_interrupted_call_is_continued_to_the_same_bytes(tmp_path, model, monkeypatch):
    write(tmp_path / "in", [f"{i}.png" for i in range(5)])
    frames.deblur_frames(tmp_path / "in", tmp_path / "whole", model=model)
    for stop_at in ("row", "frame"):
        out = tmp_path / stop_at
        with monkeypatch.context() as patch:
            count = []

            owner, name = (frames.Journal, "append") if stop_at == "row" else (images, "write_photograph")
            real = vars(owner)[name]

            def sometimes(*words, real=real, count=count):
                count.append(1)
                if len(count) == 3:
                    raise KeyboardInterrupt
                return real(*words)

            patch.setattr(owner, name, sometimes)
            with pytest.raises(KeyboardInterrupt):
                frames.deblur_frames(tmp_path / "in", out, model=model)
        with (out / frames.JOURNAL).open("a") as stream:
            stream.write("2.png,abc,de")  # killed in the middle of a line
        done = frames.deblur_frames(tmp_path / "in", out, model=model)
        assert (done.kept, done.made) == (2, 3)
        assert content(out) == content(tmp_path / "whole")
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "whole").glob("*.png")}
    assert frames.deblur_frames(tmp_path / "in", tmp_path / "whole", model=model).kept == 5
    assert before == {file: file.stat().st_mtime_ns for file in (tmp_path / "whole").glob("*.png")}


def test_other_numbers_of_experts_are_continued_to_the_same_bytes(tmp_path):
    torch.manual_seed(1)
    three = shake(DeMoE(replace(SMALL, num_experts=3)))
    write(tmp_path / "in", [f"{i}.png" for i in range(4)])
    for out, count in (("whole", 4), ("parts", 2), ("parts", 4)):
        if out == "parts" and count == 2:
            write(tmp_path / "first", [f"{i}.png" for i in range(2)])
        source = tmp_path / ("first" if count == 2 else "in")
        frames.deblur_frames(source, tmp_path / out, model=three, k=3)
    assert content(tmp_path / "whole") == content(tmp_path / "parts")


def test_nothing_is_overwritten(tmp_path, model, monkeypatch):
    source = tmp_path / "in"
    write(source, ["1.png", "2.png"])
    with pytest.raises(FileExistsError, match="folder of the frames themselves"):
        frames.deblur_frames(source, source, model=model)
    (tmp_path / "used").mkdir()
    (tmp_path / "used/2.png").write_bytes(b"precious")
    with pytest.raises(FileExistsError, match="not made by demoe frames"):
        frames.deblur_frames(source, tmp_path / "used", model=model)
    assert content(tmp_path / "used") == {"2.png": b"precious"}
    out = tmp_path / "out"
    frames.deblur_frames(source, out, model=model)
    before = content(out)
    for other in ({"smooth": 0.1}, {"k": 2}, {"expert": "defocus"}):
        with pytest.raises(FileExistsError, match="made otherwise"):
            frames.deblur_frames(source, out, model=model, **other)
    with pytest.raises(FileExistsError, match="made otherwise \\(network\\)"):
        frames.deblur_frames(source, out, model=shake(DeMoE(SMALL), 3))
    with monkeypatch.context() as patch, pytest.raises(FileExistsError, match="made otherwise \\(guard\\)"):
        patch.setattr(frames, "RULES", frames.RULES + 1)
        frames.deblur_frames(source, out, model=model)
    write(source, ["other.png", "1.png"])
    with pytest.raises(FileExistsError, match=r"was made from another 1\.png"):
        frames.deblur_frames(source, out, model=model)
    assert content(out) == before


def test_overwriting_takes_away_what_an_earlier_call_left_and_nothing_else(tmp_path, model):
    write(tmp_path / "in", ["1.png", "2.png", "3.png"])
    out = tmp_path / "out"
    frames.deblur_frames(tmp_path / "in", out, model=model, smooth=0.5)
    (out / "holiday.png").write_bytes(b"not ours")
    (tmp_path / "in/3.png").unlink()
    again = frames.deblur_frames(tmp_path / "in", out, model=model, smooth=0.2, overwrite=True)
    assert (again.made, again.kept) == (2, 0) and [row["frame"] for row in rows(out)] == ["1.png", "2.png"]
    assert {name for name in content(out) if name.endswith("png")} == {"1.png", "2.png", "holiday.png"}
    frames.deblur_frames(tmp_path / "in", tmp_path / "new", model=model, smooth=0.2)
    assert content(out)["2.png"] == content(tmp_path / "new")["2.png"]
    other = tmp_path / "other"
    other.mkdir()
    (other / "1.png").write_bytes(b"in the way")
    with pytest.raises(FileExistsError, match="use --overwrite"):
        frames.deblur_frames(tmp_path / "in", other, model=model)
    assert frames.deblur_frames(tmp_path / "in", other, model=model, overwrite=True).made == 2
    with pytest.raises(FileExistsError, match="the frames themselves"):
        frames.deblur_frames(tmp_path / "in", tmp_path / "in", model=model, overwrite=True)
    before = content(out)
    (tmp_path / "empty").mkdir()
    (tmp_path / "words.mp4").write_text("these are words")
    for source in ("empty", "words.mp4"):  # nothing to take the place of what is there
        with pytest.raises((ValueError, frames.video.NoReader)):
            frames.deblur_frames(tmp_path / source, out, model=model, overwrite=True)
    assert content(out) == before


def test_a_bad_frame_does_not_stop_the_others(tmp_path, model):
    write(tmp_path / "in", ["1.png", "2.png", "3.png"])
    (tmp_path / "in/2.png").write_bytes(b"no picture")
    told = []
    done = frames.deblur_frames(tmp_path / "in", tmp_path / "out", model=model, tell=told.append)
    assert done.made == 2 and len(done.failed) == 1 and "2.png" in told[0]
    assert sorted(file.name for file in (tmp_path / "out").glob("*.png")) == ["1.png", "3.png"]


def test_a_fixed_expert_a_network_without_experts_and_bad_numbers(tmp_path, model):
    write(tmp_path / "in", ["1.jpg", "2.JPG"])
    done = frames.deblur_frames(tmp_path / "in", tmp_path / "fixed", model=model, expert="low_light")
    assert done.experts == {"low_light": 2} and {file.name for file in done.files} == {"1.jpg", "2.JPG"}
    plain = NAFNet(NAFNetConfig(width=2, encoder_blocks=(1,), middle_blocks=1, decoder_blocks=(1,))).eval()
    assert frames.deblur_frames(tmp_path / "in", tmp_path / "plain", model=plain).made == 2
    for smooth in (1, -0.1):
        with pytest.raises(ValueError, match="below 1"):
            frames.deblur_frames(tmp_path / "in", tmp_path / "x", model=model, smooth=smooth)
    with pytest.raises(FileNotFoundError):
        frames.deblur_frames(tmp_path / "gone", tmp_path / "x", model=model)


def test_the_command(tmp_path, model, capsys):
    weights = str(checkpoints.save(model, tmp_path / "w.safetensors"))
    write(tmp_path / "in", ["1.png", "2.png"])
    words = ["frames", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--weights", weights, "--device", "cpu"]
    assert cli.main(words) == 0
    out = capsys.readouterr().out
    assert "2 frames deblurred, 0 kept, 0 failed" in out and "switches" in out and "demoe-frames.csv" in out
    assert cli.main(words) == 0 and "0 frames deblurred, 2 kept" in capsys.readouterr().out
    assert cli.main([*words, "--smooth", "0.3"]) == 1 and "made otherwise (smooth)" in capsys.readouterr().err
    capsys.readouterr()
    for bad in (
        ["--smooth", "1"],
        ["--fps", "0"],
        ["--fps", "fast"],
        ["--fps", "10"],
        ["--video", str(tmp_path / "v.gif")],
        ["--video", str(tmp_path / "v")],
        ["-o", str(tmp_path / "v.mp4")],
        ["-o", str(tmp_path / "v.PNG")],
        ["-o", weights],
    ):
        with pytest.raises(SystemExit):
            cli.main([*words, *bad])
        assert "usage: demoe" in capsys.readouterr().err
    assert sorted(file.name for file in tmp_path.iterdir()) == ["in", "out", "w.safetensors"]
    with pytest.raises(SystemExit):
        cli.main(["frames", "--help"])
    assert f"(default {frames.SMOOTH})" in " ".join(capsys.readouterr().out.split())


def test_an_unsure_router_is_told_of_smoothed_frames_too(tmp_path, model):
    unsure = copy.deepcopy(model)
    with torch.no_grad():
        unsure.mlp_branch.classifier[-1].weight.zero_()
        unsure.mlp_branch.classifier[-1].bias.zero_()
    write(tmp_path / "in", ["1.png"])
    mixed = "all experts took part"
    for expert, k, said in ((None, 1, mixed), (None, 2, "or --k 5"), (None, 5, "try --expert"), ("defocus", 1, "")):
        out = tmp_path / f"{expert}-{k}"
        frames.deblur_frames(tmp_path / "in", out, model=unsure, expert=expert, k=k)
        (row,) = rows(out)
        assert ("the router is unsure" in row["warnings"]) == bool(said) and said in row["warnings"]
        assert ("--k 5" in row["warnings"]) == (said == "or --k 5")


def test_sizes_are_compared_before_anything_is_made(tmp_path, capsys):
    write(tmp_path / "in", ["1.png", "2.png"])
    write(tmp_path / "in", ["3.png"], size=(9, 13))
    words = ["frames", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--video", str(tmp_path / "v.mp4")]
    assert cli.main(words) == 1
    assert "1.png and" in (said := capsys.readouterr().err) and "3.png are frames of different sizes" in said
    assert not (tmp_path / "out").exists()


def test_bright_frames_taken_for_low_light_are_left_as_they_are(tmp_path, model, capsys):
    dim = copy.deepcopy(model)
    with torch.no_grad():
        dim.mlp_branch.classifier[-1].weight.zero_()
        dim.mlp_branch.classifier[-1].bias.copy_(9 * torch.eye(5)[EXPERTS.index("low_light")])
    write(tmp_path / "in", ["1.png", "2.png"])  # dark, bright
    weights = str(checkpoints.save(dim, tmp_path / "w.safetensors"))
    words = ["frames", str(tmp_path / "in"), "--weights", weights, "--device", "cpu", "-o"]
    assert cli.main([*words, str(tmp_path / "out")]) == 0
    dark, bright = rows(tmp_path / "out")
    assert (dark["expert"], dark["bright"], dark["guarded"]) == ("low_light", "no", "")
    assert (bright["expert"], bright["bright"], bright["guarded"]) == ("", "yes", "bright")
    given, made = (images.read_photograph(tmp_path / name / "2.png").pixels for name in ("in", "out"))
    assert torch.equal(given, made) and "in 1 frames the router saw low light" in capsys.readouterr().out
    assert cli.main([*words, str(tmp_path / "free"), "--no-guard"]) == 0
    assert [row["expert"] for row in rows(tmp_path / "free")] == ["low_light"] * 2
