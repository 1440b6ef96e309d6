"""The networks of notebook 03: which they are, how well they restore, and what is compared."""

from pathlib import Path

import pandas as pd
import pytest
from conftest import shake

from demoe.core import profiles
from demoe.core.tasks import PAPER_ORDER
from demoe.data.setting import Setting
from demoe.evaluation import similarity_controls
from demoe.experiments import runs, specialists
from demoe.models.nafnet import NAFNetConfig

SETTING = Setting(profiles.get("test", test_images=1, image_size=48), progress=False)
SMALL = NAFNetConfig(4, (1, 1), 1, (1, 1))


@pytest.fixture
def found(monkeypatch, home) -> specialists.Specialists:
    """The networks before training but for one, which is shaken."""

    def obtain(spec, setting):
        model = runs.untrained(SMALL, spec.init_seed)
        return runs.Run(spec, shake(model) if spec.name == "specialist-gopro" else model, Path())

    monkeypatch.setattr(specialists, "obtain", obtain)
    return specialists.specialists(SETTING)


def test_one_start_for_every_set_and_another_for_two(found):
    assert [run.spec.dataset for run in found.first] == [*PAPER_ORDER, "LOLv2-real"]
    assert [run.spec.dataset for run in found.second] == ["GoPro", "DPDD"]
    assert len({run.spec.init_seed for run in found.first}) == len({run.spec.init_seed for run in found.second}) == 1
    assert found.first[0].spec.init_seed != found.second[0].spec.init_seed
    assert found.hash != found._replace(second=found.second[:1]).hash


def test_networks_are_scored_on_their_own_sets_beside_the_input(found):
    table = specialists.restored(found, SETTING)
    assert table["trained on"].tolist() == [run.trained_on for run in found.runs]
    changed = (table["restored PSNR"] - table["input PSNR"]).abs() > 1e-3
    assert table[changed]["trained on"].tolist() == ["GoPro-syn"]  # what is untrained changes nothing
    assert table["run"].tolist() == [run.hash for run in found.runs]


def test_who_gains_little_is_named_once():
    rows = {"trained on": ["a", "b", "b", "c"], "input PSNR": [20.0] * 4, "restored PSNR": [20.2, 19.0, 20.0, 20.4]}
    assert specialists.hardly_trained(pd.DataFrame(rows)) == ["a", "b"]


def test_the_study_compares_blurs_with_the_control_and_with_the_start(found):
    study = specialists.study(found)
    blurs = {run.trained_on for run in found.first[:-1]}
    assert {name for pair in study.pairs[similarity_controls.BLURS] for name in pair} == blurs
    assert {second for _, second in study.pairs[similarity_controls.LOW_LIGHT]} == {found.first[-1].trained_on}
    assert (study.networks["untrained"][0].weights == study.networks[found.first[-1].trained_on][0].weights).all()
