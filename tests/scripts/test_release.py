"""Networks that come with the package: which is the default, with a model card."""

import json
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from conftest import shake

from demoe import experiments
from demoe.app import networks
from demoe.core import profiles
from demoe.core.files import checksum
from demoe.data.setting import Setting
from demoe.experiments import runs
from demoe.models import checkpoints, pretrained
from demoe.models.nafnet import NAFNet, NAFNetConfig

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))  # they are no package

import release
from model_card import card

SMALL = {"stage1_steps": 2, "stage2_steps": 2, "train_images": 1, "test_images": 1, "image_size": 48}
TINY = NAFNetConfig(width=4, encoder_blocks=(1, 1), middle_blocks=1, decoder_blocks=(1, 1), router=True)


def network(seed: int = 0) -> NAFNet:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return shake(NAFNet(TINY), seed)


def same(a, b) -> bool:
    first, second = a.state_dict(), b.state_dict()
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


# Which one.


def test_the_best_that_is_there_is_the_default_everywhere(tmp_path, monkeypatch):
    monkeypatch.delenv("DEMOE_WEIGHTS", raising=False)
    monkeypatch.setattr(networks, "PACKAGED_WEIGHTS", tmp_path)
    for seed, profile in enumerate(("smoke", "cpu", "quick")):
        checkpoints.save(network(seed), tmp_path / f"demoe-{profile}.safetensors")
        assert same(networks.default_model(device="cpu"), network(seed))
        assert networks.default_label() == f"demoe-{profile}, the small network that comes with demoe"
    checkpoints.save(network(7), tmp_path / "baseline-cpu.safetensors")
    found = pretrained.releases(tmp_path)
    assert [one.profile for one in found] == ["quick", "cpu", "smoke"]
    assert [one.baseline and one.baseline.name for one in found] == [None, "baseline-cpu.safetensors", None]
    assert pretrained.releases(tmp_path / "none") == []


def test_the_command_says_which_network_it_uses(tmp_path, monkeypatch, capsys):
    from demoe.app import cli
    from demoe.core import images

    monkeypatch.delenv("DEMOE_WEIGHTS", raising=False)
    images.write_photograph(tmp_path / "a.png", images.Photograph(torch.rand(3, 8, 8)))
    assert cli.main(["deblur", str(tmp_path / "a.png"), "-o", str(tmp_path / "out")]) == 0
    first = f"deblurring with {pretrained.releases()[0].name}, the small network that comes with demoe; --weights takes"
    assert capsys.readouterr().out.startswith(first)


# Put into the package.


@pytest.fixture
def trained(home, monkeypatch):
    monkeypatch.setattr(runs, "workers_for", lambda sets: 0)
    monkeypatch.setitem(pretrained.RELEASES, "test", "trained for a test")
    setting = Setting(profiles.get("test", **SMALL), progress=False)
    demoe = experiments.obtain(experiments.named("demoe", setting), setting)
    return experiments.obtain(demoe.spec.starts_from, setting), demoe


def test_packaging_and_the_model_card(trained, home):
    folder = home / "weights"
    with pytest.raises(ValueError, match=r"but demoe-s0-\w+ on the bundled photographs: leave the name of others"):
        release.package("test", "bsds500", folder)
    written = release.package("test", folder=folder)
    assert [file.name for file in written] == ["baseline-test.safetensors", "demoe-test.safetensors"]
    for run, file in zip(trained, written, strict=True):
        halved = {
            key: value.half().float() if value.is_floating_point() else value
            for key, value in run.model.state_dict().items()
        }
        found = checkpoints.load(file).state_dict()
        assert all(torch.equal(value, found[key]) for key, value in halved.items())
        assert file.stat().st_size < 0.6 * (run.folder / "model.safetensors").stat().st_size
    stages = checkpoints.provenance(written[1])["release"]["stages"]
    assert [one["run"] for one in stages] == [run.hash for run in trained] and stages[0]["images"] == 10
    text = card(folder)
    assert "## demoe-test" in text and "width 4 (the paper's network has width 32)" in text
    assert "| 1 | 2 | 32 px | 5 | 0:0" in text and "5 synthetic pairs of 48x48 pixels" in text
    assert "not measured yet" in text and f"configuration `{trained[1].hash}`" in text and text == card(folder)


def test_the_card_shows_what_was_measured_of_this_very_file(trained, home):
    release.package("test", folder=home / "weights")
    (one,) = pretrained.releases(home / "weights")
    tables = home / "results/smoke/tables"
    tables.mkdir(parents=True)
    about = {"profile": "smoke", "commit": "abc", "data": "synthetic"}
    rows = [
        {"set": name, "method": method, "metric": "psnr", "mean": 20.0 + i, **about}
        for name in ("GoPro-syn", "Average")
        for i, method in enumerate(("input", "DeMoE k=1"))
    ]
    pd.DataFrame(rows).to_csv(tables / "10_summary.csv")
    pd.DataFrame({"correct": [True, True, False, True]}).to_csv(tables / "10_routing.csv")
    networks = pd.DataFrame([{"sha256": "0" * 64, "pictures": "a folder"}])
    networks.to_csv(tables / "10_networks.csv")
    assert "not measured yet" in card(home / "weights")
    networks.assign(sha256=checksum(one.demoe)).to_csv(tables / "10_networks.csv")
    assert "not measured yet" in card(home / "weights")  # one's own tables, which are not published
    (home / "results/published").mkdir()
    tables.parent.rename(home / "results/published/smoke")
    text = card(home / "weights")
    assert "| GoPro-syn | 20.00 | 21.00 |" in text and "the router names 75.0% of the blurs" in text
    assert "4 synthetic test pictures made from a folder" in text


def test_photographs_decide_which_run_is_meant(trained, home):
    folder = trained[1].folder
    copies = {"demoe-s0-of-bsds": {"source": "f2917182b82c"}, "demoe-s0-other": {"batch": 7}}
    for name, changes in copies.items():
        copy = shutil.copytree(folder, folder.with_name(name))
        record = json.loads((copy / "config.json").read_text())
        record["config"] |= changes
        record["config"]["starts_from"] |= changes  # a baseline of these photographs, or of this batch
        (copy / "config.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match=r"several runs could be meant: demoe-s0-\w+, demoe-s0-other"):
        release.package("test", folder=home / "weights")
    with pytest.raises(ValueError, match="the baseline that demoe-s0-of-bsds was made from is not here"):
        release.package("test", "bsds500", home / "weights")
    shutil.rmtree(folder)
    with pytest.raises(ValueError, match="the baseline that demoe-s0-other was made from is not here"):
        release.package("test", folder=home / "weights")  # of another batch


def test_what_cannot_be_packaged(home):
    with pytest.raises(ValueError, match="'test' are not released: choose one of quick, cpu, real, smoke"):
        release.package("test")
    with pytest.raises(ValueError, match="no DeMoE of the profile cpu is trained here"):
        release.package("cpu")


def test_a_part_of_a_training_is_not_released(trained, home):
    shutil.rmtree(trained[0].folder)
    with pytest.raises(ValueError, match=r"the baseline that demoe-s0-\w+ was made from is not here"):
        release.package("test", folder=home / "weights")
