"""Notebook 12's networks: which are trained and which are not, and what they are scored on."""

import pandas as pd
import pytest

from demoe.core import profiles
from demoe.data.setting import Setting
from demoe.related import experiments as guests
from demoe.related import prior_report, prior_runs
from demoe.related.prior_report import NET0, NET6, RANDOM, WIDE

SETTING = Setting(profiles.get("test", guest_steps=2, train_images=1, test_images=1, image_size=64), progress=False)


class Short:
    """A training with a log, as ``Run`` has it."""

    def __init__(self, name: str, losses: list[float]):
        self.hash, self.metrics, self.model = f"hash of {name}", pd.DataFrame({"pixel": losses}), None


@pytest.fixture
def found(monkeypatch) -> prior_runs.Trained:
    """All but the row that needs TResNet; nothing is trained."""
    asked = []

    def obtain_all(wanted, setting):
        asked.extend(wanted)
        names = [spec.name for spec in wanted]
        assert len(names) == len(set(names))  # what stands in two tables is trained once
        missing = {name: f"{name}.pth is not in /hub: get it" for name in names if "tresnet" in name}
        losses = {name: [1.0, 1.0, 4.0 if name == "prior-net0-star" else 2.0, 1.0, 1.0] for name in names}
        return {name: Short(name, losses[name]) for name in names if name not in missing}, missing

    monkeypatch.setattr(guests, "obtain_all", obtain_all)
    return prior_runs.trained(SETTING, prior_runs.LARGE)


def test_what_is_left_out_is_not_wanted_and_what_is_missing_says_why(found):
    labels = set(prior_report.rows(SETTING)) - set(found.wanted)
    assert labels == {label + sp for label in prior_runs.LARGE for sp in ("", "+SP")}
    table = found.missing()
    assert table.method.tolist() == ["Net6, TResNet-L"] and table.missing[0].endswith(".pth is not here")
    assert set(found.wanted) - set(found.runs) == set(table.method)
    assert list(found.methods) == ["input", *found.runs] and found.hashes[NET6].startswith("hash of prior-net6")


def test_the_stamp_follows_the_trainings(found):
    sets = prior_runs.sets_scored(SETTING)
    assert [pairs.name for pairs in sets] == ["GoPro-syn", "RealBlur-syn"]
    fewer = found._replace(runs={NET0: found.runs[NET0]})
    assert found.mark(sets, "test", 0).config != fewer.mark(sets, "test", 0).config
    assert found.mark(sets, "test", 0).data == "synthetic"


def test_unsteadiness_is_that_of_net0_star_over_net6(found):
    assert prior_runs.unsteadiness(found) == pytest.approx(2.0)


def test_only_networks_with_rows_of_their_own_are_timed(found, monkeypatch):
    monkeypatch.setattr(prior_runs.comparison, "runtimes", lambda models, side, repeats: list(models))
    assert prior_runs.runtimes(found, 16, 1) == [NET0, NET6, "MIMO-UNet", "MIMO-UNet+SP"]


def test_known_lengths_of_motion_are_compared_with_net0(home, found, monkeypatch):
    untouched = {label: prior_runs.blurred_input for label in ("input", *found.runs)}
    monkeypatch.setattr(prior_runs.Trained, "methods", untouched)
    scores, ranges, mark = prior_runs.severe(found, SETTING)
    assert set(scores.method) == {"input", NET0, NET6, RANDOM, WIDE} and "strength" in scores
    pairs = set(zip(ranges["first"], ranges["second"], strict=True))
    assert pairs == {(NET0, "input"), (NET6, NET0), (RANDOM, NET0), (WIDE, NET0)}
    assert (ranges["mean"] == 0).all() and mark.profile == "test"


def test_the_published_sizes_have_every_network_without_and_with_the_prior():
    table = prior_runs.published_costs().set_index("network")
    for label in ("UNet", *prior_report.EXPERIMENTS.values()):
        assert table.params[label + "+SP"] > table.params[label]
