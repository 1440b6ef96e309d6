"""DPDNet: its published sizes, a plain formulation of it, and its way to disk."""

import pytest
import torch
import torch.nn.functional as F

from demoe.inference.restore import restore
from demoe.models import checkpoints
from demoe.models.checkpoint_files import CheckpointError
from demoe.related.networks.dpdnet import DPDNet


@pytest.mark.parametrize(("channels", "parameters"), [(3, 31_033_423), (6, 31_035_151)])
def test_published_sizes(channels, parameters):
    with torch.device("meta"):
        assert sum(value.numel() for value in DPDNet(in_channels=channels).parameters()) == parameters


def plain(convs, x):
    """The network written out, from its convolutions in the order of use."""
    convs = iter(convs)

    def conv(x):
        layer = next(convs)
        return F.conv2d(x, layer.weight, layer.bias, padding=layer.weight.shape[-1] // 2)

    skips = []
    for level in range(5):
        x = F.max_pool2d(x, 2, 2) if level else x
        x = conv(conv(x).relu()).relu()
        skips.append(x)
    for skip in skips[-2::-1]:
        x = x.repeat_interleave(2, -1).repeat_interleave(2, -2)
        layer = next(convs)
        x = F.conv2d(F.pad(x, (0, 1, 0, 1)), layer.weight, layer.bias).relu()
        x = conv(conv(torch.cat((skip, x), 1)).relu()).relu()
    return conv(conv(x).relu()).sigmoid()


def test_it_computes_what_is_written_out_for_any_size():
    torch.manual_seed(0)
    network = DPDNet(width=2, in_channels=6).eval()
    convs = [module for module in network.modules() if isinstance(module, torch.nn.Conv2d)]
    picture = torch.rand(2, 6, 32, 48)
    (out,) = network(picture)
    torch.testing.assert_close(out, plain(convs, picture))
    padded = F.pad(picture[..., :17, :35], (0, 13, 0, 15))
    torch.testing.assert_close(network(picture[..., :17, :35])[0], plain(convs, padded)[..., :17, :35])
    single, picture3 = DPDNet(width=2, in_channels=3).eval(), torch.rand(3, 17, 35)
    torch.testing.assert_close(restore(single, picture3).image, single(picture3[None])[0][0])
    network.train()
    assert not torch.equal(network(picture)[0], network(picture)[0])  # dropout


def test_released_weights_are_taken_in_their_order():
    torch.manual_seed(0)
    one, other, picture = DPDNet(2, 3).eval(), DPDNet(2, 3).eval(), torch.rand(1, 3, 16, 16)
    state = {f"conv2d_{number}": value for number, value in enumerate(one.state_dict().values())}
    other.load_released(state)
    assert torch.equal(one(picture)[0], other(picture)[0])
    with pytest.raises(ValueError, match="not the 48 tensors of a DPDNet"):
        other.load_released(dict(list(state.items())[1:]))


def test_a_guests_network_is_saved_and_loaded_by_its_class(tmp_path):
    network, file = DPDNet(2, 3), tmp_path / "dpdnet.safetensors"
    checkpoints.save(network, file, {"seed": 0})
    loaded = checkpoints.load(file, guest=DPDNet)
    assert isinstance(loaded, DPDNet) and loaded.config == network.config and not loaded.training
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in network.state_dict().items())
    with pytest.raises(CheckpointError, match="a network called 'DPDNet': this version knows NAFNet, DeMoE"):
        checkpoints.load(file)

    class Other(DPDNet):
        def __init__(self, depth):
            super().__init__()

    Other.__name__ = "DPDNet"
    with pytest.raises(CheckpointError, match="describes a DPDNet that cannot be built"):
        checkpoints.load(file, guest=Other)
