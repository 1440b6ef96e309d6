"""A network on real photographs: what it gains where a sharp picture is known, whether the router names the known kind
of blur, and what it does to pictures that are sharp already.

Beside it stand two methods that anybody has: an unsharp mask and Richardson-Lucy. They raise contrast along edges, too,
so that "sharper" has to mean more than that.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from skimage.filters import unsharp_mask
from skimage.restoration import richardson_lucy
from torch import Tensor, nn
from tqdm.auto import tqdm

from demoe.blur import sensor
from demoe.core.files import write_text
from demoe.data.pairs import FilePair, PairedSet, files
from demoe.inference.guard import guarded
from demoe.inference.restore import restore
from demoe.models.layers import UNet
from demoe.models.moe import normalised_entropy
from demoe.models.outputs import experts_of

from . import metrics, statistics
from .benchmark import score
from .methods import Made, Method, blurred_input, network
from .photo_sources import KINDS, SHARP, Source, blurred_sets, sharp_photographs
from .router import router_view

INPUT, GUARDED, BY_HAND, BASELINE = "input", "guarded", "right expert by hand", "baseline"
MASK, LUCY = "unsharp mask", "Richardson-Lucy"
MEASURED = ("psnr", "ssim", "fitted", "aligned", "gradient_energy")  # where there is a sharp picture
BLIND = ("sharpness", "niqe", "musiq", "nrqm")  # where there is none; those whose weights are here
# What is done to a sharp photograph before it is restored, which should leave it as it was; a number for its noise.
SPOILT: dict[str, Callable[[Tensor, int], Tensor]] = {
    "as it is": lambda image, key: image,
    "noise 3": lambda image, key: noisy(image, 3, key),
    "noise 8": lambda image, key: noisy(image, 8, key),
    "JPEG 60": lambda image, key: sensor.jpeg(image, 60),
    "JPEG 95": lambda image, key: sensor.jpeg(image, 95),
}
NOBODY = "sharp photographs"  # the set of those, which no expert is right for
BRIGHTENED = 8.0  # 8-bit levels of the mean, beyond which a sharp photograph was brightened


def noisy(image: Tensor, level: float, key: int) -> Tensor:
    """(3,H,W) with Gaussian noise of ``level`` 8-bit levels, rounded to 8 bits; the same for the same ``key``."""
    normal = torch.from_numpy(np.random.default_rng([key, 10]).standard_normal(image.shape, dtype=np.float32))
    return ((image + level / 255 * normal).clamp(0, 1) * 255).round() / 255


def sharpened(image: Tensor, pairs: PairedSet) -> Tensor:
    """An unsharp mask, radius 2 pixels, amount 1; our choice."""
    return _by_skimage(lambda x: unsharp_mask(x, radius=2, amount=1, channel_axis=2), image)


def deconvolved(image: Tensor, pairs: PairedSet) -> Tensor:
    """Ten rounds of Richardson-Lucy with a Gaussian of 1.5 pixels, which nobody has measured; our choice."""
    at = np.arange(-5, 6)
    kernel = np.exp(-0.5 * (at[:, None] ** 2 + at[None] ** 2) / 1.5**2)
    kernel /= kernel.sum()

    def channels(x: np.ndarray) -> np.ndarray:
        padded = np.pad(x, ((5, 5), (5, 5), (0, 0)), mode="reflect")
        made = [richardson_lucy(padded[..., c], kernel, num_iter=10) for c in range(3)]
        return np.stack(made, axis=-1)[5:-5, 5:-5]

    return _by_skimage(channels, image)


def _by_skimage(function: Callable[[np.ndarray], np.ndarray], image: Tensor) -> Tensor:
    made = function(image[0].permute(1, 2, 0).double().cpu().numpy())
    return torch.from_numpy(made).float().permute(2, 0, 1)[None].clamp(0, 1).to(image.device)


def compared(
    model: nn.Module, name: str, kinds: Mapping[str, str], baseline: nn.Module | None = None
) -> dict[str, Method]:
    """The methods by name. ``kinds``: the kind of blur of each set, by which a DeMoE's expert is chosen by hand where
    one expert is right."""
    found: dict[str, Method] = {INPUT: blurred_input, name: network(model)}
    if experts_of(model):
        found[GUARDED] = lambda image, pairs: guarded(model, image[0]).image[None]
        found[BY_HAND] = partial(_by_hand, model, dict(kinds))
    if baseline is not None:
        found[BASELINE] = network(baseline)
    return found | {MASK: sharpened, LUCY: deconvolved}


def _by_hand(model: nn.Module, kinds: dict[str, str], image: Tensor, pairs: PairedSet) -> Tensor | None:
    right = KINDS[kinds[pairs.name]]
    return restore(model, image, expert=right[0]).image if len(right) == 1 else None


def routed(model: UNet, sets: Mapping[str, tuple[str, PairedSet]], device: str = "cpu") -> pd.DataFrame:
    """What the router says of every blurred photograph, beside what is known of it.

    Columns: set, image, kind, predicted, right (one of the experts that are right for the kind; NA where none is
    known), entropy (0 sure to 1), and a column an expert with its softmax weight.
    """
    rows = []
    for name, (kind, pairs) in sets.items():
        view = router_view(model, [pairs], device)
        rights = [(one in KINDS[kind]) if KINDS[kind] else pd.NA for one in view.table.predicted]
        table = view.table.drop(columns=["label", "correct"])
        table.insert(2, "kind", kind)
        table.insert(4, "right", pd.array(rights, dtype="boolean"))
        table.insert(5, "entropy", normalised_entropy(view.probabilities).numpy())
        rows.append(table.assign(set=name))
    return pd.concat(rows, ignore_index=True)


def right_by_kind(routing: pd.DataFrame) -> pd.DataFrame:
    """Of every known kind of blur the share of photographs with a right expert, and the most frequent answer."""
    known = routing[routing.right.notna()]
    rows = []
    for kind, part in known.groupby("kind", sort=False):
        counts = part.predicted.value_counts()
        row = {"kind": kind, "photographs": len(part), "right": float(part.right.astype(float).mean())}
        rows.append(row | {"most": counts.index[0], "times": int(counts.iloc[0])})
    return pd.DataFrame(rows, columns=["kind", "photographs", "right", "most", "times"])


def harm(
    photographs: Mapping[str, Tensor], methods: Mapping[str, Method], device: str = "cpu", progress: bool = True
) -> pd.DataFrame:
    """What methods do to sharp photographs (3, H, W), as they are and spoilt by noise or JPEG but not by blur.

    Columns: photograph, spoilt, method, psnr_input and psnr (dB, of what went in and of what came out, both to the
    photograph itself; 100 where they are equal), gain (the difference), brightened (8-bit levels of the mean).
    """
    nobody = PairedSet(NOBODY, "real", [], lambda i, _=None: None, lambda i: None)
    rows = []
    todo = [(name, spoilt) for name in photographs for spoilt in SPOILT]
    for name, spoilt in tqdm(todo, desc="harm", unit="picture", leave=False, disable=not progress):
        sharp = photographs[name].to(device)
        given = SPOILT[spoilt](sharp.cpu(), zlib.crc32(name.encode())).to(device)
        before = float(metrics.psnr(given[None], sharp[None]))
        for method, function in methods.items():
            made = function(given[None], nobody)
            if made is None:
                continue
            image = made.image if isinstance(made, Made) else made
            after = float(metrics.psnr(image, sharp[None]))
            row = {"photograph": name, "spoilt": spoilt, "method": method, "psnr_input": before, "psnr": after}
            rows.append(row | {"gain": after - before, "brightened": 255 * float((image[0] - given).mean())})
    return pd.DataFrame(rows)


def harm_summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Columns: spoilt, method, photographs, gain (mean, dB), worst (dB), brightened (share by more than
    ``BRIGHTENED`` levels)."""
    grouped = rows.groupby(["spoilt", "method"], sort=False)
    table = grouped.gain.agg(photographs="size", gain="mean", worst="min")
    return table.assign(brightened=grouped.brightened.agg(lambda one: float((one > BRIGHTENED).mean()))).reset_index()


def gains(scores: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Every method over the input on the same pictures (``statistics.differences``); ``scores`` of ``score``."""
    names = [name for name in scores.method.unique() if name != INPUT]
    return statistics.differences(scores, [(name, INPUT) for name in names], seed)


def middle(pairs: PairedSet, side: int | None) -> PairedSet:
    """``pairs`` of which only the middle, ``side`` pixels square, is looked at; None: all of it.

    Its corner lies on the grid of 8 pixels that JPEG has.
    """
    if side is None:
        return pairs

    def window(i: int) -> tuple[int, int, int, int]:
        height, width = pairs.size(i)
        return (max(0, height - side) // 16 * 8, max(0, width - side) // 16 * 8, min(side, height), min(side, width))

    def read(i: int, inner=None):
        top, left, height, width = window(i)
        if inner is None:
            return pairs.read(i, (top, left, height, width))
        return pairs.read(i, (top + inner[0], left + inner[1], inner[2], inner[3]))

    return replace(pairs, read=read, size=lambda i: window(i)[2:])


def sharp_pictures(sources: Sequence[Source], side: int | None = None) -> dict[str, Tensor]:
    """The sharp photographs by their keys, (3, H, W) in [0, 1], or the middle of each, ``side`` pixels square."""
    found = {}
    for one in sharp_photographs(list(sources)):
        pairs = middle(files("sharp", [FilePair(one.key, one.file, None)]), side)
        found[one.key] = pairs.pair(0)[0]
    return found


def on_photographs(
    sources: list[Source],
    model: nn.Module,
    name: str,
    config: dict,
    baseline: nn.Module | None = None,
    measured: Sequence[str] = MEASURED,
    side: int | None = None,
    folder: Path | None = None,
    device: str = "cpu",
    progress: bool = True,
) -> dict[str, pd.DataFrame]:
    """The tables that there are photographs for: "gains" (``gains``), "blind" (means of metrics that need no sharp
    picture), "router" (``right_by_kind``), "harm" (``harm_summary``). With ``folder`` the rows that they come from go
    there, a CSV each.

    ``side``: only the middle of each photograph, that many pixels square. ``config`` says what the network is, for rows
    of an interrupted call to be continued.
    """
    measured = [one for one in measured if one not in metrics.missing(measured)]
    blind = [one for one in BLIND if one not in metrics.missing(BLIND)]
    found: dict[str, pd.DataFrame] = {}
    sets = {}
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    for part, names, paired in (("gains", measured, True), ("blind", blind, False)):
        chosen = blurred_sets(sources, paired)
        chosen = {key: (kind, middle(pairs, side)) for key, (kind, pairs) in chosen.items()}
        if not chosen:
            continue
        kinds = {key: kind for key, (kind, _) in chosen.items()}
        methods = compared(model, name, kinds, baseline)
        file = folder / f"{part}.csv" if folder else None
        where = config | {"side": side, "kinds": kinds, "files": _state(sources)}
        pictures = [pairs for _, pairs in chosen.values()]
        if names:  # else all that was asked for is missing here
            scores = score(pictures, methods, device, progress, measured=names, file=file, config=where)
            found[part] = gains(scores) if paired else _means(scores)
        sets |= {f"{key} ({part})" if key in sets else key: one for key, one in chosen.items()}
    if getattr(model, "mlp_branch", None) is not None and sets:
        routing = routed(model, sets, device)
        _keep(routing, folder, "router")
        found["router"] = right_by_kind(routing)
    if sharp := sharp_pictures(sources, side):
        rows = harm(sharp, compared(model, name, {NOBODY: SHARP}, baseline), device, progress)
        _keep(rows, folder, "harm")
        found["harm"] = harm_summary(rows)
    for title, table in found.items():
        _keep(table, folder, f"{title}_summary")
    return found


def _state(sources: Sequence[Source]) -> list[list]:
    """What changes when a photograph does: rows of another one are not continued."""
    files = [file for one in sources for file in (one.file, one.sharp) if file is not None]
    return [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files]


def _means(scores: pd.DataFrame) -> pd.DataFrame:
    columns = [one for one in scores if one in metrics.LABELS]
    means = scores.groupby(["set", "method"], sort=False)[columns].mean().reset_index()
    return means.rename(columns={one: metrics.LABELS[one] for one in columns})


def _keep(table: pd.DataFrame, folder: Path | None, name: str) -> None:
    if folder is not None:
        write_text(folder / f"{name}.csv", table.to_csv(index=False, float_format="%.5f", lineterminator="\n"))
