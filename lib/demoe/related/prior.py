"""A semantic prior for severe blur: "Take a Prior from Other Tasks for Severe Blur Removal" (Wang et al.).

A student sees the blurred picture and learns the features that a frozen teacher, a network of another task, has of the
sharp one. What it says steers a deblurring network. The teacher takes part in the loss alone: it is in no trained
network. The paper has published no code; what it leaves open is marked as our choice.

    model = Restoring(with_prior(UNet(), student))
    measure(student, teacher, sharp_pictures)
    criterion = Criterion([Term("pixel", l1), Term("prior", PriorLoss(teacher), BETA)])
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demoe.data.batches import Batch
from demoe.models.layers import pad_to_multiple

from .networks.shared import Network, Stages
from .networks.unet import residual_block

BETA = 0.1  # weight of the prior's loss (Equation 7); it does not carry over from teacher to teacher
MEASURED = 64  # pictures, after which a teacher's mean and deviation stay; our choice
Teacher = Callable[[Tensor], Sequence[Tensor]]  # (B, 3, H, W) in [0, 1] -> maps, from fine to coarse
Mode = Literal["sat", "add", "concat"]
Kind = Literal["mse", "l2", "reviewkd"]
Image = Literal["", "probability", "one-hot"]


def _known(value: str, kinds: object) -> None:
    if value not in get_args(kinds):
        raise ValueError(f"unknown {value!r}: choose one of {', '.join(get_args(kinds))}")


def _like(x: Tensor, other: Tensor) -> Tensor:
    """``x``, bilinearly as large as ``other``."""
    return F.interpolate(x, other.shape[-2:], mode="bilinear", align_corners=False)


class PriorStudent(nn.Module):
    """F_S: of a blurred picture the features m^1, m^2, m^3, which a teacher has of the sharp one.

    Its layers are not stated in the paper; our choice: per level as many 3x3 convolutions of stride 2 as the level's
    stride asks for, each with LeakyReLU 0.2, then two residual blocks. ``heads`` map a level to the teacher's channels,
    for the loss alone. The teacher's mean and deviation per channel are kept with it (``measure``).

    Raises ``ValueError`` where widths, channels and strides are not as many, and for strides that do not double.
    """

    def __init__(
        self,
        widths: Sequence[int] = (64, 128, 256),
        teacher_channels: Sequence[int] = (24, 40, 112),
        strides: Sequence[int] = (4, 8, 16),
    ):
        super().__init__()
        if not len(widths) == len(teacher_channels) == len(strides) > 0:
            raise ValueError(
                f"a width, a stride and the teacher's channels a level, not {widths}, {strides}, {teacher_channels}"
            )
        steps = [after / before for before, after in zip((1, *strides), strides, strict=False)]
        if any(step not in (2, 4, 8, 16, 32) for step in steps):
            raise ValueError(
                f"each stride is the one before times a power of two, the first from 2 on, not {tuple(strides)}"
            )
        self.widths, self.teacher_channels = tuple(widths), tuple(teacher_channels)
        self.levels, inputs = nn.ModuleList(), 3
        for width, step in zip(widths, steps, strict=True):
            layers: list[nn.Module] = []
            for _ in range(int(step).bit_length() - 1):
                layers += [nn.Conv2d(inputs, width, 3, stride=2, padding=1), nn.LeakyReLU(0.2)]
                inputs = width
            self.levels.append(nn.Sequential(*layers, residual_block(width), residual_block(width)))
        self.heads = nn.ModuleList(nn.Conv2d(*pair, 1) for pair in zip(widths, teacher_channels, strict=True))
        self.register_buffer("teacher_mean", torch.zeros(sum(teacher_channels)))
        self.register_buffer("teacher_variance", torch.zeros(sum(teacher_channels)))
        self.register_buffer("measured", torch.zeros(()))  # on how many pictures these two were

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) in [0, 1], any size -> (B, width, H / stride, W / stride) a level, rounded up."""
        found = []
        for level in self.levels:
            x = level(x)
            found.append(x)
        return found

    def mapped(self, priors: Sequence[Tensor]) -> list[Tensor]:
        """Priors in the teacher's channels: (B, teacher_channels, h, w) a level."""
        return [head(prior) for head, prior in zip(self.heads, priors, strict=True)]

    def standardised(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """A teacher's maps, each channel with mean 0 and deviation 1 where ``measure`` looked.

        Not stated in the paper; our choice: raw maps would drown the loss of the pictures. Raises ``ValueError`` for
        maps of another teacher, and before ``measure``.
        """
        self._channels(maps)
        if not self.measured:
            raise ValueError("the teacher has not been measured: call related.prior.measure with sharp pictures first")
        return [(one - mean) / std for one, mean, std in zip(maps, *self._moments(), strict=True)]

    def as_taught(self, priors: Sequence[Tensor]) -> list[Tensor]:
        """What the student takes the teacher's maps for, not standardised: (B, teacher_channels, h, w) a level."""
        return [one * std + mean for one, mean, std in zip(self.mapped(priors), *self._moments(), strict=True)]

    def _moments(self) -> Iterator[tuple[Tensor, ...]]:
        """The teacher's means, and its deviations, each (C, 1, 1) a level."""
        varies = self.teacher_variance > 1e-12 * self.teacher_mean.square()
        std = torch.where(varies, self.teacher_variance, 1.0).sqrt()
        return (one.view(-1, 1, 1).split(self.teacher_channels) for one in (self.teacher_mean, std))

    def _channels(self, maps: Sequence[Tensor]) -> None:
        """A teacher's maps must have the channels that it learns from."""
        channels = tuple(one.shape[1] for one in maps)
        if channels != self.teacher_channels:
            raise ValueError(f"the student learns from maps of {self.teacher_channels} channels, not {channels}")


@torch.no_grad()
def measure(student: PriorStudent, teacher: Teacher, pictures: Iterable[Tensor]) -> None:
    """Measures each channel of the teacher on sharp ``pictures``, batches (B, 3, H, W), and keeps it in the student.

    They are added to those that it was measured on before, each as much as any other. Channels that never change keep
    the deviation 1. Raises ``ValueError`` for a teacher of other channels than the student's.
    """
    for batch in pictures:
        maps = teacher(batch)
        student._channels(maps)
        moments = [torch.var_mean(one.double(), (0, 2, 3), correction=0) for one in maps]
        variance, mean = (torch.cat(one).to(student.teacher_mean) for one in zip(*moments, strict=True))
        student.measured += len(batch)
        share = len(batch) / student.measured
        change = mean - student.teacher_mean
        student.teacher_variance.lerp_(variance, share).add_(share * (1 - share) * change.square())
        student.teacher_mean.add_(share * change)


class CrossLevel(nn.Module):
    """CLC (Equation 3): f^i = A m^i + A u with u of the coarser m^(i+1), and f of the coarsest level = m.

    u is m^(i+1) upsampled, in m^i's channels by 1x1; A is one map, the sigmoid of a 3x3 of both. The sigmoid and the
    1x1 are not stated in the paper; our choice, after ReviewKD's cross-level fusion.
    """

    def __init__(self, channels: Sequence[int]):
        super().__init__()
        pairs = list(itertools.pairwise(channels))
        self.coarser = nn.ModuleList(nn.Conv2d(coarse, fine, 1) for fine, coarse in pairs)
        self.attention = nn.ModuleList(nn.Conv2d(2 * fine, 1, 3, padding=1) for fine, _ in pairs)

    def forward(self, m: Sequence[Tensor]) -> list[Tensor]:
        """(B, C_i, h_i, w_i) a level, from fine to coarse -> the same shapes."""
        found = []
        for level, (project, attend) in enumerate(zip(self.coarser, self.attention, strict=True)):
            u = project(_like(m[level + 1], m[level]))
            weight = attend(torch.cat((m[level], u), 1)).sigmoid()  # (B, 1, h, w)
            found.append(weight * m[level] + weight * u)
        return [*found, m[-1]]


class MultiLevel(nn.Module):
    """MLA (Equation 5): M^i = conv(cat(f^i, all other levels resized to it)) f^i + f^i, with a 3x3.

    The convolution has as many channels as f^i; not stated in the paper, our choice.
    """

    def __init__(self, channels: Sequence[int]):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(sum(channels), width, 3, padding=1) for width in channels)

    def forward(self, f: Sequence[Tensor]) -> list[Tensor]:
        """(B, C_i, h_i, w_i) a level, from fine to coarse -> the same shapes."""
        found = []
        for level, (conv, own) in enumerate(zip(self.convs, f, strict=True)):
            others = [_like(other, own) for index, other in enumerate(f) if index != level]
            found.append(conv(torch.cat((own, *others), 1)) * own + own)
        return found


class SemanticAttention(nn.Module):
    """SAT (Equation 6): mu (decoder + encoder) + sigma, with mu and sigma computed from the prior.

    Each is 3x3, LeakyReLU 0.2, 3x3; not stated in the paper, our choice. A new one leaves the sum as it is: mu starts
    at 1 and sigma at 0. So do the variants of Table 4: "add", the sum + 1x1(prior), and "concat", 1x1 of both.
    """

    def __init__(self, channels: int, prior_channels: int, mode: Mode = "sat"):
        super().__init__()
        _known(mode, Mode)
        self.mode = mode
        if mode == "sat":
            self.mu, self.sigma = _constant(prior_channels, channels, 1.0), _constant(prior_channels, channels, 0.0)
            return
        joined = prior_channels + (channels if mode == "concat" else 0)
        self.join = nn.Conv2d(joined, channels, 1)
        nn.init.zeros_(self.join.weight)
        nn.init.zeros_(self.join.bias)
        if mode == "concat":
            nn.init.dirac_(self.join.weight)

    def forward(self, decoder: Tensor, encoder: Tensor | None, prior: Tensor) -> Tensor:
        """Features (B, C, H, W), those of the encoder where there are any, and a prior of any size -> (B, C, H, W)."""
        x = decoder if encoder is None else decoder + encoder
        prior = _like(prior, x)
        if self.mode == "sat":
            return self.mu(prior) * x + self.sigma(prior)
        return x + self.join(prior) if self.mode == "add" else self.join(torch.cat((x, prior), 1))


def _constant(inputs: int, outputs: int, value: float) -> nn.Sequential:
    """Two 3x3 convolutions that give ``value`` everywhere until they learn."""
    last = nn.Conv2d(outputs, outputs, 3, padding=1)
    nn.init.zeros_(last.weight)
    nn.init.constant_(last.bias, value)
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.LeakyReLU(0.2), last)


class HCLLoss(nn.Module):
    """Hierarchical context loss (Equations 2, 4) of two lists of maps, (B, C_i, h_i, w_i), at the scales k = 1, 2, 4.

    "mse": squared differences of k x k means, averaged over all, summed over k, averaged over levels: the text says
    mean square error. "l2" is the formula: the norm of each picture's difference / (h w), summed and averaged likewise;
    it shrinks with resolution. "reviewkd" is the authors' code of the loss that the paper cites: a weighted mean of the
    map's error (1) and those of its means over 4x4, 2x2 and 1 regions (1/2, 1/4, 1/8), summed over levels. Means over
    more than the map are left out. The default is our choice.
    """

    def __init__(self, kind: Kind = "mse"):
        super().__init__()
        _known(kind, Kind)
        self.kind = kind

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
        """A scalar. Raises ``ValueError`` for lists that do not have the same shapes, or none."""
        shapes = [[tuple(one.shape) for one in maps] for maps in (student, teacher)]
        if shapes[0] != shapes[1] or not shapes[0]:
            raise ValueError(
                f"student and teacher need maps of the same shapes, not {shapes[0]} and {shapes[1]}: "
                "crops whose sides are multiples of the largest stride have them"
            )
        level = self._regions if self.kind == "reviewkd" else self._scales
        total = sum(level(*pair) for pair in zip(student, teacher, strict=True))
        return total if self.kind == "reviewkd" else total / len(student)

    def _scales(self, mine: Tensor, theirs: Tensor) -> Tensor:
        difference, pixels, total = mine - theirs, mine.shape[-1] * mine.shape[-2], 0
        for k in (1, 2, 4):
            if k <= min(mine.shape[-2:]):
                pooled = F.avg_pool2d(difference, k)  # (B, C, h / k, w / k), a last odd row dropped
                norm = torch.linalg.vector_norm(pooled, dim=(1, 2, 3))  # (B,)
                total = total + (pooled.square().mean() if self.kind == "mse" else norm.mean() / pixels)
        return total

    def _regions(self, mine: Tensor, theirs: Tensor) -> Tensor:
        difference = mine - theirs
        total, weight, weights = difference.square().mean(), 1.0, 1.0
        for regions in (4, 2, 1):
            if regions < mine.shape[-2]:
                weight /= 2
                weights += weight
                total = total + weight * F.adaptive_avg_pool2d(difference, regions).square().mean()
        return total / weights


class PriorLoss:
    """The student's HCL as a term of ``training.losses``: its features of the blurred picture against the sharp one's.

    The teacher looks at ``batch.sharp`` without gradient. Until it was measured on ``MEASURED`` pictures, the sharp
    ones at hand are measured first: in a training its first batches, unless someone has done so. Raises ``ValueError``
    for a network without a prior.
    """

    def __init__(self, teacher: Teacher, kind: Kind = "mse"):
        self.teacher, self.loss = teacher, HCLLoss(kind)

    def __call__(self, output: Stages, batch: Batch) -> Tensor:
        student = getattr(output, "student", None)
        if student is None:
            raise ValueError("only a network with a prior, as Restoring(with_prior(...)), has features for its loss")
        if isinstance(self.teacher, nn.Module):
            self.teacher.to(batch.sharp.device)
        if student.measured < MEASURED:
            measure(student, self.teacher, [batch.sharp])
        with torch.no_grad():
            sharp = student.standardised(self.teacher(batch.sharp))
        return self.loss([one.float() for one in output.features], sharp)


class _Embedded(nn.Module):
    """A fusion in whose place a prior enters. ``prior`` is there while the network runs."""

    prior: Tensor

    def __init__(self, attention: SemanticAttention, level: int):
        super().__init__()
        self.attention, self.level = attention, level

    def forward(self, decoder: Tensor, encoder: Tensor | None = None) -> Tensor:
        return self.attention(decoder, encoder, self.prior)


class WithPrior(nn.Module):
    """A deblurring network, the student beside it, and what joins them. Made by ``with_prior``; no teacher inside.

    Several threads cannot call one at once.
    """

    def __init__(self, network: Network, student: PriorStudent, mode: Mode, clc: bool, mla: bool, image: Image):
        super().__init__()
        self.network, self.student, self.image = copy.deepcopy(network), student, image
        self.clc = CrossLevel(student.widths) if clc else None
        self.mla = MultiLevel(student.widths) if mla else None
        channels = student.teacher_channels if image else student.widths
        for index, fusion in enumerate(network.fusions):
            attention = SemanticAttention(fusion.channels, channels[fusion.level], mode)
            self.network.fusions[index] = _Embedded(attention, fusion.level)

    def priors(self, x: Tensor) -> list[Tensor]:
        """f_pri of (B, 3, H, W), which is padded as for the network: (B, width, h, w) a level."""
        m = self.student(pad_to_multiple(x, self.network.multiple))
        return m if self.clc is None else self.clc(m)

    def embedded(self, priors: Sequence[Tensor]) -> list[Tensor]:
        """What enters the network, of ``priors``: (B, C, h, w) a level."""
        if not self.image:
            return list(priors) if self.mla is None else self.mla(priors)
        maps = self.student.as_taught(priors)
        if self.image == "probability":
            return maps
        return [F.one_hot(one.argmax(1), one.shape[1]).movedim(-1, 1).to(one) for one in maps]

    def student_features(self, x: Tensor) -> list[Tensor]:
        """The priors in the teacher's channels, (B, C, h, w) a level: what the loss compares."""
        return self.student.mapped(self.priors(x))

    def forward(self, x: Tensor, with_features: bool = False) -> list[Tensor] | tuple[list[Tensor], list[Tensor]]:
        """The pictures that the network gives; ``with_features``: those and the ``student_features``."""
        priors = self.priors(x)
        embedded = self.embedded(priors)
        for fusion in self.network.fusions:
            fusion.prior = embedded[fusion.level]
        try:
            pictures = self.network(x)
        finally:
            for fusion in self.network.fusions:
                del fusion.prior  # it would keep the graph
        return (pictures, self.student.mapped(priors)) if with_features else pictures


def with_prior(
    network: Network, student: PriorStudent, mode: Mode = "sat", clc: bool = True, mla: bool = True, image: Image = ""
) -> WithPrior:
    """A copy of ``network`` that the student's priors steer: (B, 3, H, W) -> the same list of pictures at the start.

    Table 4: Net1 and Net2 are modes "add" and "concat" without ``clc`` and ``mla``, Net3 has neither, Net4 ``clc``,
    Net5 ``mla``, Net6 both; Net0* is Net6 without a loss of the prior. Nothing is detached: what the student learns
    from the pictures' loss is not stopped.

    ``image``: the image-level prior of Figure 7. The teacher's maps are probabilities of classes, and what enters the
    network is the student's idea of them, as "probability" or "one-hot" (which stops all but the loss of the prior);
    such maps are not aggregated: ``mla`` has to be False.

    Raises ``ValueError`` for a network without places for a prior, or with more levels than the student, and for maps
    of classes with ``mla``.
    """
    _known(image, Image)
    if image and mla:
        raise ValueError("an image-level prior is embedded as it is: leave mla out")
    levels = [fusion.level for fusion in getattr(network, "fusions", ())]
    if not levels or max(levels) >= len(student.widths):
        raise ValueError(
            f"{type(network).__name__} has places for priors of levels {sorted(set(levels))}, the student "
            f"{len(student.widths)} levels: a network of related.networks takes one"
        )
    return WithPrior(network, student, mode, clc, mla, image)
