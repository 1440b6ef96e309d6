"""Deblurring networks of the related papers: their sizes, their authors' names, outputs recorded from their code."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage.transform import pyramid_gaussian
from small_networks import SMALL

from demoe.data.batches import Batch
from demoe.models.outputs import Restored
from demoe.related.networks.deepdeblur import DeepDeblur, halved
from demoe.related.networks.hinet import HINet, in_windows
from demoe.related.networks.mimo_unet import MIMOUNet, MIMOUNetPlus
from demoe.related.networks.mprnet_stage1 import MPRNetStage1
from demoe.related.networks.mssnet import MSSNet
from demoe.related.networks.shared import Restoring, every_stage
from demoe.related.networks.unet import UNet
from demoe.training.losses import Criterion, Term
from demoe.training.step import TrainStep

SIZES = {  # of the outputs, as divisors of the picture's
    "unet": (1,),
    "mimo": (4, 2, 1),
    "mimo+": (4, 2, 1),
    "mprnet": (1,),
    "mssnet": (2, 1, 1, 1, 1, 1),
    "deepdeblur": (4, 2, 1),
    "hinet": (1, 1),
}
# What the authors' code gives for the weights of ``filled``: two pixels of each output, and its standard deviation.
RECORDED = {
    "mssnet": [
        (0.292744, 0.427863, 0.412427),
        (0.946899, 0.913526, 0.358624),
        (0.994303, 1.057687, 0.412272),
        (1.021119, 0.841945, 0.49649),
        (0.865887, 0.747034, 0.374951),
        (0.854314, 0.975834, 0.376806),
    ],
    "mimo": [(0.966433, 0.085479, 0.377875), (0.167651, 0.100885, 0.355585), (1.026371, 0.879425, 0.360863)],
    "deepdeblur": [(0.569556, 0.344726, 0.077158), (0.599659, 0.608773, 0.037906), (0.580122, 0.500334, 0.042036)],
    "hinet": [(1.008459, 0.958036, 0.373448), (1.056268, 0.89803, 0.358876)],
}


def waves(shape, salt):
    """Numbers between -1 and 1 that no random generator makes."""
    steps = torch.arange(math.prod(shape), dtype=torch.float64)
    return torch.sin(steps * (0.7 + salt) + salt).view(shape).float()


def filled(model):
    """The model with weights of ``waves``, by the order of their names."""
    with torch.no_grad():
        for number, (_, parameter) in enumerate(sorted(model.named_parameters())):
            scale = 0.9 / parameter[0].numel() ** 0.5 if parameter.ndim > 1 else 0.1
            parameter.copy_(waves(parameter.shape, 0.1 * (number % 13)) * scale)
    return model.eval()


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_parameters_to_the_digit():
    with torch.device("meta"):
        models = {
            6_807_171: MIMOUNet(),
            16_107_651: MIMOUNetPlus(),
            15_614_497: MSSNet(),
            11_721_321: DeepDeblur(),
            3_729_129: DeepDeblur(6),
            # with the two 1x1 of the attention module that lead to stage 2, 5,764,321
            5_764_321 - 96 * 96 - 3 * 96: MPRNetStage1(),
            88_668_806: HINet(),
            22_176_070: HINet(32),
            2_590_851: UNet(),  # ours: its authors' is not known to the digit
        }
    assert {count: sum(p.numel() for p in model.parameters()) for count, model in models.items()} == {
        count: count for count in models
    }


@pytest.mark.parametrize("name", SMALL)
def test_any_size_best_last(name):
    model = SMALL[name]().eval()
    for height, width in ((1, 1), (16, 16), (37, 21)):
        x = torch.rand(2, 3, height, width)
        found = [tuple(picture.shape) for picture in model(x)]
        assert found == [(2, 3, -(-height // factor), -(-width // factor)) for factor in SIZES[name]]


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 1, 8, 8), (1, 3, 0, 8)])
def test_what_is_no_batch_of_pictures_is_refused(name, shape):
    with pytest.raises(ValueError, match="RGB"):
        SMALL[name]()(torch.rand(shape))


@torch.no_grad()
@pytest.mark.parametrize("name", RECORDED)
def test_outputs_are_those_of_the_authors_code(name):
    model = filled(SMALL[name]())
    if name == "deepdeblur":
        x = [waves((1, 3, 16 >> level, 32 >> level), 0.3 + level) * 0.5 + 0.5 for level in (2, 1, 0)]
    else:
        x = waves((1, 3, 16, 32), 0.3) * 0.5 + 0.5
    found = [[p[0, 1, 2, 3], p[0, 2, -1, -2], p.std()] for p in model(x)]
    torch.testing.assert_close(torch.tensor(found), torch.tensor(RECORDED[name]), rtol=0, atol=1e-5)


class Darker(torch.nn.Module):
    """Each picture minus its mean: what it gives of a pixel depends on what else it sees."""

    def forward(self, x):
        return [x, x - x.mean((2, 3), keepdim=True) + 0.5]


@pytest.mark.parametrize("shape", [(32, 32), (33, 70), (20, 64), (97, 40)])
def test_hinet_is_evaluated_in_windows(shape):
    """Against the rule of the authors' evaluation, written out for one pixel after the other."""
    (height, width), side, x = shape, 32, torch.rand(2, 3, *shape)

    def starts(length):
        if length <= side:
            return [0]
        step, found, at = math.ceil((length - side) / (math.ceil(length / side) - 1)), [], 0
        while at + side < length:
            found.append(at)
            at += step
        return [*found, length - side]

    seen = [
        (top, left, Darker()(x[..., top : top + side, left : left + side])[-1])
        for top in starts(height)
        for left in starts(width)
    ]
    wanted = torch.empty_like(x)
    for row in range(height):
        for column in range(width):
            over = [
                part[..., row - top, column - left]
                for top, left, part in seen
                if top <= row < top + side and left <= column < left + side
            ]
            wanted[..., row, column] = torch.stack(over).mean(0).clamp(0, 1)
    torch.testing.assert_close(in_windows(Darker(), x, side), wanted)


def test_stage_1_is_that_of_a_whole_mprnet():
    pytest.importorskip("spandrel_extra_arches")
    from spandrel_extra_arches.architectures.MPRNet.__arch.MPRNet import MPRNet

    whole, stage = MPRNet(n_feat=8, scale_unetfeats=4, scale_orsnetfeats=4, num_cab=1).eval(), SMALL["mprnet"]().eval()
    stage.load_released({"state_dict": whole.state_dict()})
    x = torch.rand(1, 3, 16, 24)
    torch.testing.assert_close(stage(x)[-1], whole(x)[-1], rtol=0, atol=1e-6)


def test_weights_of_pictures_in_0_to_255():
    ours, theirs = SMALL["deepdeblur"]().eval(), SMALL["deepdeblur"]().eval()
    ours.load_released({"G": theirs.state_dict()})
    first, last = ours.body_models[2].body, theirs.body_models[2].body
    y = torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(first(y) * 255, last(y * 255), rtol=1e-5, atol=1e-3)


def test_a_pyramid_of_ones_own():
    model = SMALL["deepdeblur"]().eval()
    x = torch.rand(1, 3, 16, 24)
    pyramid = [halved(halved(x)), halved(x), x]
    for mine, theirs in zip(model(pyramid), model(x), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)
    with pytest.raises(ValueError, match=r"3 levels from coarse to fine.*16x24, 8x12"):
        model(pyramid[:0:-1])


def test_the_pyramid_is_scikit_images():
    x = torch.rand(1, 3, 16, 24, dtype=torch.float64)
    for mine, theirs in zip(
        (x, halved(x), halved(halved(x))),
        pyramid_gaussian(x[0].permute(1, 2, 0).numpy(), max_layer=2, channel_axis=-1),
        strict=True,
    ):
        np.testing.assert_allclose(mine[0].permute(1, 2, 0), theirs, atol=1e-12)


@pytest.mark.parametrize("name", SMALL)
def test_released_weights_load_whole_or_not_at_all(name):
    model, other = SMALL[name](), SMALL[name]()
    state = {f"module.{key}": value for key, value in other.state_dict().items()}
    model.load_released({"model": state})
    first = next(iter(state))
    with pytest.raises(ValueError, match=f"not those of this {type(model).__name__}"):
        model.load_released({key: value for key, value in state.items() if key != first})
    assert not any("fusions" in key for key in state)


@pytest.mark.parametrize("name", SMALL)
def test_every_parameter_learns_from_all_outputs(name):
    model = SMALL[name]()
    sum(picture.square().mean() for picture in model(torch.rand(2, 3, 32, 32))).backward()
    assert not [key for key, p in model.named_parameters() if p.grad is None]


def test_the_one_activation_is_shared():
    for name in ("mprnet", "mssnet"):
        assert sum(p.numel() == 1 for p in SMALL[name]().parameters()) == 1


def test_neither_halves_nor_quarters_see_each_other():
    x, model = torch.rand(1, 3, 16, 24), SMALL["mprnet"]().eval()
    changed = x.clone()
    changed[..., 8:, :] += 0.1
    assert torch.equal(model(x)[-1][..., :8, :], model(changed)[-1][..., :8, :])
    assert not torch.equal(model(x)[-1][..., 8:, :], model(changed)[-1][..., 8:, :])


def test_dropout_of_the_larger_one_in_training_only():
    x = torch.rand(1, 3, 16, 16)
    small, large = MIMOUNet(16, 1), MIMOUNetPlus(16, 1)
    large.load_state_dict(small.state_dict())
    torch.testing.assert_close(large.eval()(x)[-1], small(x)[-1], rtol=0, atol=0)
    assert not torch.equal(large.train()(x)[-1], large(x)[-1])


@pytest.mark.parametrize("name", SMALL)
def test_trained_like_any_network_of_the_project(name):
    """It comes through the door as a ``Restored``, and its loss over all stages falls."""
    model = Restoring(SMALL[name]())
    sharp = F.interpolate(torch.rand(2, 3, 4, 4), (32, 32), mode="bicubic").clamp(0, 1)
    batch = Batch(F.avg_pool2d(sharp, (1, 7), 1, (0, 3)), sharp, torch.zeros(2, dtype=torch.int64))
    criterion = Criterion([Term("stages", every_stage(F.l1_loss))])
    step = TrainStep(model, criterion, torch.optim.AdamW(model.parameters(), 3e-3), "float32", 1, False)
    losses = [step(batch)[0]["total"].item() for _ in range(12)]
    assert losses[-1] < losses[0]
    output = model.eval()(batch.blurred)
    assert isinstance(output, Restored) and output.image is output.pictures[-1] and output.features is None
    assert len(output) == 3 and output.logits is None


def test_a_stage_is_compared_with_the_sharp_picture_at_its_size():
    sharp = torch.rand(1, 3, 8, 8)
    output = SimpleNamespace(image=sharp, pictures=[sharp[..., ::2, ::2], sharp])
    batch = SimpleNamespace(sharp=sharp)
    small = F.interpolate(sharp, (4, 4), mode="bilinear", align_corners=False)
    torch.testing.assert_close(every_stage(F.l1_loss)(output, batch), (sharp[..., ::2, ::2] - small).abs().mean())


def test_a_width_that_mimo_unet_cannot_have():
    with pytest.raises(ValueError, match="multiple of 4 from 16 on, not 8"):
        MIMOUNet(8)
