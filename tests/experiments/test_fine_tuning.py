"""A training on own pairs: watched, its best state kept, continued bit for bit, in a folder of its own."""

import json
import signal
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import shake
from PIL import Image

from demoe.data import own_pairs
from demoe.data.own_pairs import held_out
from demoe.experiments import fine_tuning
from demoe.experiments.fine_tuning import Stopped, fine_tuned
from demoe.experiments.own_training import OwnTraining
from demoe.experiments.watching import BEST, Scores
from demoe.models import checkpoints
from demoe.models.demoe import DeMoE, DeMoEConfig
from demoe.models.nafnet import NAFNet

SIDE = 32


@pytest.fixture
def pairs(tmp_path):
    """Eight pairs whose blurred side is darker: a network of any size can learn that."""
    rng = np.random.default_rng(0)
    for n in range(8):
        coarse = np.repeat(np.repeat(rng.integers(60, 250, (8, 8, 3)), 4, 0), 4, 1)
        for side, factor in (("sharp", 1.0), ("blur", 0.6)):
            file = tmp_path / "photos" / side / f"{n}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((coarse * factor).astype(np.uint8)).save(file)
    return own_pairs.own_pairs(tmp_path / "photos")


@pytest.fixture
def start(tmp_path):
    torch.manual_seed(0)
    model = shake(DeMoE(DeMoEConfig(width=4, encoder_blocks=(1,), middle_blocks=1, decoder_blocks=(1,))))
    return checkpoints.save(model, tmp_path / "start.safetensors")


def config(folder, **more):
    usual = {"steps": 6, "crop": 16, "batch": 2, "validate_every": 2, "samples": 1, "rate": 1e-3, "held_out": 0.25}
    return OwnTraining(output=str(folder), **(usual | more))


def weights(path):
    return checkpoints.load(path).state_dict()


def test_held_out_pairs_get_better_and_the_best_state_is_the_result(tmp_path, pairs, start):
    tuned = fine_tuned(config(tmp_path / "a", steps=30, rate=1e-2, validate_every=10), pairs, start, progress=False)
    scores = tuned.scores
    assert scores.steps() == [0, 10, 20, 30] and tuned.expert is None
    best = scores.best()
    assert scores.mean("psnr", best) > max(scores.mean("psnr", 0), scores.mean("psnr_blurred", 0)) + 1
    kept = held_out(pairs, 0.25)[1]
    assert {row["pair"] for row in scores.rows} == set(kept.keys) and len(kept) == 2
    model = checkpoints.load(tuned.weights)  # scored again, on its own
    for i, key in enumerate(kept.keys):
        blurred, sharp = kept.pair(i)
        with torch.no_grad():
            error = (model(blurred[None]).image.clamp(0, 1)[0] - sharp).double().square().mean()
        (row,) = (row for row in scores.rows if row["pair"] == key and row["steps"] == str(best))
        assert float(row["psnr"]) == pytest.approx(-10 * error.log10().item(), abs=1e-3)
    sample = Image.open(tmp_path / f"a/samples/{kept.keys[0]}/{best:07d}.png")
    assert sample.size == (3 * SIDE + 2 * 4, SIDE) and len(list((tmp_path / "a/samples").iterdir())) == 1
    text = (tmp_path / "a/README.md").read_text()
    assert f"{scores.mean('psnr', best):.2f}" in text and "2 held-out pairs" in text and str(tmp_path) not in text
    assert "demoe deblur photo.jpg -o restored/ --weights model.safetensors" in text
    record = json.dumps(checkpoints.provenance(tuned.weights))
    assert "start.safetensors" in record and str(tmp_path) not in record
    assert not (tmp_path / "a" / BEST).exists() and not (tmp_path / "a/state").exists()


@pytest.mark.parametrize("how", ["time", "Ctrl-C"])
def test_stopped_and_started_again_equals_undisturbed_bit_for_bit(tmp_path, pairs, start, how, monkeypatch):
    whole = fine_tuned(config(tmp_path / "whole"), pairs, start, progress=False)
    again = config(tmp_path / "again")
    if how == "time":
        with pytest.raises(Stopped, match="at step 1 of 6"):
            fine_tuned(again, pairs, start, deadline=time.monotonic(), progress=False)
    else:
        look = fine_tuning.Watcher.__call__

        def interrupting(self, steps, model):
            look(self, steps, model)
            if steps == 2:
                signal.raise_signal(signal.SIGINT)

        monkeypatch.setattr(fine_tuning.Watcher, "__call__", interrupting)
        with pytest.raises(KeyboardInterrupt, match="after step 3 of 6"):
            fine_tuned(again, pairs, start, progress=False)
        monkeypatch.setattr(fine_tuning.Watcher, "__call__", look)
        assert checkpoints.load(tmp_path / "again" / BEST)  # of use at any time
    assert not (tmp_path / "again/model.safetensors").exists()
    rest = fine_tuned(again, pairs, start, progress=False)
    assert (rest.folder / "validation.csv").read_bytes() == (whole.folder / "validation.csv").read_bytes()
    one, other = weights(whole.weights), weights(rest.weights)
    assert all(torch.equal(one[name], other[name]) for name in one)
    before = rest.weights.stat().st_mtime_ns
    assert fine_tuned(again, pairs, start, progress=False) == rest and rest.weights.stat().st_mtime_ns == before
    rest.weights.write_bytes(b"damaged")
    mended = fine_tuned(again, pairs, start, progress=False)
    assert mended == rest and all(torch.equal(value, one[name]) for name, value in weights(mended.weights).items())


def test_what_is_there_is_forgotten_only_where_a_training_can_begin(tmp_path, pairs, start):
    done = fine_tuned(config(tmp_path / "a"), pairs, start, progress=False)
    before = done.weights.read_bytes()
    for wrong, words in (({"batch": 3, "accumulate": 2}, "cannot be cut into 2 equal parts"), ({}, "no-such")):
        terms = {} if wrong else {"no-such": 1.0}
        with pytest.raises((ValueError, KeyError), match=words):
            fine_tuned(config(tmp_path / "a", **wrong), pairs, start, loss=terms or None, fresh=True, progress=False)
    assert done.weights.read_bytes() == before
    done.weights.with_name("README.md").write_text("Licence: CC BY 4.0")  # a card is its owner's
    assert fine_tuned(config(tmp_path / "a"), pairs, start, progress=False) == done
    assert done.weights.read_bytes() == before and done.weights.with_name("README.md").read_text().endswith("4.0")


def test_where_nothing_gets_better_the_start_is_the_result(tmp_path, pairs, start):
    tuned = fine_tuned(config(tmp_path / "a", rate=1.0, learn="all"), pairs, start, progress=False)
    assert tuned.scores.best() == 0 and max(tuned.scores.mean("psnr", steps) for steps in (2, 4, 6)) < 40
    one, other = weights(start), weights(tuned.weights)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_one_expert_learns_alone_and_is_what_is_scored(tmp_path, pairs, start):
    tuned = fine_tuned(config(tmp_path / "a", learn="low_light", held_out=0.0), pairs, start, progress=False)
    assert tuned.expert == "low_light" and not tuned.scores.rows and not (tmp_path / "a/validation.csv").exists()
    one, other = weights(start), weights(tuned.weights)
    changed = {name.split(".")[3] for name in one if not torch.equal(one[name], other[name])}
    assert changed == {"4"}
    assert "--expert low_light" in (tmp_path / "a/README.md").read_text()


def test_crops_go_through_the_expert_that_the_router_chooses(tmp_path, pairs, start):
    model = checkpoints.load(start)
    with torch.no_grad():
        model.mlp_branch.classifier[-1].bias[2] += 100
    start = checkpoints.save(model, start)
    tuned = fine_tuned(config(tmp_path / "a", steps=2, held_out=0.0), pairs, start, progress=False)
    one, other = weights(start), weights(tuned.weights)
    changed = [name for name in one if not torch.equal(one[name], other[name])]
    assert {name.split(".")[3] for name in changed if name.startswith("experts")} == {"2"}
    assert {name.split(".")[0] for name in changed} == {"middle_blks", "experts", "ups", "decoders", "ending"}


def test_without_a_start_a_nafnet_learns_from_random_weights_in_a_folder_by_its_settings(home, pairs):
    folders = set()
    for seed in (0, 1):
        tuned = fine_tuned(config("", width=4, steps=2, seed=seed), pairs, progress=False)
        model = checkpoints.load(tuned.weights)
        assert isinstance(model, NAFNet) and model.config.width == 4
        assert tuned.folder.parent == home / "results/own/runs" and tuned.folder.name.startswith(f"own-photos-s{seed}-")
        folders.add(tuned.folder)
    assert len(folders) == 2


def test_a_folder_with_something_else_is_left_alone(tmp_path, pairs, start):
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "model.safetensors").write_text("mine")
    for fresh in (False, True):
        with pytest.raises(ValueError, match="is not empty, and holds no training"):
            fine_tuned(config(folder), pairs, start, fresh=fresh, progress=False)
    assert (folder / "model.safetensors").read_text() == "mine"
    (folder / "model.safetensors").unlink()
    fine_tuned(config(folder, steps=2), pairs, start, progress=False)
    with pytest.raises(ValueError, match="a training with another steps"):
        fine_tuned(config(folder, steps=3), pairs, start, progress=False)
    fine_tuned(config(folder, steps=3), pairs, start, fresh=True, progress=False)
    assert json.loads((folder / "config.json").read_text())["training"]["steps"] == 3


def test_what_does_not_fit_is_said(tmp_path, pairs, start):
    with pytest.raises(ValueError, match="leave the width out"):
        fine_tuned(config(tmp_path / "a", width=8), pairs, start)
    with pytest.raises(ValueError, match="NAFNet has no experts"):
        fine_tuned(config(tmp_path / "a", width=4, learn="experts"), pairs)
    with pytest.raises(ValueError, match="is one pair"):
        fine_tuned(config(tmp_path / "a"), own_pairs.select(pairs, [0]), start)
    assert not (tmp_path / "a").exists()


def test_many_held_out_pairs_are_looked_at_in_part(tmp_path, pairs, start):
    settings = config(tmp_path / "a", held_out=0.6, validate_pairs=2, steps=1, validate_side=24)
    scores = fine_tuned(settings, pairs, start, progress=False).scores
    kept = held_out(pairs, 0.6)[1]
    assert [row["pair"] for row in scores.rows if row["steps"] == "0"] == [kept.keys[0], kept.keys[-1]]
    assert Image.open(tmp_path / f"a/samples/{kept.keys[0]}/0000000.png").size == (3 * 24 + 8, 24)


def test_scores_of_a_second_look_take_the_place_of_the_first(tmp_path):
    row = {"steps": "4", "pair": "a", "psnr": "30", "ssim": "0.9", "psnr_blurred": "20", "ssim_blurred": "0.5"}
    scores = Scores()
    scores.add(4, [row])
    scores.add(0, [row | {"steps": "0", "psnr": "25"}])
    scores.add(4, [row | {"psnr": "24"}])
    (tmp_path / "v.csv").write_text(scores.text())
    assert Scores.of(tmp_path / "v.csv") == scores and scores.steps() == [0, 4] and scores.best() == 0
    assert replace(scores, rows=[]).rows == Scores.of(tmp_path / "none.csv").rows == []
