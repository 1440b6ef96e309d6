"""Every model on every set: one row a picture, then the averages that a table shows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from demoe.data.pairs import PairedSet
from demoe.model.demoe import DeMoE
from demoe.profiles import Profile
from demoe.tasks import EXPERTS, PAPER_ORDER

from .metrics import psnr, ssim
from .restore import restore

Method = Callable[[Tensor, PairedSet], Tensor]  # (1, 3, H, W) blurred -> restored, given the set it is from


def blurred_input(image: Tensor, pairs: PairedSet) -> Tensor:
    """The picture as it came: the score that restoration has to beat."""
    return image


def methods(baseline: nn.Module | None, demoe: DeMoE | None) -> dict[str, Method]:
    """The columns of the comparison: input, baseline, DeMoE with the router's one best expert, mixing all five, and
    with the expert of the set's blur chosen by hand."""
    found: dict[str, Method] = {"input": blurred_input}
    if baseline is not None:
        found["baseline"] = lambda image, pairs: restore(baseline, image).image
    if demoe is not None:
        found["DeMoE k=1"] = lambda image, pairs: restore(demoe, image, k=1).image
        found["DeMoE k=5"] = lambda image, pairs: restore(demoe, image, k=5).image
        found["DeMoE manual"] = lambda image, pairs: restore(demoe, image, expert=EXPERTS[pairs.label]).image
    return found


def score(
    sets: list[PairedSet], compared: dict[str, Method], device: str = "cpu", progress: bool = True
) -> pd.DataFrame:
    """PSNR (dB) and SSIM of every method on every picture. Columns: set, image, method, psnr, ssim."""
    rows = []
    todo = [(pairs, i) for pairs in sets for i in range(len(pairs))]
    for pairs, i in tqdm(todo, desc="scoring", unit="picture", leave=False, disable=not progress):
        blurred, sharp = (side.unsqueeze(0).to(device) for side in pairs.pair(i))  # (1, 3, H, W)
        for name, method in compared.items():
            image = method(blurred, pairs)
            values = {"psnr": psnr(image, sharp).item(), "ssim": ssim(image, sharp).item()}
            rows.append({"set": pairs.name, "image": pairs.keys[i], "method": name, **values})
    return pd.DataFrame(rows)


def summarise(scores: pd.DataFrame) -> pd.DataFrame:
    """Means over the pictures of each set, and "Average", the mean of the sets' means as in the paper's tables.

    Columns: set, method, psnr, ssim, images. Sets in the order of Table 1.
    """
    grouped = scores.groupby(["set", "method"], sort=False)
    means = grouped[["psnr", "ssim"]].mean()
    means["images"] = grouped.size()
    means = means.reset_index()
    average = means.groupby("method", sort=False).agg({"psnr": "mean", "ssim": "mean", "images": "sum"}).reset_index()
    table = pd.concat([means, average.assign(set="Average")], ignore_index=True)
    order = [f"{name}{suffix}" for name in PAPER_ORDER for suffix in ("", "-syn")] + ["Average"]
    table["set"] = pd.Categorical(table["set"], [name for name in order if name in set(table["set"])])
    table = table.sort_values("set", kind="stable").reset_index(drop=True)
    return table.astype({"set": str})


@torch.no_grad()
def route(model: nn.Module, sets: list[PairedSet], device: str = "cpu") -> pd.DataFrame:
    """The router's softmax on every picture. Columns: set, image, label, predicted, correct, and one an expert."""
    rows = []
    for pairs in sets:
        for i in range(len(pairs)):
            image = pairs.pair(i)[0].unsqueeze(0).to(device)  # (1, 3, H, W)
            logits = model(image).logits if isinstance(model, DeMoE) else model.classify(image).logits
            weights = F.softmax(logits.float(), 1)[0].tolist()
            predicted = EXPERTS[max(range(len(weights)), key=weights.__getitem__)]
            label = EXPERTS[pairs.label]
            row = {"set": pairs.name, "image": pairs.keys[i], "label": label, "predicted": predicted}
            rows.append(row | {"correct": predicted == label} | dict(zip(EXPERTS, weights, strict=True)))
    return pd.DataFrame(rows)


def evaluate_command(
    experiment: str | None, weights: Path | None, profile: Profile, seed: int, data_root: str | None, csv: Path | None
) -> int:
    """``demoe evaluate``: prints PSNR / SSIM a set and the router's accuracy; ``csv`` gets a row a picture.

    The network is that of ``weights``, or the experiment's, trained first if need be. Returns the exit status, 0.
    """
    from demoe import experiments, provenance
    from demoe.data import aio
    from demoe.model import checkpoints
    from demoe.report import tables

    device = experiments.default_device()
    if weights:
        model = checkpoints.load(weights, device)
    else:
        model = experiments.train_experiment(experiment, profile, seed, data_root).model
    # A DeMoE of ours is shown beside the baseline that it was made from; a file's has none that we know.
    known = isinstance(model, DeMoE) and not weights
    baseline = experiments.baseline(profile, seed, data_root).model if known else None
    sets = aio.aio_blur(profile, "test", seed, data_root)
    plain = {"input": blurred_input, "network": lambda image, pairs: restore(model, image).image}
    scores = score(sets, methods(baseline, model) if isinstance(model, DeMoE) else plain, device)
    print(f"PSNR (dB) / SSIM, {aio.kind(sets)} data, profile {profile.name}")
    print(tables.by_set(summarise(scores)).to_string())
    if isinstance(model, DeMoE) or getattr(model, "mlp_branch", None) is not None:
        print(f"router accuracy: {route(model, sets, device).correct.mean():.3f}")
    if csv:
        mark = provenance.stamp(profile.name, aio.kind(sets), seed)
        scores = scores.assign(**mark.columns())
        tables.write_text(csv, scores.to_csv(index=False, float_format="%.5f", lineterminator="\n"))
        print(f"scores of every picture: {csv}")
    return 0
