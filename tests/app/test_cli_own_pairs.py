"""``demoe train --pairs`` as a person meets it: from pairs to a deblurred photograph, and what is said of bad ones."""

import shutil
import sys

import pytest
from fixture_trees import put_pair

from demoe.core.images import read_photograph

SHORT = ("--steps", "2", "--crop", "16", "--batch", "2", "--width", "4", "--validate-every", "1")


@pytest.fixture
def run(tmp_path, monkeypatch, call):
    """``run(words...)`` in a folder with ten pairs, ``mine``: (exit status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEMOE_HOME", str(tmp_path))
    for n in range(10):
        put_pair(tmp_path / "mine", f"blur/{n}.png", f"sharp/{n}.png")
    return call


def test_from_pairs_to_a_deblurred_photograph(run, tmp_path):
    status, out, err = run("train", "--pairs", "mine", "--loss", "pixel+edge=0.1", *SHORT, "-o", "tuned")
    assert status == 0 and "Traceback" not in err
    told = out.splitlines()
    assert told[0].startswith("after 0 steps: ") and "the result, after " in out
    command = told[-1].split()
    assert command[:2] == ["demoe", "deblur"] and "tuned/model.safetensors" in command
    photo = tmp_path / "mine/blur/3.png"
    status, out, _ = run(*[str(photo) if word == "photo.jpg" else word for word in command[1:]])
    assert status == 0 and read_photograph(tmp_path / "restored/3.png").size == read_photograph(photo).size


def test_a_file_is_written_and_followed_and_flags_override_it(run, tmp_path):
    status, out, _ = run("train", "--pairs", "mine", *SHORT, "-o", "one", "--write-config", "train.toml")
    assert status == 0 and out == "train.toml: edit it, then demoe train --config train.toml\n"
    assert run("train", "--config", "train.toml")[0] == 0
    assert run("train", "--config", "train.toml", "--seed", "3", "-o", "two")[0] == 0
    assert "seed 3" in (tmp_path / "two/README.md").read_text()
    assert (tmp_path / "two/config.toml").read_text() != (tmp_path / "train.toml").read_text()
    assert (tmp_path / "one/config.toml").is_file()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--pairs", "mine", "--profile", "smoke"), "--profile is for the paper's experiments"),
        (("--pairs", "mine", "--list"), "--list is for the paper's experiments"),
        (("--steps", "3"), "--steps is for pairs of your own"),
        (("--start", "demoe-smoke"), "no pairs are named"),
        (("--pairs", "mine", "--steps", "0"), "--steps is 0: input should be greater than or equal to 1"),
        (("--pairs", "mine", "--learn", "expert", "defocsu"), "did you mean 'defocus'?"),
        (("--pairs", "mine", "--loss", "pixle"), "unknown loss 'pixle'"),
        (("--pairs", "mine", "--loss", "pixel+class"), "leave class out of the loss"),
    ],
)
def test_a_command_that_makes_no_sense_has_one_sentence_and_status_2(run, words, told):
    status, out, err = run("train", *words)
    assert status == 2 and told in err and out == "" and "Traceback" not in err


def test_odd_pairs_are_named_before_the_first_step_and_accepted_when_asked(run, tmp_path):
    shutil.copy(tmp_path / "mine/sharp/4.png", tmp_path / "mine/blur/4.png")
    words = ("train", "--pairs", "mine", *SHORT, "-o", "tuned")
    status, out, err = run(*words)
    assert status == 1 and out == "" and "blur/4.png" in err and "1 pair has two identical pictures" in err
    assert err.splitlines()[-1].endswith("say --accept-odd-pairs") and not (tmp_path / "tuned").exists()
    status, out, err = run(*words, "--accept-odd-pairs")
    assert status == 0 and "identical" in err and (tmp_path / "tuned/model.safetensors").is_file()


def test_what_is_too_small_or_missing_is_said(run, tmp_path):
    status, _, err = run("train", "--pairs", "mine")
    assert status == 1 and "10 pictures are smaller than the 128-pixel crops" in err
    status, _, err = run("train", "--pairs", "nothing")
    assert status == 1 and "there is no folder nothing/blur" in err


def test_time_that_is_up_leaves_the_best_so_far_to_be_used(run, tmp_path):
    words = ("train", "--pairs", "mine", *SHORT, "-o", "tuned")
    status, out, _ = run(*words, "--minutes", "0.0001")
    assert status == 0 and "time is up at step 1 of 2; the same command goes on from there" in out
    assert (
        out.splitlines()[-1].endswith("--weights tuned/best.safetensors")
        and (tmp_path / "tuned/best.safetensors").is_file()
    )
    assert run(*words)[0] == 0 and not (tmp_path / "tuned/best.safetensors").exists()


def test_curves_and_pictures_for_tensorboard(run, tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    words = ("train", "--pairs", "mine", *SHORT, "-o", "tuned", "--tensorboard")
    assert run(*words)[0] == 0
    found = EventAccumulator(str(tmp_path / "tuned/tensorboard")).Reload()
    tags = found.Tags()
    assert {"training/pixel", "training/lr", "validation/psnr", "validation/ssim_blurred"} <= set(tags["scalars"])
    assert [event.step for event in found.Scalars("validation/psnr")] == [0, 1, 2] and len(tags["images"]) == 2
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    status, _, err = run(*words[:-3], "-o", "other", "--tensorboard")
    assert status == 1 and "TensorBoard is not installed: pip install 'demoe[training]'" in err
    assert not (tmp_path / "other").exists()
