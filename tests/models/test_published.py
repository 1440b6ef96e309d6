import sys

import pytest
import torch
from conftest import shake

from demoe.inference.restore import restore
from demoe.models import checkpoints, published
from demoe.models.checkpoint_files import CheckpointError
from demoe.models.comparators import spandrel_network
from demoe.models.nafnet import NAFNet, NAFNetConfig

NAF = NAFNetConfig(4, (1, 1), 1, (1, 1))
RESTORMER = "spandrel_extra_arches.architectures.Restormer"
SLIM = {"dim": 8, "num_blocks": [1, 1, 1, 1], "num_refinement_blocks": 1}


@pytest.fixture
def restormer():
    pytest.importorskip("spandrel_extra_arches")
    torch.manual_seed(0)
    return spandrel_network(RESTORMER, **SLIM).eval()


def test_a_network_of_spandrel_is_told_from_its_tensors(tmp_path, restormer):
    file = tmp_path / "motion.pth"
    torch.save({"params": restormer.state_dict()}, file)
    state = torch.get_rng_state()
    found = published.load(file)
    assert torch.equal(state, torch.get_rng_state())
    assert found.label == "Restormer (weights motion.pth)" and len(found.sha256) == 64
    x = torch.rand(2, 3, 24, 40)
    torch.testing.assert_close(restore(found.model, x).image, restormer(x).clamp(0, 1), rtol=1e-4, atol=1e-5)
    assert restore(found.model, torch.rand(3, 17, 25)).image.shape == (3, 17, 25)


def test_ours_and_nafnets_releases_need_no_spandrel(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "spandrel", None)
    model = shake(NAFNet(NAF))
    torch.save({"params": model.state_dict()}, tmp_path / "naf.pth")
    checkpoints.save(model, tmp_path / "own.safetensors")
    for name in ("naf.pth", "own.safetensors"):
        found = published.load(tmp_path / name)
        assert found.label == f"NAFNet (weights {name})"
        torch.testing.assert_close(found.model(torch.ones(1, 3, 9, 5)).image, model(torch.ones(1, 3, 9, 5)).image)


def test_two_files_of_one_name_are_told_apart(tmp_path):
    for i in range(2):
        (tmp_path / str(i)).mkdir()
        checkpoints.save(shake(NAFNet(NAF), i), tmp_path / str(i) / "a.safetensors")
    files = [tmp_path / str(i) / "a.safetensors" for i in range(2)]
    labels = [one.label for one in published.load_all(files)]
    assert len(set(labels)) == 2 and all(label.startswith("NAFNet (weights a.safetensors) ") for label in labels)
    assert published.load_all(files[:1])[0].label == "NAFNet (weights a.safetensors)"


def test_what_is_no_network_is_refused_in_one_sentence(tmp_path, restormer, monkeypatch):
    bad, odd, foreign = tmp_path / "bad.pth", tmp_path / "odd.pth", tmp_path / "r.pth"
    bad.write_bytes(b"PK\x03\x04 half a file")
    torch.save(torch.nn.Conv2d(3, 3, 3).state_dict(), odd)
    torch.save(restormer.state_dict(), foreign)
    with pytest.raises(CheckpointError, match=r"bad\.pth is truncated"):
        published.load(bad)
    with pytest.raises(CheckpointError, match=r"odd\.pth is a checkpoint of a network that nobody here knows"):
        published.load(odd)
    with pytest.raises(CheckpointError, match="does not exist"):
        published.load(tmp_path / "nowhere.pth")
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(CheckpointError, match=r"r\.pth is no NAFNet or DeMoE, and spandrel.*pip install"):
        published.load(foreign)


def test_one_for_another_task_is_refused(tmp_path):
    pytest.importorskip("spandrel_extra_arches")
    file = tmp_path / "dual.pth"
    model = spandrel_network(RESTORMER, **SLIM, inp_channels=6, dual_pixel_task=True)
    torch.save(model.state_dict(), file)
    with pytest.raises(CheckpointError, match=r"dual\.pth holds a Restormer that does not restore RGB pictures"):
        published.load(file)
