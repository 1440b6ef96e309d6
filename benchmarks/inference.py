"""Restoring pictures: plain, ours as it is, ours through ``demoe.optimize``, in one run that takes turns."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence

import pandas as pd
import torch
from torch import Tensor, nn

from demoe.core.tasks import EXPERTS
from demoe.inference.optimize import optimize
from demoe.inference.strip_operations import without_tf32
from demoe.models.demoe import DeMoE
from demoe.models.nafnet import NAFNet
from demoe.models.outputs import as_restored

from .options import Case, Options, has_bfloat16
from .peers import peers
from .plain import plain
from .timing import interleaved, ratio, spent, summary
from .weights import shaken

MORE_ROUNDS = 3
BASE = ("plain", "float32")  # the side that ratios and errors are against
Side = tuple[str, str]  # (side, precision)


def sides(model: NAFNet | DeMoE, device: str, bfloat16: bool) -> dict[Side, nn.Module]:
    """The same network with the same weights in every formulation that is compared.

    "published" is NAFNet's public code as the optional package spandrel carries it: it shows that the plain
    formulation is no slower than what it stands for. "fused", on a GPU alone, is "optimized" with our own kernels.
    """
    model = model.to(device, memory_format=torch.channels_last)
    made = {
        BASE: plain(model).to(memory_format=torch.contiguous_format),
        ("ours", "float32"): model,
        ("optimized", "float32"): optimize(model),
    }
    if bfloat16:
        made["optimized", "bfloat16"] = optimize(model, dtype=torch.bfloat16)
    if torch.device(device).type == "cuda":
        made |= fused(model, torch.float32) | (fused(model, torch.bfloat16) if bfloat16 else {})
    if isinstance(model, NAFNet) and (public := published(model)) is not None:
        made["published", "float32"] = public.to(device)
    return made


def fused(model: NAFNet | DeMoE, dtype: torch.dtype) -> dict[Side, nn.Module]:
    """The side with our own kernels, on a GPU; none, and a warning, where they do not run."""
    try:
        network = optimize(model, dtype, fused=True)
        network(torch.zeros(1, 3, 32, 32, device=model.intro.weight.device))
    except Exception as error:
        warnings.warn(f"the fused kernels do not run here, so they are not measured: {error}", stacklevel=3)
        return {}
    return {("fused", str(dtype).removeprefix("torch.")): network}


def published(model: NAFNet) -> nn.Module | None:
    """spandrel's NAFNet with these weights; None where spandrel is not installed."""
    try:
        from spandrel.architectures import NAFNet as architecture
    except ImportError:
        return None
    c = model.config
    blocks = {"enc_blk_nums": list(c.encoder_blocks), "dec_blk_nums": list(c.decoder_blocks)}
    network = architecture.NAFNet(img_channel=3, width=c.width, middle_blk_num=c.middle_blocks, **blocks)
    network.load_state_dict(model.state_dict())
    return network.eval()


def pictures(case: Case, device: str) -> Tensor:
    """(B, 3, H, W) in [0, 1], the same in every process."""
    return torch.rand(case.batch, 3, case.height, case.width, generator=torch.Generator().manual_seed(0)).to(device)


def restoring(network: nn.Module, name: str, side: str, case: Case, k: int, x: Tensor) -> Callable[[], Tensor]:
    """What is timed: a call without arguments that gives the restored pictures (B, 3, H, W)."""
    if name == "NAFNet":
        return torch.no_grad()(lambda: as_restored(network(x)).image)
    turns = [i % len(EXPERTS) for i in range(case.batch)]
    choice = turns if side == "plain" else [EXPERTS[i] for i in turns]
    return torch.no_grad()(lambda: network(x, expert=choice if case.mixed else None, k=k).image)


def measure(options: Options, cases: Sequence[Case] | None = None) -> pd.DataFrame:
    """A row a case, network, side, precision and k. Timed as PyTorch is set, compared without TF32.

    Columns: case, batch, height, width, network (DeMoE or NAFNet), k, side (plain, ours, optimized, fused, published,
    and those of ``PEERS``),
    precision, ``summary``'s (ms of the whole batch), ratio (the plain side's time over this one's, same case and k),
    ``spent``'s,
    over_nafnet (this DeMoE's time over NAFNet's on the same side, where both were timed), error (distance from the
    plain side's result over its length) and psnr_db (the same as PSNR, range 1).
    """
    device, rows = options.device, []
    networks = {"DeMoE": DeMoE(options.demoe), "NAFNet": NAFNet(options.nafnet())}
    made = {name: sides(shaken(network), device, has_bfloat16(device)) for name, network in networks.items()}
    for case in options.cases if cases is None else cases:
        if case.gpu_only and not options.gpu:
            continue
        x = pictures(case, device)
        keys = [("DeMoE", k, *side) for k in case.ks for side in made["DeMoE"]]
        keys += [("NAFNet", 1, *side) for side in made["NAFNet"] if case.nafnet in ("all", side[0])]
        calls = {key: restoring(made[key[0]][key[2:]], key[0], key[2], case, key[1], x) for key in keys}
        others = peers(made["DeMoE"]["ours", "float32"], case, x) if options.peers else {}
        calls |= {("DeMoE", 1, name, "float32"): call for name, call in others.items()}
        errors = {}
        for group in {key[:2]: None for key in calls}:
            with without_tf32():
                results = {key: call() for key, call in calls.items() if key[:2] == group}
            reference = next(iter(results.values()))  # the plain side's where there is one
            errors |= {key: distance(result, reference) for key, result in results.items()}
        # The k that nobody asked targets of share fewer rounds: they are there for the growth of cost.
        first = {key: call for key, call in calls.items() if key[1] == 1}
        more = {key: call for key, call in calls.items() if key[1] > 1}
        label = case.name if options.gpu else f"{case.name}, {options.allocator} thresholds"
        clock = options.clock | {"repeats": 20 if options.gpu and case.megapixels < 0.2 else 1}
        cpu: dict[tuple, list[float]] = {}
        clock["cpu"] = cpu
        taken = interleaved(first, options.rounds, seconds=options.seconds, label=label, **clock)
        taken |= interleaved(more, MORE_ROUNDS, label=f"{label}, k > 1", **clock) if more else {}
        for (name, k, side, precision), seconds in taken.items():
            baseline = taken.get(("NAFNet", 1, side, precision)) if (name, k) == ("DeMoE", 1) else None
            row = case.columns | {"network": name, "k": k, "side": side, "precision": precision} | summary(seconds)
            key, base = (name, k, side, precision), (name, k, *BASE)
            row |= {"ratio": ratio(taken.get(base), seconds)} | spent(cpu, key, base)
            row["over_nafnet"] = ratio(seconds, baseline) if baseline else math.nan
            rows.append(row | errors[name, k, side, precision])
    return pd.DataFrame(rows)


def distance(result: Tensor, reference: Tensor) -> dict[str, float]:
    """error and psnr_db of a result against the reference."""
    gap = (result.double() - reference.double()).square()
    mean = float(gap.mean())
    psnr = -10 * math.log10(mean) if mean else math.inf
    return {"error": float(gap.sum().sqrt() / reference.double().norm()), "psnr_db": psnr}
