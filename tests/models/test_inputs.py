"""What is no batch of pictures gets a sentence that says what to write instead."""

import numpy as np
import pytest
import torch

from demoe.inference.optimize import optimize
from demoe.models.demoe import DeMoE, DeMoEConfig
from demoe.models.nafnet import NAFNet, NAFNetConfig

WRONG = [
    (lambda x: x[0], ValueError, r"\(3, 9, 7\): one picture needs a batch dimension, x\[None\]"),
    (lambda x: x[0].permute(1, 2, 0), ValueError, r"channels come first, x.permute\(2, 0, 1\)\[None\]"),
    (lambda x: x.permute(0, 2, 3, 1), ValueError, r"channels come first, x.permute\(0, 3, 1, 2\)"),
    (lambda x: x[:, :1], ValueError, "three equal channels"),
    (lambda x: torch.cat((x, x[:, :1]), 1), ValueError, r"leave the transparency out, x\[:, :3\]"),
    (lambda x: x[:, :, :0], ValueError, r"\(1, 3, 0, 7\)$"),
    (lambda x: (255 * x).byte(), TypeError, r"torch.uint8: 8-bit pictures need x.float\(\) / 255"),
    (lambda x: 255 * x, ValueError, "divide 8-bit pictures by 255"),
    (lambda x: 2 * x - 1, ValueError, "undo the normalisation"),
    (lambda x: x.numpy(), TypeError, "not ndarray: demoe.deblur takes"),
]


@pytest.fixture(scope="module", params=["as it is", "optimized"])
def network(request):
    model = DeMoE(DeMoEConfig(width=2, encoder_blocks=(1,), middle_blocks=1, decoder_blocks=(1,))).eval()
    return model if request.param == "as it is" else optimize(model)


@pytest.mark.parametrize(("change", "kind", "words"), WRONG)
def test_one_sentence(network, change, kind, words):
    picture = torch.linspace(0, 1, 3 * 9 * 7).view(1, 3, 9, 7)
    with pytest.raises(kind, match=words) as error:
        network(change(picture))
    assert "\n" not in str(error.value)


def test_what_noise_and_training_bring_passes(network):
    x = torch.from_numpy(np.random.default_rng(0).uniform(-0.4, 1.4, (2, 3, 5, 6)).astype(np.float32))
    assert network(x).image.shape == x.shape
    if isinstance(network, torch.nn.Module):
        assert network.train()(3 * x).image.shape == x.shape  # numbers are not looked at in training
        network.eval()


def test_without_numbers_there_is_no_question_about_them():
    """On the meta device, and where a program is traced."""
    model = NAFNet(NAFNetConfig(width=2, encoder_blocks=(1,), middle_blocks=1, decoder_blocks=(1,))).eval()
    program = torch.export.export(model, (torch.rand(1, 3, 8, 8),)).module()
    assert program(torch.rand(1, 3, 8, 8)).image.shape == (1, 3, 8, 8)
    assert model.to("meta")(torch.empty(1, 3, 8, 8, device="meta")).image.shape == (1, 3, 8, 8)
