"""A guard over the router's choice: a bright photograph is not for the low-light expert, a sharp one is for none, one
that JPEG has cut into blocks is nothing that some networks have seen, and a router that is unsure chooses nobody.

A router names a kind of blur whatever it is shown, and many are sure of it: on noise they answer louder than on the
pictures that they were trained on, so that neither entropy nor energy tells. How bright a picture is, whether it is
sharp, and whether it has blocks, needs no router. What takes its place harmed least (``demoe evaluate --real``): a
bright picture that it takes for low light comes back as it is, as does a sharp one, unless the router sees local
motion, which leaves most of a picture sharp; one with blocks is restored by the low-light expert in the dark, else by
the four others in equal parts; and whatever comes out brighter than it was, though it was bright, is left as it is.
Where a router does say that it is unsure, one expert alone is nothing that training has seen: all take part then, each
by the router's share, as in training (Equation 2), but for that of low light in a bright picture. Not in the paper;
our choice.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demoe.core.devices import exact
from demoe.core.tasks import EXPERTS
from demoe.models.moe import normalised_entropy, top_k_weights
from demoe.models.outputs import Restored, experts_of

from .fold import foldable_network
from .optimize import OptimizedNetwork
from .restore import restore
from .sharpness import sharpness

LOW_LIGHT, LOCAL = EXPERTS.index("low_light"), EXPERTS.index("local_motion")
# Between the real pictures of LOLBlur, Real-LOLBlur and LOL-v2 (means up to 40, ninth deciles up to 69) and photographs
# of daylight (200 of BSDS500: a mean above 50 or a ninth decile above 75).
DARKEST_MEAN, DARKEST_HIGH = 50.0, 75.0
BRIGHTER = 8.0  # 8-bit levels of the mean, up to which a bright picture may come out brighter
STAYS = 0.8  # in a video: of a limit, down to which what was bright, or unsure, still is, so that dusk does not flicker
UNSURE = 0.6  # of the router's entropy, 0..1 (``models.moe.normalised_entropy``); ``app.doubt`` says where it is from
LARGEST = 1024  # pixels; of a larger picture the middle is looked at for blocks and sharpness
Reason = Literal["bright", "sharp", "blocks", "brighter", "tiles", "unsure"]
LEFT = ("bright", "sharp", "brighter")  # reasons to leave a picture as it is
SENTENCES: dict[Reason, str] = {
    "bright": "the router takes it for low light, but it is bright already: left as it is",
    "brighter": "it was bright already and would have come out brighter: left as it is",
    "sharp": "it is sharp already, and what would have been done harms sharp pictures: left as it is",
    "tiles": "the router takes {tiles} tiles for low light, but the photograph is bright already: the local_motion "
    "expert, which changes least, restored them",
    "unsure": "the router is unsure{tiles}: {experts} took part, each by the router's share",
    "blocks": "JPEG has left blocks in it, which this network has not seen in training: {experts} restored it, which "
    "harms least",
}


@dataclass(frozen=True)
class Before:
    """What became of the frame before, in a video: what was so stays so until it is clearly otherwise."""

    bright: bool = False
    unsure: bool = False


NOTHING = Before()
RULES = 2  # which these are: a video begun by others is not gone on with


@dataclass(frozen=True)
class Light:
    """How bright a picture is, in 8-bit levels of its luma: the mean, and what nine of ten pixels lie below."""

    mean: float
    high: float

    @property
    def bright(self) -> bool:
        """Whether it is too bright to be one of low light."""
        return self.above(1.0)

    def above(self, share: float) -> bool:
        """Whether it is brighter than this share of what the darkest daylight has."""
        return self.mean > share * DARKEST_MEAN or self.high > share * DARKEST_HIGH


def light(picture: Tensor) -> Light:
    """Of (3, H, W) in [0, 1]; a large picture is looked at in every few pixels."""
    step = max(1, round((picture.shape[1] * picture.shape[2] / 2**18) ** 0.5))
    sampled = picture[:, ::step, ::step].float().cpu()
    luma = 255 * (0.299 * sampled[0] + 0.587 * sampled[1] + 0.114 * sampled[2])
    return Light(float(luma.mean()), float(np.quantile(luma.numpy(), 0.9)))


def blockiness(luma: Tensor) -> float:
    """Of (H, W): the median step across the strongest of the eight grids of 8 pixels over that between other pixels,
    the mean of both directions; 1 is no grid, and small pictures come above it by chance."""
    steps = luma.diff(dim=0).abs().mean(1), luma.diff(dim=1).abs().mean(0)
    return float(np.mean([_grid(one.double().numpy()) for one in steps]))


def _grid(steps: np.ndarray) -> float:
    """How much larger the steps (N,) between rows are at every eighth than at the others, at the best offset."""
    best = 1.0
    for offset in range(min(8, len(steps) - 1)):
        at = np.zeros(len(steps), dtype=bool)
        at[offset::8] = True
        best = max(best, float((np.median(steps[at]) + 1e-3) / (np.median(steps[~at]) + 1e-3)))
    return best


def blocks(picture: Tensor) -> float:
    """``blockiness`` of the middle of a picture (3, H, W) in [0, 1], in 8-bit levels."""
    return blockiness(middle(picture))


def sharp(picture: Tensor) -> bool:
    """Whether the middle of a picture (3, H, W) in [0, 1] is sharper than what has been blurred (``guard.toml``)."""
    return sharpness(middle(picture)) > float(_file()["sharp"])


def middle(picture: Tensor) -> Tensor:
    """Luma in 8-bit levels of the middle, at most ``LARGEST`` pixels a side."""
    top, left = (max(0, side - LARGEST) // 2 for side in picture.shape[1:])
    part = picture[:, top : top + LARGEST, left : left + LARGEST].float().cpu()
    return 255 * (0.299 * part[0] + 0.587 * part[1] + 0.114 * part[2])


class Guard:
    """Makes the weights of five experts (1, 5) from the router's logits (1, 5), for one ``picture`` (3, H, W).

    ``k`` as for ``DeMoE``; with 1, the default, an unsure router chooses nobody. ``limit`` is the blockiness above
    which the router is not asked, None to ask it always. ``shares`` makes the router's shares (1, 5) of its logits,
    None for their softmax (a video averages them), and ``before`` is what became of the frame before. ``reason`` says
    afterwards why the router was not followed, and ``checked`` what becomes of the result. With one decision a tile it
    is asked for every tile, and ``look`` sums up.
    """

    def __init__(
        self,
        picture: Tensor,
        k: int | None = 1,
        limit: float | None = None,
        shares: Callable[[Tensor], Tensor] | None = None,
        before: Before = NOTHING,
    ):
        self.picture, self.bright = picture, light(picture).above(STAYS if before.bright else 1.0)
        self.sharp = self.bright and sharp(picture)
        self.blocky = limit is not None and blocks(picture) > limit
        self.shares, self.k = shares or (lambda logits: F.softmax(logits.float(), 1)), k
        self.unsure_above = UNSURE * (STAYS if before.unsure else 1.0)
        self.reason: Reason | None = None
        self.unsure = False  # whether the router was, whatever the reason is
        self.tiles = ""

    def __call__(self, logits: Tensor) -> Tensor:
        shares, self.reason = self.shares(logits), None
        weights = shares if self.k is None else top_k_weights(shares, self.k)
        first = int(weights[0].argmax())
        self.unsure = self._unsure(shares)
        if self.sharp and (self.blocky or first != LOCAL or self.unsure):
            self.reason = "bright" if first == LOW_LIGHT and not self.unsure else "sharp"
        elif self.blocky:
            chosen = [index != LOW_LIGHT if self.bright else index == LOW_LIGHT for index in range(len(EXPERTS))]
            self.reason = "blocks"
            return F.normalize(weights.new_tensor([chosen], dtype=torch.float32), p=1).to(weights)
        elif self.unsure:
            self.reason, weights = "unsure", shares.clone()
        if not self.bright or not weights[0, LOW_LIGHT]:
            return weights
        if first == LOW_LIGHT and self.reason != "unsure":  # what comes out of a whole picture is not used, a tile is
            self.reason = self.reason or "bright"
            return F.one_hot(torch.tensor([LOCAL]), len(EXPERTS)).to(weights)
        others = weights.clone()
        others[0, LOW_LIGHT] = 0
        return others / others.sum()

    def _unsure(self, shares: Tensor) -> bool:
        return self.k == 1 and normalised_entropy(shares[0].tolist()).item() > self.unsure_above

    @property
    def alike(self) -> bool:
        """Whether all tiles of the picture get the same, so that one decision will do."""
        return self.sharp or self.blocky

    def look(self, router: Tensor) -> None:
        """After one decision a tile: what the router said of each, (R, C, 5). Where it takes most tiles for low light,
        and is sure of them, a bright photograph is left as it is."""
        shares = router.flatten(0, 1)
        vague = torch.tensor([self._unsure(one[None]) for one in shares])
        low = int(((shares.argmax(1) == LOW_LIGHT) & ~vague).sum()) if self.bright else 0
        self.reason, counted = None, low
        if low:
            self.reason = "bright" if 2 * low > len(shares) else "tiles"
        elif vague.any():
            self.reason, counted = "unsure", int(vague.sum())
        self.tiles = f"{counted} of {len(shares)}"

    def checked(self, image: Tensor) -> Tensor:
        """The restored picture (3, H, W), or the picture itself where it is to be left as it is."""
        rise = 255 * float(exact(image).mean() - exact(self.picture).mean())
        if self.bright and self.reason not in LEFT and rise > BRIGHTER:
            self.reason = "brighter"
        return self.picture.to(image) if self.reason in LEFT else image

    def sentence(self, weights: Tensor) -> str:
        """Why ``weights`` (5,) are not the router's, or the picture is not restored; "" where it is as ever."""
        if self.reason is None:
            return ""
        used = [name for name, weight in zip(EXPERTS, weights.tolist(), strict=True) if weight]
        if self.reason == "unsure":
            absent = " and ".join(name for name in EXPERTS if name not in used)
            what, tiles = f"all but {absent}" if absent else "all experts", f" of {self.tiles} tiles" * bool(self.tiles)
            return SENTENCES["unsure"].format(experts=what, tiles=tiles)
        what = f"the {used[0]} expert" if len(used) == 1 else f"{', '.join(used[:-1])} and {used[-1]} in equal parts"
        return SENTENCES[self.reason].format(experts=what, tiles=self.tiles)


def guardable(model: nn.Module | OptimizedNetwork) -> bool:
    """Whether the experts are the five of ``tasks``, and a function may weigh them: not with local statistics (TLC),
    nor in what ``optimize`` made for a GPU, where the router is inside the graph."""
    network = model.network if isinstance(model, OptimizedNetwork) else model
    return experts_of(model) == len(EXPERTS) and network is not None and foldable_network(network)


def limit_of(model: nn.Module | OptimizedNetwork) -> float | None:
    """The blockiness above which a picture is unlike the training data of ``model``; None where nobody measured it.

    Limits stand in ``guard.toml``, by a hash of the router's weights.
    """
    network = model.network if isinstance(model, OptimizedNetwork) else model
    router = getattr(network, "mlp_branch", None)
    return None if router is None else _limits().get(router_hash(router))


def router_hash(router: nn.Module) -> str:
    """Twelve digits of the weights of a router."""
    digest = hashlib.sha256()
    for name, value in sorted(router.state_dict().items()):
        digest.update(name.encode() + value.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]


@lru_cache
def _limits() -> dict[str, float]:
    return {one["router"]: float(one["limit"]) for one in _file().values() if isinstance(one, dict)}


@lru_cache
def _file() -> dict:
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


def guarded(model: nn.Module, image: Tensor, k: int | None = 1) -> Restored:
    """``restore`` of one picture (3, H, W) in [0, 1] by a ``Guard``; as ever for one that is not ``guardable``."""
    if not guardable(model):
        return restore(model, image, k=k)
    watch = Guard(image, k, limit_of(model))
    out = restore(model, image, expert=watch)
    return out._replace(image=watch.checked(out.image))
