"""Training steps: the plain formulation in float32 against ours in float32, bfloat16, and with checkpointing.

Ours are compiled where a long training would compile them; "eager" are those same steps without. On a CPU "unfused" are
ours without the fused block, operation by operation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demoe.core.profiles import PROFILES
from demoe.data.batches import Batch
from demoe.data.setting import Setting
from demoe.experiments import specs
from demoe.experiments.runs import criterion
from demoe.inference.memory import budget
from demoe.inference.strip_operations import without_tf32
from demoe.models import fused_block
from demoe.models.demoe import DeMoE
from demoe.models.layers import checkpointing, fusing
from demoe.models.nafnet import NAFNet
from demoe.training.stages import kept_for_backward
from demoe.training.step import COMPILED_FROM, TrainStep, compiling_pays

from .options import Options, has_bfloat16
from .plain import plain
from .timing import interleaved, ratio, spent, summary
from .weights import shaken

LOSS = criterion(specs(Setting(PROFILES["paper"]))["baseline"])
BOXES = (1, 3, 7, 15)  # pixels
HELD = 1.2  # what a step holds at most, over what its graph keeps; our choice


@dataclass(frozen=True)
class Way:
    """One way to train."""

    network: str = "DeMoE"
    side: str = "ours"
    precision: str = "float32"
    checkpointed: bool = False

    def compiled(self, device: str) -> bool:
        return self.side == "ours" and compiling_pays(torch.device(device), self.precision, COMPILED_FROM)


def ways(device: str) -> list[Way]:
    """The plain side first. The baseline is there because the first of the paper's two stages trains it."""
    found = [Way(side="plain"), Way(), Way(checkpointed=True), Way("NAFNet")]
    if has_bfloat16(device):
        found += [Way(precision="bfloat16"), Way("NAFNet", precision="bfloat16")]
    if device == "cpu" and fused_block.operations() is not None:
        found.append(Way(side="unfused"))
    both = [way for way in found if way.network == "DeMoE" and not way.checkpointed and way.compiled(device)]
    return found + [replace(way, side="eager") for way in both]


def measure(options: Options) -> pd.DataFrame:
    """A row a patch size and way to train: a whole step (forward, both losses, backward, AdamW) of all parameters.

    Columns: patch, batch, network, side, precision, checkpointed, compiled, ``summary``'s (ms a step),
    images_per_second, ratio (the plain DeMoE's time over this one's), ``spent``'s, saved_bytes (what the graph keeps
    for the backward pass), gradient_error (distance from the plain DeMoE's gradient over its length, from equal weights
    and dropout). Ways that would not fit into memory at larger patches are left out there; without the plain one, ratio
    and error are not numbers.
    """
    device, rows = options.device, []
    reference_way = Way(side="plain")
    pixel: dict[Way, float] = {}  # bytes that the graph keeps
    for patch in options.patches:
        free = budget(None, torch.device(device))
        batch = _batch(patch, options)
        steps, facts, reference = {}, {}, None
        for way in ways(device):
            if HELD * pixel.get(way, 0) * patch**2 > free:
                continue
            model = _network(way, options)
            steps[way] = _step(model, batch, way, device)
            gradient, saved = _gradient(model, batch, way.precision)
            if way == reference_way:
                reference = gradient
            known = way.network == "DeMoE" and reference is not None
            error = float((gradient - reference).norm() / reference.norm()) if known else float("nan")
            pixel[way] = saved / patch**2
            facts[way] = {"saved_bytes": saved, "gradient_error": error}
            del gradient
        label = f"training, {options.batch}x{patch}x{patch}" + f", {options.allocator} thresholds" * (not options.gpu)
        clock = options.clock | {"repeats": 5 if options.gpu else 1}
        cpu: dict[Way, list[float]] = {}
        taken = interleaved(steps, options.rounds, seconds=options.seconds, label=label, cpu=cpu, **clock)
        for way, seconds in taken.items():
            row = {"patch": patch, "batch": options.batch} | vars(way) | {"compiled": way.compiled(device)}
            row |= summary(seconds) | spent(cpu, way, reference_way)
            row["images_per_second"] = 1000 * options.batch / row["ms"]
            rows.append(row | {"ratio": ratio(taken.get(reference_way), seconds)} | facts[way])
        model = reference = steps = None  # before the next patch's memory is looked at
    return pd.DataFrame(rows)


def _batch(patch: int, options: Options) -> Batch:
    """Noise, blurred by a box of another size in each picture. Of alike pictures the router sees features so alike that
    rounding can change the sign of a ReLU's input, and with it the gradient by far more than rounding."""
    random, count, device = torch.Generator().manual_seed(0), options.batch, options.device
    noise, sharp = (torch.rand(count, 3, patch, patch, generator=random) for _ in range(2))
    sides = (BOXES[i % len(BOXES)] for i in range(count))
    pairs = zip(noise, sides, strict=True)
    blurred = [F.avg_pool2d(picture, side, 1, side // 2, count_include_pad=False) for picture, side in pairs]
    labels = torch.arange(count, device=device) % 5
    return Batch(torch.stack(blurred).to(device), sharp.to(device), labels)  # (B, 3, P, P) both pictures


def _network(way: Way, options: Options) -> nn.Module:
    model = shaken(NAFNet(options.nafnet(router=True)) if way.network == "NAFNet" else DeMoE(options.demoe))
    if way.side == "plain":
        return plain(model).to(options.device).train()
    model.to(options.device, memory_format=torch.channels_last)
    checkpointing(model, way.checkpointed)
    fusing(model, way.side != "unfused")
    return model.train()


def _step(model: nn.Module, batch: Batch, way: Way, device: str) -> Callable[[], object]:
    """A call that takes one optimiser step. Both sides have the paper's AdamW; only ours has it fused."""
    ours = way.side != "plain"
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, betas=(0.9, 0.9), weight_decay=1e-3, fused=ours or None)
    if ours:
        step = TrainStep(model, LOSS, optimizer, precision=way.precision, compiled=way.compiled(device))
        return lambda: step(batch)

    def plain_step() -> None:
        optimizer.zero_grad()
        LOSS(model(batch.blurred), batch)["total"].backward()
        optimizer.step()

    return plain_step


@without_tf32()
def _gradient(model: nn.Module, batch: Batch, precision: str) -> tuple[Tensor, int]:
    """All gradients in a row, and the bytes that the graph kept for them; each storage counts once."""
    torch.manual_seed(0)  # dropout
    half = torch.autocast(batch.blurred.device.type, torch.bfloat16, enabled=precision == "bfloat16")
    with kept_for_backward(model) as kept, half:
        total = LOSS(model(batch.blurred), batch)["total"]
    total.backward()
    gradients = {name: p.grad.flatten().double() for name, p in model.named_parameters()}
    model.zero_grad(set_to_none=True)
    return torch.cat([gradients[name] for name in sorted(gradients)]), sum(kept.values())
