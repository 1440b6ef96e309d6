"""Gain against hours: a whole training a length, measured on a folder of photographs."""

import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import photograph_folder
import pytest
from conftest import shake
from photograph_folder import ROWS

from demoe.core import profiles
from demoe.core.files import figures_dir
from demoe.core.tasks import EXPERTS
from demoe.evaluation import photo_sources
from demoe.evaluation.metrics import psnr
from demoe.evaluation.real_benchmark import BY_HAND
from demoe.experiments import runs
from demoe.inference.restore import restore
from demoe.models.demoe import DeMoE, DeMoEConfig
from demoe.report import tables

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))  # they are no package

import gain_by_hours

ROOT = Path(__file__).resolve().parents[2]
TINY = profiles.get("test", train_images=1, image_size=48)
HOUSE = "house (global_motion)"


@pytest.fixture
def folder(home, tmp_path, monkeypatch):
    monkeypatch.setitem(profiles.PROFILES, "test", TINY)
    monkeypatch.setattr(runs, "workers_for", lambda sets: 0)  # starting them takes longer than these trainings
    return photograph_folder.make(tmp_path / "photographs", 64)


def test_a_row_a_length_and_way_and_a_second_call_trains_nothing(folder, monkeypatch):
    call = ["--profile", "test", "--real", str(folder), "--steps", "1,3", "--crop", "48"]
    assert gain_by_hours.main(call) == 0
    table = tables.read("gain_by_hours", "test")
    assert list(table.steps) == [1] * 3 + [3] * 3 and set(table.method) == set(gain_by_hours.WAYS)
    assert set(table["set"]) == {HOUSE}  # of the other no sharp picture is known
    assert (table.pictures == 1).all() and table.right.isin([0, 1]).all() and table.hours.gt(0).all()
    patches = 32**2 * 5 / 1e6  # both stages of the profile have crops of 32 pixels, five a step
    assert table.megapixels.tolist() == pytest.approx([2 * steps * patches for steps in table.steps], abs=1e-5)
    assert (figures_dir("test") / "gain_by_hours.png").is_file()
    monkeypatch.setattr(runs, "train", lambda *_, **__: pytest.fail("it was trained already"))
    assert gain_by_hours.main(call) == 0 and tables.read("gain_by_hours", "test").equals(table)


def test_the_gain_is_that_of_the_experts_picture(folder):
    found = photo_sources.blurred_sets(photo_sources.read_sources(folder), paired=True)
    (kind, pairs), model = found[HOUSE], shake(DeMoE(DeMoEConfig(4, (1,), 1, (1,))))
    assert kind == "global_motion"
    table = gain_by_hours.gains(SimpleNamespace(model=model), found, "cpu", progress=False).set_index("method")
    blurred, sharp = (side[None] for side in pairs.pair(0))
    before = psnr(blurred, sharp)
    for method, expert in (("DeMoE", None), (BY_HAND, "global_motion")):
        restored = restore(model, blurred, expert=expert)
        assert table.gain[method] == pytest.approx(float(psnr(restored.image, sharp) - before), abs=1e-4)
    named = EXPERTS[int(restore(model, blurred, k=5).weights.argmax())]
    assert set(table.right) == {float(named == "global_motion")}


@pytest.mark.parametrize(("word", "value"), [("--steps", "0"), ("--steps", "many"), ("--profile", "none")])
def test_requests_that_make_no_sense(folder, word, value, capsys):
    given = {"--real": str(folder), "--steps": "1", "--profile": "test"} | {word: value}
    with pytest.raises(SystemExit, match="2"):
        gain_by_hours.main([part for pair in given.items() for part in pair])
    for word in ("--real", "--sharp-images"):
        with pytest.raises(SystemExit, match="2"):
            gain_by_hours.main(["--real", str(folder), "--steps", "1", "--profile", "test", word, str(folder / "none")])
        assert "none" in capsys.readouterr().err
    (folder / "sources.csv").write_text("\n".join([*ROWS.splitlines()[:1], ROWS.splitlines()[3]]))
    with pytest.raises(SystemExit, match="2"):
        gain_by_hours.main(["--real", str(folder), "--steps", "1", "--profile", "test"])
    assert "has a sharp one" in capsys.readouterr().err


def test_where_several_experts_are_right_nobody_chooses_by_hand(folder):
    (folder / "sources.csv").write_text(ROWS.replace("blur,global_motion", "blur,motion"))
    found = photo_sources.blurred_sets(photo_sources.read_sources(folder), paired=True)
    run = SimpleNamespace(model=shake(DeMoE(DeMoEConfig(4, (1,), 1, (1,)))))
    assert set(gain_by_hours.gains(run, found, "cpu", progress=False).method) == {"DeMoE", "guarded"}


def test_time_that_is_up_is_no_failure(folder, capsys):
    call = ["--profile", "test", "--real", str(folder), "--steps", "3", "--minutes", "0.000001"]
    assert gain_by_hours.main(call) == 3 and "the same command goes on" in capsys.readouterr().out


def test_the_document_has_the_tables_numbers():
    """docs/real_photographs.md, gains guarded, an hour a row and a set a column."""
    table = pd.read_csv(ROOT / "results/published/real/tables/gain_by_hours.csv").query("method == 'guarded'")
    wide = table.pivot(index="hours", columns="set", values="gain")
    sets = ["gopro", "gopro_avg", "levin", "realblur_fig", "dpdd_fig", "lolblur", "lolv2"]
    cells = wide[sets].map(partial(tables.number, sign=True)).to_numpy()
    rows = [f"| {hours:.2f} | {' | '.join(row)} |" for hours, row in zip(wide.index, cells, strict=True)]
    assert "\n".join(rows) in (ROOT / "docs/real_photographs.md").read_text(encoding="utf-8")
