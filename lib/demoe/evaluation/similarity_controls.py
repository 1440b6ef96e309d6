"""The comparisons of notebook 03: the paper's, and the controls that tell a shared task from a shared starting point.

Two networks that start from the same weights and are trained for a while are alike whatever they were trained for. So
beside the paper's pairs stand networks from another start, the network before training, and a network with its hidden
channels in another order, which computes the same function.
"""

from __future__ import annotations

import copy
import itertools
from dataclasses import dataclass, field

import pandas as pd
import torch
from torch import Tensor

from demoe.models.layers import NAFBlock
from demoe.models.nafnet import NAFNet

from .weight_similarity import HIGH, KINDS, MEASURES, Layer, all_pairs, compare_layers, layers

BLURS = "different blurs, one start"  # Figures 2, 7 and 9
LOW_LIGHT = "a blur and low light, one start"  # Figure 8
START_ALONE = "different blurs, expected from the start alone"
START_OUT = "different blurs, one start taken out"
SAME = "the same blur, two starts"
OTHER = "different blurs, two starts"
LOW_LIGHT_OTHER = "a blur and low light, two starts"
UNTRAINED = "before and after training"
RENAMED = "a network and its reordered copy"
COMPARISONS = {  # in the order of tables and figures, with what each tells
    BLURS: "the paper's comparison",
    LOW_LIGHT: "the paper's control: a task without blur",
    START_ALONE: "the same pairs, had training moved the two in unrelated directions",
    START_OUT: "the same pairs, from each filter the part along its starting value removed (partial correlation)",
    SAME: "what the task alone makes alike",
    OTHER: "neither task nor start in common",
    LOW_LIGHT_OTHER: "neither task nor start in common, one of them without blur",
    UNTRAINED: "how much of the start is left",
    RENAMED: "one function in two orders of its channels: what weights say about functions",
}


@dataclass
class Study:
    """Layers of every network by name, and which two belong to which comparison."""

    networks: dict[str, list[Layer]]
    pairs: dict[str, list[tuple[str, str]]]
    start: list[Layer] = field(repr=False)

    def measured(self) -> pd.DataFrame:
        """Pearson and CKA of all pairs: the columns of ``weight_similarity.compare_layers`` after ``comparison``."""
        belongs = {pair: comparison for comparison, pairs in self.pairs.items() for pair in pairs}
        tables = [compare_layers(self.networks, belongs, measure) for measure in MEASURES]
        partial = compare_layers(self.networks, self.pairs[BLURS], "pearson", given=self.start).assign(
            comparison=START_OUT
        )
        table = pd.concat(tables, ignore_index=True)
        table["comparison"] = [belongs[pair] for pair in zip(table["first"], table["second"], strict=True)]
        table = pd.concat([table, partial], ignore_index=True)
        table = pd.concat([table, _from_the_start(table)], ignore_index=True)
        return table[["comparison", *table.columns.drop("comparison")]]


def _from_the_start(table: pd.DataFrame) -> pd.DataFrame:
    """The correlation that two networks of one start would have if training had moved them in unrelated directions.

    It is the product of their correlations with the start: turned by angles a and b in two directions at right angles
    to each other, a vector gives two whose correlation is cos a cos b. Taken layer by layer from the layers' means.
    """
    pearson = table[table.measure == "pearson"]
    left = pearson[pearson.comparison == UNTRAINED].set_index(["second", "layer"]).value
    pairs = pearson[pearson.comparison == BLURS]
    a, b = (left.loc[pd.MultiIndex.from_frame(pairs[[side, "layer"]])].to_numpy() for side in ("first", "second"))
    expected = pairs.assign(comparison=START_ALONE, value=a * b)
    return expected.assign(excluded=expected.excluded.where(expected.value.notna(), expected.filters))


def study(first: dict[str, NAFNet], second: dict[str, NAFNet], untrained: NAFNet, control: str, seed: int = 0) -> Study:
    """The paper's comparisons and the controls.

    ``first``: networks by the name of what they were trained on, all from the start ``untrained``; ``control`` is the
    one that is no blur. ``second``: some of the same tasks from another start.
    """
    blurs = [name for name in first if name != control]
    again = {name: f"{name}, second start" for name in second}
    renamed = {name: f"{name}, reordered" for name in blurs}
    networks = {name: layers(model) for name, model in first.items()}
    networks |= {again[name]: layers(model) for name, model in second.items()}
    networks |= {renamed[name]: layers(reordered(first[name], seed)) for name in blurs}
    networks["untrained"] = layers(untrained)
    pairs = {
        BLURS: all_pairs(blurs),
        LOW_LIGHT: [(name, control) for name in blurs],
        SAME: [(name, again[name]) for name in second],
        OTHER: [(name, again[other]) for other in second for name in blurs if name != other],
        LOW_LIGHT_OTHER: [(control, again[name]) for name in second],
        UNTRAINED: [("untrained", name) for name in first],
        RENAMED: [(name, renamed[name]) for name in blurs],
    }
    return Study(networks, pairs, networks["untrained"])


@torch.no_grad()
def reordered(model: NAFNet, seed: int = 0) -> NAFNet:
    """A copy whose blocks have their hidden channels in another order: other weights, the same function.

    Within a block the channels between the first and the third convolution, and those between the fourth and the
    fifth, may change places, the two halves that the gate multiplies together. The gate's result does not depend on
    which half is which, so the halves are exchanged as well.
    """
    model = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    for block in model.modules():
        if isinstance(block, NAFBlock):
            channels = block.conv3.in_channels
            for wide, narrow in (((block.conv1, block.conv2), block.conv3), ((block.conv4,), block.conv5)):
                order = torch.randperm(channels, generator=generator)  # (C,)
                device = narrow.weight.device
                order = order.to(device)
                both = torch.cat((order + channels, order))  # (2C,)
                for convolution in wide:
                    _reorder(convolution, both)
                narrow.weight.copy_(narrow.weight[:, order])
                if narrow is block.conv3:
                    attention = block.sca[1]
                    _reorder(attention, order)
                    attention.weight.copy_(attention.weight[:, order])
    return model


def _reorder(convolution: torch.nn.Conv2d, order: Tensor) -> None:
    convolution.weight.copy_(convolution.weight[order])
    convolution.bias.copy_(convolution.bias[order])


@torch.no_grad()
def restores_alike(model: NAFNet, copied: NAFNet, side: int = 48) -> bool:
    """Whether two networks restore a random picture, ``side`` pixels square, alike to 0.0001."""
    picture = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    return torch.allclose(model.cpu()(picture).image, copied.cpu()(picture).image, atol=1e-4)


def by_figure(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """``Study.measured``'s rows by what shows them: Pearson between blurs ("figures_2_and_7") and between blurs and low
    light ("figure_8"), CKA between blurs ("figure_9"), and the means of all "pairs" by kind of layer."""
    blurs, low_light = (table[table.comparison == name].drop(columns="comparison") for name in (BLURS, LOW_LIGHT))
    keys = ["measure", "comparison", "first", "second", "kind"]
    pairs = table[table.kind.isin(KINDS)].groupby(keys, sort=False).value
    return {
        "figures_2_and_7": blurs[blurs.measure == "pearson"],
        "figure_8": low_light[low_light.measure == "pearson"],
        "figure_9": blurs[blurs.measure != "pearson"],
        "pairs": pairs.agg(layers="count", mean="mean").reset_index(),
    }


def left_out(table: pd.DataFrame) -> tuple[int, int]:
    """How many of the filters compared by correlation are constant in one of the two networks, and how many there are.

    Of networks themselves: what is expected from the start, or left without it, are the same filters once more."""
    counted = table[(table.measure == "pearson") & ~table.comparison.isin([START_ALONE, START_OUT])]
    return int(counted.excluded.sum()), int(counted.filters.sum())


def summarise_similarity(table: pd.DataFrame) -> pd.DataFrame:
    """A row a measure, comparison and kind of layer, from ``Study.measured``.

    Columns: measure, comparison, kind, pairs, layers (with a value, over all pairs), constant (without), mean, lowest
    and highest pair's mean, high (fraction of layers above 0.7).
    """
    rows = []
    for measure, comparison, kind in itertools.product(MEASURES, COMPARISONS, KINDS):
        part = table[(table.measure == measure) & (table.comparison == comparison) & (table.kind == kind)]
        if part.empty:
            continue
        known = part.dropna(subset="value")
        of_pairs = known.groupby(["first", "second"], sort=False).value.mean()
        counts = len(part.groupby(["first", "second"])), len(known), len(part) - len(known)
        means = known.value.mean(), of_pairs.min(), of_pairs.max(), (known.value > HIGH).mean()
        rows.append((measure, comparison, kind, *counts, *means))
    columns = ["measure", "comparison", "kind", "pairs", "layers", "constant", "mean", "lowest", "highest", "high"]
    return pd.DataFrame(rows, columns=columns)
