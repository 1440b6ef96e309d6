import sys
from dataclasses import asdict

import pytest
import torch

from demoe.models import checkpoints, comparators
from demoe.models.checkpoint_files import CheckpointError
from demoe.models.comparators import NETWORKS, PromptIRConfig, at_width, label, untrained

OURS = ("PromptIR", "SFHFormer")  # need no optional package
EVERY = [
    *OURS,
    *(
        pytest.param(
            name,
            marks=pytest.mark.skipif(
                __import__("importlib.util").util.find_spec("spandrel_extra_arches") is None, reason="optional package"
            ),
        )
        for name in ("Restormer", "FFTFormer")
    ),
]


def shaken(name: str) -> torch.nn.Module:
    """A slim network that is not the identity."""
    torch.manual_seed(0)
    model = untrained(at_width(name, 4)).eval()
    last = model.ending if name in OURS else model.network.output
    torch.nn.init.normal_(last.weight, std=0.1)
    return model


@pytest.mark.parametrize("name", EVERY)
def test_any_size_and_the_start_is_the_identity(name):
    x = torch.rand(1, 3, 33, 47)
    y = shaken(name)(x).image
    assert y.shape == x.shape and y.isfinite().all() and not torch.allclose(x, y, atol=1e-3)
    torch.testing.assert_close(untrained(at_width(name, 4)).eval()(x).image, x, rtol=0, atol=0)


@pytest.mark.parametrize("name", EVERY)
def test_saved_and_loaded_it_is_the_same_network(name, tmp_path):
    model = shaken(name)
    file = checkpoints.save(model, tmp_path / "a.safetensors", {"training": {"steps": 3}})
    again = checkpoints.load(file)
    x = torch.rand(1, 3, 40, 36)
    assert type(again) is type(model) and again.config == model.config
    torch.testing.assert_close(again(x).image, model(x).image, rtol=0, atol=0)
    assert checkpoints.provenance(file) == {"training": {"steps": 3}}


def test_channels_last_changes_nothing_but_the_layout():
    pytest.importorskip("spandrel")
    model, x = shaken("FFTFormer"), torch.rand(1, 3, 32, 32)
    y = model(x).image
    moved = model.to("cpu", memory_format=torch.channels_last)  # five dimensions: every other module would refuse
    torch.testing.assert_close(moved(x.contiguous(memory_format=torch.channels_last)).image, y)
    assert next(moved.to(torch.float64).parameters()).dtype == torch.float64


def test_published_sizes_from_the_papers_width_on_slim_ones_below():
    for name, (_, kind) in NETWORKS.items():
        assert at_width(name, 32) == kind() == at_width(name, 64) and label(at_width(name, 32)) == name
        slim = at_width(name, 8)
        assert slim != kind() and label(slim).startswith(f"{name} (width {slim.width}, 1+1+")
        assert sum(slim.blocks) < sum(kind().blocks) / 3
    assert label(at_width("PromptIR", 8)) == "PromptIR (width 8, 1+1+1+1 blocks)"
    with pytest.raises(ValueError, match="unknown network 'DnCNN': choose one of PromptIR"):
        at_width("DnCNN", 8)


def test_without_the_package_the_file_says_what_is_missing(tmp_path, monkeypatch):
    pytest.importorskip("spandrel_extra_arches")
    file = checkpoints.save(shaken("Restormer"), tmp_path / "r.safetensors")
    monkeypatch.setitem(sys.modules, "spandrel_extra_arches.architectures.Restormer", None)
    with pytest.raises(CheckpointError, match=r"r\.safetensors describes a Restormer .*not installed: pip install"):
        checkpoints.load(file)


def test_a_size_that_its_tensors_do_not_have_is_refused(tmp_path, monkeypatch):
    model = shaken("SFHFormer")
    model.config = type(model.config)(**{**asdict(model.config), "blocks": (1, 1, 10**6, 1, 1)})
    file = checkpoints.save(model, tmp_path / "s.safetensors")
    with pytest.raises(CheckpointError, match="names more blocks than it has tensors"):
        checkpoints.load(file)


def test_labels_tell_sizes_apart():
    assert label(PromptIRConfig(width=24)) == "PromptIR (width 24, 4+6+6+8 blocks)"
    assert comparators.PUBLISHED_FROM == 32
