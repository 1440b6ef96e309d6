"""The semantic prior: its equations, an identity at the start, a teacher that is nowhere but in the loss."""

import math
from dataclasses import asdict, replace

import pytest
import torch
import torch.nn.functional as F
from small_networks import SMALL
from torch import nn

from demoe.data.batches import Batch
from demoe.models import checkpoints
from demoe.models.outputs import Restored
from demoe.related.networks.mprnet_stage1 import MPRNetStage1
from demoe.related.networks.shared import Restoring, every_stage
from demoe.related.networks.unet import UNet
from demoe.related.prior import (
    BETA,
    MEASURED,
    CrossLevel,
    HCLLoss,
    MultiLevel,
    PriorLoss,
    PriorStudent,
    SemanticAttention,
    measure,
    with_prior,
)
from demoe.related.steered import NETWORKS as NETWORKS_BY_NAME
from demoe.related.steered import Steered, SteeredConfig
from demoe.training.losses import Criterion, Term, l1
from demoe.training.step import TrainStep

CHANNELS = (3, 5, 4)  # of the teacher below
NETWORKS = {name: make for name, make in SMALL.items() if name != "hinet"}


class Teacher(nn.Module):
    """A frozen network with maps at strides 4, 8, 16."""

    def __init__(self):
        super().__init__()
        self.levels = nn.ModuleList(nn.Conv2d(3, channels, 3, padding=1) for channels in CHANNELS)
        self.requires_grad_(False)
        self.seen = None

    def forward(self, x):
        self.seen = x
        return [level(F.avg_pool2d(x, 4 << index)) for index, level in enumerate(self.levels)]


def student():
    return PriorStudent((4, 6, 8), CHANNELS)


def maps(*sizes, channels=CHANNELS):
    return [torch.randn(2, width, *size) for width, size in zip(channels, sizes, strict=True)]


def batch(size=32):
    sharp = F.interpolate(torch.rand(2, 3, 8, 8), (size, size), mode="bicubic").clamp(0, 1)
    return Batch(F.avg_pool2d(sharp, (1, 7), 1, (0, 3)), sharp, torch.zeros(2, dtype=torch.int64))


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("size", [(16, 32), (37, 21), (1, 1)])
def test_a_student_has_the_teachers_sizes(size):
    m = student()(torch.rand(2, 3, *size))
    wanted = [(2, width, -(-size[0] // s), -(-size[1] // s)) for width, s in zip((4, 6, 8), (4, 8, 16), strict=True)]
    assert [tuple(one.shape) for one in m] == wanted
    assert [one.shape[1] for one in student().mapped(m)] == list(CHANNELS)


def test_clc_by_hand_and_what_each_level_depends_on():
    clc, m = CrossLevel(CHANNELS), maps((8, 6), (4, 3), (2, 2))
    for one in m:
        one.requires_grad_()
    f = clc(m)
    assert [one.shape for one in f] == [one.shape for one in m] and f[2] is m[2]
    up = F.interpolate(m[1], (8, 6), mode="bilinear")
    u = torch.einsum("oi,bihw->bohw", clc.coarser[0].weight[..., 0, 0], up) + clc.coarser[0].bias.view(1, -1, 1, 1)
    weight = torch.sigmoid(clc.attention[0](torch.cat((m[0], u), 1)))
    assert weight.shape == (2, 1, 8, 6)
    torch.testing.assert_close(f[0], weight * (m[0] + u))
    for level, reached in enumerate([(True, True, False), (False, True, True), (False, False, True)]):
        found = torch.autograd.grad(f[level].sum(), m, retain_graph=True, allow_unused=True)
        assert tuple(one is not None for one in found) == reached


def test_mla_by_hand():
    mla, f = MultiLevel(CHANNELS), maps((8, 6), (4, 3), (2, 2))
    found = mla(f)
    assert [one.shape for one in found] == [one.shape for one in f]
    others = [F.interpolate(f[index], (4, 3), mode="bilinear") for index in (0, 2)]
    weight = mla.convs[1](torch.cat((f[1], *others), 1))
    torch.testing.assert_close(found[1], (weight + 1) * f[1])
    assert not any(one.any() for one in mla([torch.zeros_like(one) for one in f]))


@pytest.mark.parametrize("mode", ["sat", "add", "concat"])
def test_an_embedding_starts_as_the_sum(mode):
    embed, decoder, encoder = SemanticAttention(6, 4, mode), torch.randn(2, 6, 8, 8), torch.randn(2, 6, 8, 8)
    prior = torch.randn(2, 4, 3, 2)
    torch.testing.assert_close(embed(decoder, encoder, prior), decoder + encoder, rtol=0, atol=0)
    torch.testing.assert_close(embed(decoder, None, prior), decoder, rtol=0, atol=0)


def test_sat_by_hand():
    sat, decoder, encoder = SemanticAttention(6, 4), torch.randn(2, 6, 8, 8), torch.randn(2, 6, 8, 8)
    for parameter in sat.parameters():
        nn.init.normal_(parameter, std=0.2)
    prior = torch.randn(2, 4, 4, 4)
    resized = F.interpolate(prior, (8, 8), mode="bilinear")
    wanted = sat.mu(resized) * (decoder + encoder) + sat.sigma(resized)
    torch.testing.assert_close(sat(decoder, encoder, prior), wanted)


def slow_hcl(mine, theirs, kind):
    """Picture by picture and window by window; see the docstring of ``HCLLoss``."""
    total = 0.0
    for a, b in zip(mine, theirs, strict=True):
        d = (a - b).double()
        count, channels, height, width = d.shape
        if kind == "reviewkd":
            parts, weight = [(1.0, float(d.square().mean()))], 1.0
            for size in (4, 2, 1):
                if size < height:
                    weight /= 2
                    cells = torch.zeros(count, channels, size, size, dtype=torch.float64)
                    for i in range(size):
                        for j in range(size):
                            rows = slice(i * height // size, math.ceil((i + 1) * height / size))
                            columns = slice(j * width // size, math.ceil((j + 1) * width / size))
                            cells[..., i, j] = d[..., rows, columns].mean((2, 3))
                    parts.append((weight, float(cells.square().mean())))
            total += sum(w * error for w, error in parts) / sum(w for w, _ in parts)
            continue
        for k in (1, 2, 4):
            if k > min(height, width):
                continue
            squares = torch.zeros(count)
            for i in range(height // k):
                for j in range(width // k):
                    squares += d[..., i * k : i * k + k, j * k : j * k + k].mean((2, 3)).square().sum(1)
            windows = channels * (height // k) * (width // k)
            error = squares.mean() / windows if kind == "mse" else squares.sqrt().mean() / (height * width)
            total += float(error) / len(mine)
    return total


@pytest.mark.parametrize("kind", ["mse", "l2", "reviewkd"])
@pytest.mark.parametrize("sizes", [((8, 8), (4, 4), (2, 2)), ((9, 7), (5, 3), (1, 1))])
def test_hcl_is_the_slow_one(kind, sizes):
    mine, theirs = maps(*sizes), maps(*sizes)
    assert HCLLoss(kind)(mine, theirs).item() == pytest.approx(slow_hcl(mine, theirs, kind), rel=1e-5)


@pytest.mark.parametrize(("kind", "wanted"), [("mse", 3 * 0.25), ("reviewkd", 3 * 0.25)])
def test_hcl_of_a_constant_offset(kind, wanted):
    """3 c^2: three scales, or three levels."""
    theirs = maps((16, 16), (8, 8), (8, 8))
    assert HCLLoss(kind)([one + 0.5 for one in theirs], theirs).item() == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("kind", ["mse", "l2", "reviewkd"])
def test_hcl_of_equal_maps_is_zero_with_a_finite_gradient(kind):
    mine = [one.requires_grad_() for one in maps((8, 8), (4, 4), (2, 2))]
    loss = HCLLoss(kind)(mine, [one.detach().clone() for one in mine])
    loss.backward()
    assert loss.item() == 0 and all(one.grad.isfinite().all() for one in mine)


def test_hcl_does_not_take_maps_of_different_sizes():
    with pytest.raises(ValueError, match="the same shapes"):
        HCLLoss()(maps((8, 8), (4, 4), (2, 2)), maps((8, 8), (4, 4), (2, 3)))
    with pytest.raises(ValueError, match="the same shapes"):
        HCLLoss()([], [])


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("mode", ["sat", "add", "concat"])
def test_a_network_with_a_new_prior_is_the_network(name, mode):
    network = NETWORKS[name]().eval()
    model = with_prior(network, student(), mode).eval()
    x = torch.rand(2, 3, 37, 21)
    found, wanted = model(x), network(x)
    for mine, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0 if mode == "sat" else 1e-6)
    assert all(type(fusion).__name__ == "Fusion" for fusion in network.fusions)  # a copy was changed


@pytest.mark.parametrize("name", NETWORKS)
def test_every_prior_matters_once_it_has_learnt(name):
    model = with_prior(NETWORKS[name](), student()).eval()
    x = torch.rand(1, 3, 32, 32)
    before = model(x)[-1]
    for fusion in model.network.fusions:
        nn.init.normal_(fusion.attention.sigma[-1].weight, std=0.1)
        after = model(x)[-1]
        assert not torch.equal(before, after)
        before = after


def test_a_prior_lies_where_its_picture_does():
    """MPRNet works on halves: a prior of the lower half must not enter the upper one."""
    model = with_prior(MPRNetStage1(8, 4), student(), clc=False, mla=False).eval()
    for fusion in model.network.fusions:
        nn.init.normal_(fusion.attention.sigma[-1].weight, std=0.1)
    x = torch.rand(1, 3, 64, 32)
    priors = [one.detach().clone() for one in model.priors(x)]
    before = model(x)[-1]
    for one in priors:
        one[..., one.shape[-2] // 2 + 1 :, :] += 1  # one row away from the middle, for what the upsampling reaches
    model.priors = lambda _: priors
    after = model(x)[-1]
    same = (before == after).all(dim=(0, 1, 3))
    assert same[:32].all() and not same[48:].any()


def test_the_teacher_is_in_the_loss_alone():
    """It sees the sharp picture, gets no gradient, and is not kept; the student learns all of itself."""
    teacher, pupil, data = Teacher(), student(), batch()
    measure(pupil, teacher, [data.sharp])
    model = Restoring(with_prior(UNet(4), pupil))
    criterion = Criterion([Term("pixel", l1), Term("prior", PriorLoss(teacher), BETA)])
    losses = criterion(model(data.blurred), data)
    assert set(losses) == {"total", "pixel", "prior"} and losses["prior"] > 0
    torch.testing.assert_close(losses["total"], losses["pixel"] + 0.1 * losses["prior"])
    assert teacher.seen is data.sharp
    losses["total"].backward()
    used = [key for key, p in pupil.named_parameters() if p.grad is not None and p.grad.any()]
    assert len(used) == len(list(pupil.parameters()))
    assert all(p.grad is None for p in teacher.parameters())
    kept = sum(value.numel() for key, value in model.state_dict().items() if "teacher" in key)
    assert kept == 2 * sum(CHANNELS)  # means and variances
    assert not any(isinstance(module, Teacher) for module in model.modules())


def test_without_its_loss_the_student_learns_from_the_pictures():
    """Net0*: nothing is detached."""
    model = with_prior(UNet(4), student())
    nn.init.normal_(model.network.fusions[2].attention.mu[-1].weight, std=0.1)
    model(torch.rand(1, 3, 32, 32))[-1].square().mean().backward()
    assert all(p.grad is not None for p in model.student.levels.parameters())


@pytest.mark.parametrize("name", ["unet", "mimo", "mprnet"])
def test_it_trains(name):
    """Both losses fall, and the network no longer restores as the one without a prior does."""
    teacher, pupil, data = Teacher(), student(), batch()
    measure(pupil, teacher, [data.sharp])
    model = Restoring(with_prior(NETWORKS[name](), pupil))
    terms = [Term("pixel", every_stage(F.l1_loss)), Term("prior", PriorLoss(teacher), BETA)]
    step = TrainStep(model, Criterion(terms), torch.optim.AdamW(model.parameters(), 3e-3), "float32", 1, False)
    losses = [step(data)[0] for _ in range(12)]
    assert losses[-1]["prior"] < losses[0]["prior"] and losses[-1]["total"] < losses[0]["total"]
    assert model.network.network.fusions[0].attention.mu[-1].weight.any()
    with torch.no_grad():
        output = model.eval()(data.blurred)
    assert isinstance(output, Restored) and output.features is None
    assert not any(hasattr(fusion, "prior") for fusion in model.network.network.fusions)


def test_weights_of_one_load_into_another():
    one, other = (Restoring(with_prior(MPRNetStage1(8, 4), student())) for _ in range(2))
    other.load_state_dict(one.state_dict())
    x = torch.rand(1, 3, 16, 16)
    torch.testing.assert_close(one(x).image, other(x).image, rtol=0, atol=0)


def test_measured_channels_have_mean_0_and_deviation_1():
    teacher, pupil = Teacher(), student()
    teacher.levels[0].weight[1] = 0  # a channel that never changes
    pictures = [torch.rand(2, 3, 32, 48) for _ in range(3)]
    with pytest.raises(ValueError, match="has not been measured"):
        pupil.standardised(teacher(pictures[0]))
    measure(pupil, teacher, pictures)
    found = [
        torch.cat(level).transpose(0, 1).flatten(1)
        for level in zip(*map(pupil.standardised, map(teacher, pictures)), strict=True)
    ]
    for level, channels in enumerate(found):
        torch.testing.assert_close(channels.mean(1), torch.zeros(len(channels)), rtol=0, atol=1e-4)
        deviation = torch.ones(len(channels))
        deviation[1] = float(level > 0)
        torch.testing.assert_close(channels.std(1, correction=0), deviation, rtol=0, atol=1e-3)
    with pytest.raises(ValueError, match=r"\(3, 5, 4\) channels, not \(3, 5\)"):
        pupil.standardised(teacher(pictures[0])[:2])
    with pytest.raises(ValueError, match=r"\(3, 5, 4\) channels, not \(3, 5\)"):
        measure(pupil, lambda x: teacher(x)[:2], pictures)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PriorStudent((4, 6), CHANNELS), "a width, a stride and the teacher's channels a level"),
        (lambda: PriorStudent((4, 6, 8), CHANNELS, (4, 8, 12)), "times a power of two"),
        (lambda: PriorStudent((4, 6, 8), CHANNELS, (1, 2, 4)), "times a power of two"),
        (lambda: HCLLoss("mae"), "unknown 'mae': choose one of mse, l2, reviewkd"),
        (lambda: SemanticAttention(4, 4, "mul"), "unknown 'mul': choose one of sat, add, concat"),
        (lambda: with_prior(nn.Conv2d(3, 3, 1), student()), "Conv2d has places for priors of levels"),
        (lambda: with_prior(UNet(4), PriorStudent((4,), (3,), (4,))), "the student 1 levels"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_teacher_is_measured_on_the_first_batches_of_a_training():
    teacher, pupil, batches = Teacher(), student(), [batch() for _ in range(MEASURED // 2 + 1)]
    model, loss = Restoring(with_prior(UNet(4), pupil)), PriorLoss(teacher)
    for data in batches:
        assert loss(model(data.blurred), data).isfinite()
    assert pupil.measured == MEASURED
    measured = student()
    measure(measured, teacher, [torch.cat([data.sharp for data in batches[:-1]])])
    for key in ("teacher_mean", "teacher_variance"):
        torch.testing.assert_close(getattr(pupil, key), getattr(measured, key), rtol=1e-4, atol=1e-6)


def test_a_network_without_prior_has_nothing_for_its_loss():
    data, loss = batch(), PriorLoss(Teacher())
    with pytest.raises(ValueError, match="only a network with a prior"):
        loss(Restoring(UNet(4))(data.blurred), data)
    with pytest.raises(ValueError, match="only a network with a prior"):
        loss(Restored(data.blurred), data)


@pytest.mark.parametrize("name", [name for name in NETWORKS_BY_NAME if name != "mprnet-lite"])  # has no place for one
def test_a_network_is_kept_with_its_prior(name, tmp_path):
    """As a ``Spec`` makes it, trains it and loads it again, the statistics of its teacher with it."""
    sizes = {"unet": (4,), "mimo-unet": (16, 1), "mimo-unet+": (16, 1), "mprnet-stage1": (8, 4), "deepdeblur": (1, 4)}
    sizes |= {"hinet": (4,)}
    config = SteeredConfig(name, sizes.get(name, (8, 4, 4)), widths=(4, 6, 8), teacher_channels=CHANNELS)
    model, data = Steered(**asdict(config)).eval(), batch()
    PriorLoss(Teacher())(model(data.blurred), data)
    checkpoints.save(model, tmp_path / "steered.safetensors")
    loaded = checkpoints.load(tmp_path / "steered.safetensors", guest=Steered)
    assert loaded.config == config and loaded.network.student.measured
    torch.testing.assert_close(loaded(data.blurred).image, model(data.blurred).image, rtol=0, atol=0)
    alone = Steered(**asdict(replace(config, mode="")))
    assert alone(data.blurred).student is None
    with pytest.raises(ValueError, match=r"unknown network 'vnet': choose one of unet, mimo-unet"):
        Steered(network="vnet")
