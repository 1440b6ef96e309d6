"""Networks of spandrel's packages at the sizes that the related papers train."""

import pytest
import torch

from demoe.models import checkpoints
from demoe.related.networks.spandrel_networks import SIZES, SpandrelNetwork

pytest.importorskip("spandrel_extra_arches")


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("Restormer", 26_126_644), ("MPRNet", 20_127_073), ("MPRNet-lite", 6_376_449), ("Uformer-T", 5_291_853)],
)
def test_published_sizes(name, parameters):
    with torch.device("meta"):
        assert sum(value.numel() for value in SpandrelNetwork(name).parameters()) == parameters


@pytest.mark.parametrize(("name", "stages"), [("Restormer-DP", 1), ("MPRNet-lite", 3), ("Uformer-T", 1)])
def test_any_size_comes_back(name, stages):
    torch.manual_seed(0)
    network = SpandrelNetwork(name).eval()
    picture = torch.rand(1, SIZES[name].channels, 17, 9)
    with torch.no_grad():
        out = network(picture)
    assert len(out) == stages and all(one.shape == (1, 3, 17, 9) and torch.isfinite(one).all() for one in out)


def test_the_last_stage_of_mprnet_is_the_last_of_the_list():
    torch.manual_seed(0)
    network, picture = SpandrelNetwork("MPRNet-lite").eval(), torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        torch.nn.init.zeros_(network.network.tail.weight)  # the third stage's residual
        assert torch.equal(network(picture)[-1], picture)


def test_uformer_is_kept_and_loaded(tmp_path):
    network = SpandrelNetwork("Uformer-T")
    loaded = checkpoints.load(checkpoints.save(network, tmp_path / "uformer.safetensors"), guest=SpandrelNetwork)
    assert loaded.config.name == "Uformer-T"
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in network.state_dict().items())


def test_another_name_is_refused():
    with pytest.raises(ValueError, match="unknown network 'HINet': choose one of Uformer-T, Restormer"):
        SpandrelNetwork("HINet")
