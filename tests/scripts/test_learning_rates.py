"""The sweep of learning rates: one training a rate, on pictures that no test sees, in one table."""

import sys
from pathlib import Path

import pytest

from demoe import experiments
from demoe.core import profiles, provenance
from demoe.data.setting import Setting
from demoe.experiments import runs
from demoe.report import tables

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))  # they are no package

import learning_rates

TINY = profiles.get("test", specialist_steps=2, train_images=1, test_images=1, image_size=48)


@pytest.fixture(autouse=True)
def tiny(home, monkeypatch):
    monkeypatch.setitem(profiles.PROFILES, "test", TINY)
    monkeypatch.setattr(runs, "workers_for", lambda sets: 0)  # starting them takes longer than these trainings


def test_a_row_an_experiment_rate_and_set_and_another_call_adds_to_them(capsys, monkeypatch):
    call = ["--profile", "test", "--experiments", "specialist-gopro", "--rates"]
    assert learning_rates.main([*call, "1e-4,1e-1"]) == 0
    assert learning_rates.main([*call, "1e-1,1e-2"]) == 0
    table = tables.read("learning_rates", "test")
    assert list(table.rate) == [1e-4, 0.01, 0.1] and set(table.set) == {"GoPro-syn"} and set(table.steps) == {2}
    assert table.gain.nunique() == 3 and table.input.nunique() == 1
    assert "specialist-gopro" in capsys.readouterr().out
    monkeypatch.setattr(provenance, "commit", lambda: "0123abcd")
    assert learning_rates.main([*call, "1e-2"]) == 0
    later = tables.read("learning_rates", "test")
    assert list(later.rate) == [0.01] and set(later.commit) == {"0123abcd"}  # the others were another commit's


def test_only_the_rate_and_the_name_differ():
    spec = experiments.named("specialist-gopro", Setting(TINY))
    other = learning_rates.swept(spec, 0.5, steps=7)
    assert other.steps == 7 and dict(other.recipe) == dict(spec.recipe) | {"learning_rate": 0.5}
    assert other.name == "sweep-specialist-gopro" and other.init_seed == spec.init_seed and other.sets == spec.sets


@pytest.mark.parametrize("words", [("--rates", "fast"), ("--rates", "0"), ("--experiments", "no-such")])
def test_requests_that_make_no_sense(words, capsys):
    given = {"--experiments": "specialist-gopro", "--rates": "1e-3"} | dict([words])
    with pytest.raises(SystemExit, match="2"):
        learning_rates.main(["--profile", "test", *(part for pair in given.items() for part in pair)])
