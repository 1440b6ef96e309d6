"""How alike two networks' weights are, layer by layer (Section 3.1 and appendix A; Figures 2, 7, 8, 9 and 11).

A *filter* is what makes one output channel: row ``i`` of a convolution's weight, all its numbers in one line. So a
filter of the depth-wise 3x3 convolution of a NAFBlock has nine numbers, one of the 3x3 convolutions at the network's
ends 27 or 9 x width, one of a 1x1 convolution as many as there are channels. A layer norm has one number a channel: its
weight vector is one filter. Biases, ``beta``, ``gamma`` and the router are no filters and are left out.

The paper names four kinds of layers. "3x3 convolution" are the depth-wise ones, the first and the last; "1x1
convolution" are the four of a block and those before each pixel shuffle; "SCA" is the 1x1 convolution of the
simplified channel attention. The 2x2 convolutions between the encoder's levels belong to none of the four: they are in
the tables under their own name, and not in the figures. What goes where is not stated in the paper; our reading.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.spatial.distance import pdist, squareform
from torch import nn

from demoe.core.tasks import EXPERTS
from demoe.models.demoe import DeMoE
from demoe.models.layers import LayerNorm2d
from demoe.models.nafnet import NAFNet

from .methods import Method, blurred_input, network

KINDS = ("3x3 convolution", "1x1 convolution", "LayerNorm", "SCA")  # the paper's taxonomy
HIGH = 0.7  # the red line of Figures 2 and 7: "high correlation" (Asuero et al., 2006)
FRACTION = 0.5  # the RBF kernel's bandwidth over the median distance; see ``gram``
CONSTANT = 1e-10  # a filter whose spread is below this share of its size holds one number only
Measure = Literal["pearson", "cka rbf", "cka linear"]
SCALES = "beta and gamma"
MEASURES: tuple[Measure, ...] = ("pearson", "cka rbf", "cka linear")


@dataclass(frozen=True)
class Layer:
    """The filters of one layer."""

    name: str  # as in the state dictionary, without ".weight"
    kind: str  # one of KINDS, or "2x2 convolution"
    level: str  # intro, encoder 1 (full size) .. encoder 4, middle, decoder 4 .. decoder 1 (full size), ending
    weights: np.ndarray  # (filters, numbers a filter) float64


class Similarity(NamedTuple):
    """The similarity of one layer in two networks."""

    value: float  # NaN only where nothing could be compared: filters == excluded
    filters: int
    excluded: int  # filters that are constant in either network, of which no correlation exists


def layers(network: NAFNet) -> list[Layer]:
    """Every layer of a NAFNet, in the order in which a picture passes through them."""
    count = len(network.encoders)
    encoder = [(f"encoder {i + 1}", f"{part}.{i}") for i in range(count) for part in ("encoders", "downs")]
    decoder = [(f"decoder {count - i}", f"{part}.{i}") for i in range(count) for part in ("ups", "decoders")]
    places = [("intro", "intro"), *encoder, ("middle", "middle_blks"), *decoder, ("ending", "ending")]
    return [layer for level, name in places for layer in _layers(level, name, network.get_submodule(name))]


def counts(network: NAFNet) -> pd.DataFrame:
    """By kind of layer: its layers and filters, and how many numbers a filter has, fewest and most.

    Columns: layers, filters, numbers a filter: min, max."""
    found = [(one.kind, *one.weights.shape) for one in layers(network)]
    kinds = pd.DataFrame(found, columns=["kind", "filters", "numbers"]).groupby("kind", sort=False)
    columns = {"layers": kinds.size(), "filters": kinds.filters.sum()}
    return pd.DataFrame(columns | {"numbers a filter: min": kinds.numbers.min(), "max": kinds.numbers.max()})


def expert_layers(network: DeMoE, expert: int) -> list[Layer]:
    """The layers of one expert (0 .. N-1) in every MoEBlock, middle first. Experts' layers have the same names."""
    per_level = network.config.moe_per_level
    count = len(network.decoders)
    found = []
    for i, block in enumerate(network.experts):
        place = i // per_level
        level = "middle" if place == 0 else f"decoder {count - place + 1}"
        found += _layers(level, f"experts.{i}", block.experts[expert])
    return found


def _layers(level: str, name: str, part: nn.Module) -> list[Layer]:
    found = []
    for inner, module in part.named_modules():
        full = f"{name}.{inner}" if inner else name
        if isinstance(module, LayerNorm2d):
            kind, weights = "LayerNorm", module.weight[None]  # (1, C)
        elif isinstance(module, nn.Conv2d):
            height, width = module.kernel_size
            kind = "SCA" if ".sca." in full else f"{height}x{width} convolution"
            weights = module.weight.flatten(1)  # (filters, numbers)
        else:
            continue
        found.append(Layer(full, kind, level, weights.detach().cpu().double().numpy()))
    return found


def pearson(first: np.ndarray, second: np.ndarray, given: np.ndarray | None = None) -> Similarity:
    """Mean over the filters of Pearson's r (equations 3 and 4), of two (filters, numbers) arrays.

    With ``given``, a third such array, the partial correlation: from each filter the part that is proportional to the
    same filter of ``given`` is taken away first. Given the weights before training, what remains is what training
    changed in a new direction. Raises ``ValueError`` for arrays of different shapes.
    """
    arrays = [first, second] if given is None else [first, second, given]
    shapes = {np.shape(array) for array in arrays}
    if len(shapes) != 1 or len(next(iter(shapes))) != 2:
        raise ValueError(f"expected filters (filters, numbers) of one shape, got {sorted(shapes)}")
    (a, a_varies), (b, b_varies), *rest = (_unit(array) for array in arrays)
    varies = a_varies & b_varies
    for start, start_varies in rest:  # a constant start is zero here: nothing is taken away from its filters
        a, b = (x - (x * start).sum(1, keepdims=True) * start for x in (a, b))
        lengths = [np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b)]
        varies &= ~start_varies | ((np.minimum(*lengths) > CONSTANT)[:, 0])
        a, b = (np.divide(x, n, out=np.zeros_like(x), where=n > 0) for x, n in zip((a, b), lengths, strict=True))
    r = np.clip((a * b).sum(1)[varies], -1, 1)  # (compared,)
    return Similarity(float(r.mean()) if len(r) else float("nan"), len(first), int((~varies).sum()))


def _unit(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Filters (F, N) with their means removed and length one, and which of them (F,) are not constant."""
    array = np.asarray(array, dtype=np.float64)
    scale = np.abs(array).max(axis=1, keepdims=True, initial=0)
    array = np.divide(array, scale, out=np.zeros_like(array), where=scale > 0)  # else tiny weights underflow
    centred = array - array.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    varies = length > CONSTANT * np.linalg.norm(array, axis=1, keepdims=True)
    return np.divide(centred, length, out=np.zeros_like(centred), where=varies), varies[:, 0]


def cka(
    first: np.ndarray, second: np.ndarray, kernel: Literal["rbf", "linear"] = "rbf", fraction: float = FRACTION
) -> float:
    """Centred kernel alignment of two (examples, numbers) arrays, in [0, 1] (equations 5 and 6).

    The factor before the trace of equation 6, which the two versions of the paper give differently, cancels. NaN where
    all examples of either array are equal. Raises ``ValueError`` for different numbers of examples.
    """
    if len(first) != len(second):
        raise ValueError(f"CKA compares the same examples twice: there are {len(first)} and {len(second)}")
    return _alignment(gram(first, kernel, fraction), gram(second, kernel, fraction))


def gram(examples: np.ndarray, kernel: Literal["rbf", "linear"] = "rbf", fraction: float = FRACTION) -> np.ndarray:
    """The centred kernel matrix HKH, (n, n), of (n, numbers) examples, scaled to norm one (zero if all are equal).

    linear: k = x.y. rbf: k = exp(-|x - y|^2 / 2 s^2), s = ``fraction`` times the median distance between two different
    examples, as Kornblith et al. (2019) set it. The paper does not state the fraction; our choice is 0.5.
    """
    if kernel not in ("rbf", "linear"):
        raise ValueError(f"unknown kernel {kernel!r}: choose rbf or linear")
    examples = np.asarray(examples, dtype=np.float64)
    size = np.abs(examples).max(initial=0)
    if size:
        examples = examples / size
    centred = examples - examples.mean(0)
    if np.linalg.norm(centred) <= CONSTANT * np.linalg.norm(examples):
        return np.zeros((len(examples), len(examples)))
    if kernel == "linear":
        k = centred @ centred.T
    else:
        distances = pdist(centred)  # (n (n - 1) / 2,)
        apart = distances[distances > CONSTANT * distances.max()]
        k = squareform(np.exp(-0.5 * (distances / (fraction * np.median(apart))) ** 2))
        np.fill_diagonal(k, 1)
        k = k - k.mean(0) - k.mean(1, keepdims=True) + k.mean()
    return k / np.linalg.norm(k)


def _alignment(first: np.ndarray, second: np.ndarray) -> float:
    """CKA of two scaled centred kernel matrices: tr(KHLH) is the sum of the products of their entries."""
    value = float((first * second).sum())
    return min(max(value, 0.0), 1.0) if first.any() and second.any() else float("nan")


def examples(layer: Layer) -> np.ndarray:
    """A layer as CKA sees it, (examples, numbers): its filters; of a layer norm, which has one, the channels."""
    return layer.weights.T if layer.kind == "LayerNorm" else layer.weights


def compare_layers(
    networks: dict[str, Sequence[Layer]],
    pairs: Iterable[tuple[str, str]],
    measure: Measure = "pearson",
    given: Sequence[Layer] | None = None,
) -> pd.DataFrame:
    """A row a pair and layer: measure, first, second, layer, kind, level, filters, excluded, value.

    ``networks`` are layers by name, from ``layers`` or ``expert_layers``; ``given`` as for ``pearson``. A layer that is
    constant in either network has ``excluded`` equal to ``filters`` and an empty value; averages leave it out. Raises
    ``ValueError`` for networks of different architectures.
    """
    pairs = list(pairs)
    used = list(dict.fromkeys(name for pair in pairs for name in pair))
    plans = {name: [(one.name, one.weights.shape) for one in networks[name]] for name in used}
    if given is not None:
        plans["the start"] = [(one.name, one.weights.shape) for one in given]
    other = next((name for name in plans if plans[name] != plans[used[0]]), None)
    if other is not None:
        raise ValueError(f"{used[0]} and {other} have different layers: only equal architectures can be compared")
    if measure not in MEASURES:
        raise ValueError(f"unknown measure {measure!r}: choose one of {', '.join(MEASURES)}")
    rows: dict[tuple[str, str], list[tuple]] = {pair: [] for pair in pairs}
    for i, place in enumerate(networks[used[0]] if used else []):
        if measure != "pearson":  # each kernel matrix once, however many pairs it is in
            grams = {name: gram(examples(networks[name][i]), measure.removeprefix("cka ")) for name in used}
        for first, second in pairs:
            if measure == "pearson":
                start = None if given is None else given[i].weights
                found = pearson(networks[first][i].weights, networks[second][i].weights, start)
            else:
                value, count = _alignment(grams[first], grams[second]), len(place.weights)
                found = Similarity(value, count, count if np.isnan(value) else 0)
            numbers = found.filters, found.excluded, found.value
            rows[first, second].append((measure, first, second, place.name, place.kind, place.level, *numbers))
    columns = ["measure", "first", "second", "layer", "kind", "level", "filters", "excluded", "value"]
    return pd.DataFrame([row for of_pair in rows.values() for row in of_pair], columns=columns)


def all_pairs(names: Iterable[str]) -> list[tuple[str, str]]:
    """Every two of ``names``, in order: the ten pairs of five networks."""
    return list(combinations(names, 2))


def correlations(model: DeMoE) -> pd.DataFrame:
    """Pearson between every two experts (Figure 11), as ``weight_similarity.compare_layers`` tabulates it."""
    experts = {name: expert_layers(model, i) for i, name in enumerate(EXPERTS)}
    return compare_layers(experts, all_pairs(experts))


def moved(model: DeMoE, start: DeMoE) -> pd.DataFrame:
    """How far each expert is from ``start``, the network before stage 2.

    A row an expert and layer: expert, level, kind, layer, change (Euclidean length of the difference over that of the
    start) and correlation (Pearson with the start, empty where the start is constant). ``SCALES``, a row an expert and
    MoEBlock, has in ``change`` the root mean square of beta and gamma now: they start at zero where experts start at
    random, so that nothing can be divided by them.
    """
    rows = []
    for i, name in enumerate(EXPERTS):
        layers = expert_layers(model, i)
        for now, then in zip(layers, expert_layers(start, i), strict=True):
            change = np.linalg.norm(now.weights - then.weights) / np.linalg.norm(then.weights)
            rows.append((name, now.level, now.kind, now.name, change, pearson(now.weights, then.weights).value))
        levels = list(dict.fromkeys(layer.level for layer in layers))
        for number, block in enumerate(model.experts):
            scales = [getattr(block.experts[i], key).detach().cpu().double().ravel() for key in ("beta", "gamma")]
            change = torch.cat(scales).square().mean().sqrt().item()
            level = levels[number // model.config.moe_per_level]
            rows.append((name, level, SCALES, f"experts.{number}", change, np.nan))
    return pd.DataFrame(rows, columns=["expert", "level", "kind", "layer", "change", "correlation"])


def by_hand(model: DeMoE) -> dict[str, Method]:
    """The input as it came, the router's choice, and each expert chosen by hand, for ``benchmark.score``."""
    by_expert = {name: network(model, expert=name) for name in EXPERTS}
    return {"input": blurred_input, "router": network(model), **by_expert}


def matrix(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean PSNR (dB) of every method (across) on every set (down), from ``benchmark.score`` of ``by_hand``."""
    table = scores.groupby(["set", "method"], sort=False).psnr.mean().unstack("method")
    return table[list(dict.fromkeys(scores.method))]
