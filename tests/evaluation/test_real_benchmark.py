import numpy as np
import pandas as pd
import photograph_folder
import pytest
import torch
from conftest import shake
from PIL import Image

from demoe.app import cli
from demoe.evaluation import benchmark, metrics, photo_sources, real_benchmark
from demoe.evaluation.real_benchmark import BY_HAND, GUARDED, INPUT, LUCY, MASK, SPOILT
from demoe.models import checkpoints
from demoe.models.demoe import DeMoE, DeMoEConfig

TINY = DeMoEConfig(4, (1,), 1, (1,))


@pytest.fixture
def folder(tmp_path):
    return photograph_folder.make(tmp_path, 80)


def test_every_table_is_made_and_kept(folder, tmp_path):
    found = real_benchmark.on_photographs(
        photo_sources.read_sources(folder),
        shake(DeMoE(TINY)),
        "tiny",
        {},
        measured=("psnr", "ssim", "fitted"),
        side=64,
        folder=tmp_path / "out",
        progress=False,
    )
    assert list(found) == ["gains", "blind", "router", "harm"]
    gains = found["gains"]
    assert set(gains["first"]) == {"tiny", GUARDED, BY_HAND, MASK, LUCY} and set(gains.second) == {INPUT}
    mask = gains[(gains["first"] == MASK) & (gains["set"] == "house (global_motion)") & (gains.metric == "psnr")]
    assert mask["mean"].iloc[0] > 0  # of a picture that a Gaussian blurred, and nothing spoilt
    assert found["router"].photographs.tolist() == [1, 1] and set(found["router"].kind) == {"global_motion", "motion"}
    harm = found["harm"].set_index(["spoilt", "method"])
    assert list(dict.fromkeys(harm.index.get_level_values(0))) == list(SPOILT)
    assert (harm.loc[(slice(None), INPUT), "gain"] == 0).all() and (harm.brightened.between(0, 1)).all()
    names = {file.name for file in (tmp_path / "out").glob("*.csv")}
    assert names >= {"gains.csv", "blind.csv", "router.csv", "harm.csv", "gains_summary.csv", "harm_summary.csv"}
    assert len(pd.read_csv(tmp_path / "out" / "gains.csv")) == 6


def test_another_picture_under_the_same_name_is_scored_anew(folder, tmp_path, monkeypatch):
    def gain():
        real_benchmark.on_photographs(
            photo_sources.read_sources(folder),
            DeMoE(TINY),
            "tiny",
            {},
            measured=("psnr",),
            folder=tmp_path / "out",
            side=48,
            progress=False,
        )
        return pd.read_csv(tmp_path / "out" / "gains.csv").query("method == 'input'").psnr.item()

    real = benchmark.Journal.finish
    with monkeypatch.context() as patch:  # the rows are there, and the call ends before they are whole
        patch.setattr(benchmark.Journal, "finish", lambda *given: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            gain()
    assert real is benchmark.Journal.finish
    (folder / "cat_blur.png").write_bytes((folder / "cat_sharp.png").read_bytes())
    assert gain() == 100


def test_metrics_that_cannot_be_had_leave_the_router_and_the_harm(folder, monkeypatch):
    monkeypatch.setattr(metrics, "missing", lambda names: dict.fromkeys(names, metrics.CannotMeasure("not here")))
    found = real_benchmark.on_photographs(
        photo_sources.read_sources(folder), DeMoE(TINY), "tiny", {}, measured=("musiq",), side=48, progress=False
    )
    assert list(found) == ["router", "harm"] and found["router"].photographs.sum() == 2


def test_the_command_prints_them(folder, tmp_path, capsys):
    weights = tmp_path / "tiny.safetensors"
    checkpoints.save(shake(DeMoE(TINY)), weights)
    assert cli.main(["evaluate", "--real", str(folder), "--weights", str(weights), "--crop", "48"]) == 0
    out = capsys.readouterr().out
    for title in ("Over the untouched photograph", "The router's answers", "Sharp photographs", "unsharp mask"):
        assert title in out
    assert cli.main(["evaluate", "--real", str(tmp_path / "nowhere"), "--weights", str(weights)]) == 1
    assert "there is no" in capsys.readouterr().err


def test_the_middle_begins_on_the_grid_of_jpeg(folder):
    _, pairs = photo_sources.blurred_sets(photo_sources.read_sources(folder), True)["house (global_motion)"]
    cut = real_benchmark.middle(pairs, 40)
    assert cut.size(0) == (40, 40) and torch.equal(cut.pair(0)[0], pairs.pair(0)[0][:, 16:56, 24:64])
    assert torch.equal(cut.read(0, (3, 5, 7, 9))[1], pairs.read(0)[1][:, 19:26, 29:38])
    assert real_benchmark.middle(pairs, 500).size(0) == (80, 90) and real_benchmark.middle(pairs, None) is pairs


def test_fitting_takes_brightness_and_contrast_out_and_nothing_else():
    image = torch.rand(1, 3, 20, 31, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.2
    found = metrics.measure(0.4 * image + 0.3, image, ("psnr", "fitted")).values
    assert found["psnr_fitted"] == pytest.approx(100, abs=1) and found["psnr"] < 25
    noise = torch.from_numpy(np.random.default_rng(0).standard_normal(image.shape)).float() * 0.05
    noisy = metrics.measure(image + noise, image, ("psnr", "fitted")).values
    assert 0 <= noisy["psnr_fitted"] - noisy["psnr"] < 1.5
    flat = metrics.fitted(torch.zeros_like(image), image)
    assert float(flat.mean()) == pytest.approx(float(image.mean()), abs=1e-5)


def test_sharp_pictures_come_from_their_roles(folder):
    Image.new("RGB", (40, 30), (9, 9, 9)).save(folder / "tree.png")
    with (folder / "sources.csv").open("a") as table:
        table.write("tree.png,garden,sharp_unpaired,sharp,no,CC0\n")
    found = real_benchmark.sharp_pictures(photo_sources.read_sources(folder), 24)
    assert [tuple(one.shape) for one in found.values()] == [(3, 24, 24)] * 2
