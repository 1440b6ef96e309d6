"""One network against another: who they are, what they cost, who is better by how much, on pictures of what size."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import pandas as pd
from torch import Tensor, nn

from demoe.data.pairs import PairedSet, Window
from demoe.models import comparators, complexity
from demoe.models.demoe import DEMOE_PRESETS, DeMoE
from demoe.models.layers import UNet
from demoe.models.nafnet import NAFNET_PRESETS, NAFNet

from . import statistics
from .benchmark import restored, score
from .methods import EQUAL, Compared, network, restorations
from .metrics import busiest_window
from .router import router_view

COMPARATORS = tuple(comparators.NETWORKS)  # in the order of Table 1
LONGER_K = "DeMoE longer k="
MAIN = f"{LONGER_K}1"  # the DeMoE that is compared with DeMoE*, with other k and with the input
AS_LONG = "NAFNet as long"  # the baseline, trained on for as many steps as DeMoE's second stage
HEADS = {  # role -> head of its column in Figure 5; narrow, so that the sizes stand in the tables
    "input": "blurred",
    **{name: name for name in COMPARATORS},
    "NAFNet": "NAFNet",
    "DeMoE": "DeMoE k=1",
    "NAFNet longer": "NAFNet",
    MAIN: "DeMoE k=1",
    "DeMoE*": "DeMoE*",
}
ENSEMBLE = 5  # networks of DeMoE-5 (Section 5)


def methods_table(entries: Sequence[Compared], left_out: Mapping[str, str]) -> pd.DataFrame:
    """Who is compared. Columns: role, method, group, training, params and macs (at 3x256x256, of the size trained
    here; NaN for the input), missing (why a network of Table 1 is not there), trained (what tells weights apart)."""
    rows, counted = [], {}
    for one in entries:
        model, k = one.model, _k(one.role)
        key = (id(model), k)
        if key not in counted:
            counted[key] = (math.nan, math.nan) if model is None else complexity.count(model, k=k)
        rows.append((one.role, one.method, one.group, one.training, *counted[key], "", one.trained))
    rows += [(name, name, EQUAL, "", math.nan, math.nan, why, "") for name, why in left_out.items()]
    columns = ["role", "method", "group", "training", "params", "macs", "missing", "trained"]
    table = pd.DataFrame(rows, columns=columns)
    order = {name: i for i, name in enumerate(("input", *COMPARATORS))}
    return table.sort_values(
        "role", key=lambda roles: roles.map(order).fillna(len(order)), kind="stable", ignore_index=True
    ).astype({"params": float, "macs": float})


def pairs_to_compare(roles: Iterable[str]) -> list[tuple[str, str]]:
    """Which differences are of interest, (first, second) for first minus second, among the roles that are there."""
    roles = list(roles)
    wanted = [("DeMoE", name) for name in (*COMPARATORS, "NAFNet", "input")]
    wanted += [(name, "input") for name in (*COMPARATORS, "NAFNet", "NAFNet longer", AS_LONG, MAIN, "DeMoE*")]
    wanted += [(MAIN, "NAFNet longer"), (MAIN, AS_LONG), ("DeMoE*", MAIN), ("DeMoE*", "NAFNet longer")]
    wanted += [(f"DeMoE longer k={k}", MAIN) for k in range(2, 6)]
    return [(first, second) for first, second in wanted if first in roles and second in roles]


def role_differences(scores: pd.DataFrame, methods: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """First minus second on the same pictures, for ``pairs_to_compare``, with intervals.

    Columns: those of ``statistics.with_and_without``, first and second being roles.
    """
    scored = methods[methods.method.isin(scores.method.unique())].set_index("role").method
    tables = [
        statistics.with_and_without(scores, [(scored[first], scored[second])], seed).assign(first=first, second=second)
        for first, second in pairs_to_compare(scored.index)
    ]
    return pd.concat(tables, ignore_index=True)


def cost_of_k(side: int = 256) -> pd.DataFrame:
    """MACs of the published DeMoE by the number of experts that mix. Columns: k, params, macs. No weights matter."""
    model = DeMoE(DEMOE_PRESETS["demoe"]).eval()
    rows = [(k, *complexity.count(model, (3, side, side), k)) for k in range(1, model.config.num_experts + 1)]
    return pd.DataFrame(rows, columns=["k", "params", "macs"])


def runtimes(models: Mapping[str, nn.Module], side: int, repeats: int) -> pd.DataFrame:
    """Median milliseconds a forward pass of a 3 x side x side picture on this machine, by name; a network that stands
    under several names is timed once. The role "DeMoE longer k=3" mixes three experts, every other name one.

    Columns: network, runtime_ms, side. No two runs give the same, so this belongs to no table.
    """
    taken: dict[tuple[nn.Module, int], float] = {}
    for name, model in models.items():
        if (model, _k(name)) not in taken:
            seconds = complexity.measure_runtime(model, (3, side, side), repeats, warm_up=1, k=_k(name))
            taken[model, _k(name)] = 1e3 * seconds
    rows = [(name, taken[model, _k(name)], side) for name, model in models.items()]
    return pd.DataFrame(rows, columns=["network", "runtime_ms", "side"])


def _k(role: str) -> int:
    """How many experts the role mixes; a file of somebody's weights may be called anything, and mixes one."""
    return int(role.removeprefix(LONGER_K)) if role.startswith(LONGER_K) else 1


def ensemble() -> pd.DataFrame:
    """Section 5's sums, counted at the published size. Columns: what, networks, params (of all together)."""
    one = sum(p.numel() for p in NAFNet(NAFNET_PRESETS["baseline"]).parameters())
    demoe = sum(p.numel() for p in DeMoE(DEMOE_PRESETS["demoe"]).parameters())
    rows = [
        ("one DeMoE*, a NAFNet", 1, one),
        ("DeMoE-5, one for each set", ENSEMBLE, ENSEMBLE * one),
        ("DeMoE", 1, demoe),
    ]
    return pd.DataFrame(rows, columns=["what", "networks", "params"])


def examples(
    sets: Sequence[PairedSet], entries: Sequence[Compared], scores: pd.DataFrame, device: str = "cpu"
) -> list[tuple[str, str, list[tuple[str, Tensor]]]]:
    """Figure 5: of every set the picture that gains the median PSNR by the longer trained DeMoE; none picked by hand.

    Each is set, key, and (title, picture (3, H, W) in [0, 1]) of every network, the input first and the sharp one last.
    A title is the network, how long it learned, because not all columns learned equally long, and the PSNR, each on a
    line of its own.
    """
    by_role, found = {one.role: one for one in entries}, []
    shown = [by_role[role] for role in HEADS if role in by_role]
    for pairs in sets:
        key = median_gain(scores, pairs.name, by_role[MAIN].method, by_role["input"].method)
        titled = [(f"{HEADS[one.role]}\n{one.steps}", one.make) for one in shown]
        *images, (title, sharp) = restored(pairs, key, titled, device)
        found.append((pairs.name, key, [*images, (f"{title}\n\n", sharp)]))
    return found


def crossed(
    sets: Sequence[PairedSet],
    entries: Sequence[Compared],
    tuned: Mapping[str, nn.Module],
    scores: pd.DataFrame,
    device: str = "cpu",
) -> list[tuple[str, str, list[tuple[str, Tensor]]]]:
    """Figure 1, bottom: pictures of the sets that the ``tuned`` networks, by the sets' names, were tuned for, through
    each of these and the longer trained DeMoE; chosen and given as those of ``examples``."""
    by_role, found = {one.role: one for one in entries}, []
    shown = [("blurred", by_role["input"].make)]
    shown += [(f"DeMoE* for {name}", network(model)) for name, model in tuned.items()]
    shown.append((HEADS[MAIN], by_role[MAIN].make))
    for pairs in sets:
        if pairs.name.removesuffix("-syn") in tuned:
            key = median_gain(scores, pairs.name, by_role[MAIN].method, by_role["input"].method)
            found.append((pairs.name, key, restored(pairs, key, shown, device)))
    return found


def median_gain(scores: pd.DataFrame, name: str, method: str, before: str) -> str:
    """The key of the picture of the set ``name`` that gains the median PSNR by ``method`` over ``before``.

    Of an even number the lower of the two in the middle; among equals the first by its key.
    """
    rows = scores[scores["set"] == name].pivot(index="image", columns="method", values="psnr")
    gain = (rows[method] - rows[before]).sort_index().sort_values(kind="stable")
    return str(gain.index[(len(gain) - 1) // 2])


def worst_crop(blurred: Tensor, sharp: Tensor, share: int = 4) -> tuple[int, int, int]:
    """Where a blurred picture (3, H, W) lacks most of the sharp one: top, left and side of a square crop, pixels.

    Its side is the shorter side of the picture over ``share``. In the crop the difference between the two varies most
    (``metrics.busiest_window``): a mere change of brightness, as in LOLBlur, says nothing about blur.
    """
    side = min(max(8, min(blurred.shape[-2:]) // share), *blurred.shape[-2:])
    return *busiest_window(blurred.double() - sharp.double(), (side, side)), side


def network_gains(scores: pd.DataFrame, compared: Sequence[tuple[str, str]], seed: int = 0) -> pd.DataFrame:
    """What one network gains over another on the same pictures, with its interval, for each pair of ``compared``.

    Columns: network, plain (the two names), then set, metric, mean, low, high, images, missing, scenes as in
    ``statistics.with_and_without``. Raises ``ValueError`` for a name that has no scores.
    """
    return statistics.with_and_without(scores, compared, seed).rename(columns={"first": "network", "second": "plain"})


def routings(networks: Mapping[str, UNet], sets: Sequence[PairedSet], device: str = "cpu") -> pd.DataFrame:
    """What several networks' routers say of the same pictures: ``router_view``'s tables, with a column network."""
    return pd.concat(router_view(model, sets, device).table.assign(network=name) for name, model in networks.items())


def changed_choices(routing: pd.DataFrame, first: str, second: str) -> tuple[int, int]:
    """On how many pictures of ``routings`` two networks choose different experts, and how many pictures there are."""
    chosen = routing.pivot(index=["set", "image"], columns="network", values="predicted")
    return int((chosen[first] != chosen[second]).sum()), len(chosen)


def sides(patch: int, largest: int) -> list[int]:
    """Sides in pixels, from that of a training crop to four times as much, none above ``largest``."""
    return sorted({min(round(factor * patch), largest) for factor in (1, 1.5, 2, 3, 4)})


def gains_by_size(
    sets: Sequence[PairedSet],
    networks: Mapping[str, nn.Module],
    compared: Sequence[tuple[str, str]],
    sides: Sequence[int],
    device: str = "cpu",
    seed: int = 0,
    count: int | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """``network_gains`` in PSNR (dB) on the middles of the same pictures, for each of ``sides`` (pixels).

    ``compared`` are pairs of names in ``networks``; ``count`` pictures a set at most. Columns: side, then those of
    ``network_gains``.
    """
    wanted = {name: networks[name] for pair in compared for name in pair}
    parts = {}
    for side in sides:
        middles = [centre(pairs, side, count) for pairs in sets]
        scores = score(middles, restorations(wanted), device, progress, measured=("psnr",))
        parts[side] = network_gains(scores, compared, seed)
    return pd.concat(parts, names=["side"]).reset_index("side").reset_index(drop=True)


def centre(pairs: PairedSet, side: int, count: int | None = None) -> PairedSet:
    """The middle of each picture, ``side`` pixels high and wide where the picture is; ``count`` keeps the first ones.

    Raises ``ValueError`` for a side under one pixel.
    """
    if side < 1:
        raise ValueError(f"the middle of a picture has at least one pixel a side, got {side}")

    def place(i: int) -> Window:
        height, width = pairs.size(i)
        rows, columns = min(side, height), min(side, width)
        return (height - rows) // 2, (width - columns) // 2, rows, columns

    def read(i: int, window: Window | None = None):
        top, left, rows, columns = place(i)
        if window is not None:  # a part of the middle
            top, left, rows, columns = top + window[0], left + window[1], *window[2:]
        return pairs.read(i, (top, left, rows, columns))

    keys = tuple(pairs.keys)[:count]
    return replace(pairs, keys=keys, read=read, size=lambda i: place(i)[2:], notes=tuple(pairs.notes)[: len(keys)])
