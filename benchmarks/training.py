"""Training steps: the plain formulation in float32 against ours in float32, bfloat16, and with checkpointing.

Ours are compiled where a long training would compile them; "eager" are those same steps without.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demoe.data.batches import Batch
from demoe.inference.memory import budget
from demoe.inference.strip_operations import without_tf32
from demoe.models.demoe import DeMoE
from demoe.models.layers import checkpointing
from demoe.models.nafnet import NAFNet
from demoe.training.losses import Criterion, pixel_and_class_loss
from demoe.training.step import COMPILED_FROM, TrainStep, compiling_pays

from .inference import warm_up
from .options import TRAINING_BATCH, Options, has_bfloat16
from .plain import plain
from .timing import interleaved, ratio, summary
from .weights import shaken

CLASS_WEIGHT = 1e-3  # lambda_cl; paper
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
    both = [way for way in found if way.network == "DeMoE" and not way.checkpointed and way.compiled(device)]
    return found + [replace(way, side="eager") for way in both]


def measure(options: Options) -> pd.DataFrame:
    """A row a patch size and way to train: a whole step (forward, both losses, backward, AdamW) of all parameters.

    Columns: patch, batch, network, side, precision, checkpointed, compiled, ``summary``'s (ms a step),
    images_per_second, ratio (the plain DeMoE's time over this one's), saved_bytes (what the graph keeps for the
    backward pass), gradient_error (distance from the plain DeMoE's gradient over its length, from equal weights and
    dropout). Ways that would not fit into memory at larger patches are left out there; without the plain one, ratio and
    error are not numbers.
    """
    device, rows = options.device, []
    pixel: dict[Way, float] = {}  # bytes that the graph keeps
    for patch in options.patches:
        free = budget(None, torch.device(device))
        batch = _batch(patch, device)
        steps, facts = {}, {}
        reference = None
        for way in ways(device):
            if HELD * pixel.get(way, 0) * patch**2 > free:
                continue
            model, loss = _network(way, options)
            steps[way] = _step(model, loss, batch, way, device)
            gradient, saved = _gradient(model, loss, batch, way.precision)
            if way == Way(side="plain"):
                reference = gradient
            known = way.network == "DeMoE" and reference is not None
            error = float((gradient - reference).norm() / reference.norm()) if known else float("nan")
            pixel[way] = saved / patch**2
            facts[way] = {"saved_bytes": saved, "gradient_error": error}
            del gradient
        calls = {repr(way): step for way, step in steps.items()}
        label = f"training, {TRAINING_BATCH}x{patch}x{patch}" + f", {options.allocator} thresholds" * (device == "cpu")
        repeats = 5 if torch.device(device).type == "cuda" else 1
        taken = interleaved(
            calls,
            options.rounds,
            warm_up=warm_up(options),
            seconds=options.seconds,
            repeats=repeats,
            device=device,
            label=label,
            progress=options.progress,
        )
        plain_way = repr(Way(side="plain"))
        for way in steps:
            seconds = taken[repr(way)]
            median = summary(seconds)
            rows.append(
                {
                    "patch": patch,
                    "batch": TRAINING_BATCH,
                    **way.__dict__,
                    "compiled": way.compiled(device),
                    **median,
                    "images_per_second": 1000 * TRAINING_BATCH / median["ms"],
                    "ratio": ratio(taken[plain_way], seconds) if plain_way in taken else float("nan"),
                    **facts[way],
                }
            )
        model = loss = reference = steps = calls = None  # before the next patch's memory is looked at
    return pd.DataFrame(rows)


def _batch(patch: int, device: str) -> Batch:
    """Noise, blurred by a box of another size in each picture. Of alike pictures the router sees features so alike that
    rounding can change the sign of a ReLU's input, and with it the gradient by far more than rounding."""
    random = torch.Generator().manual_seed(0)
    noise, sharp = (torch.rand(TRAINING_BATCH, 3, patch, patch, generator=random) for _ in range(2))
    blurred = torch.stack(
        [
            F.avg_pool2d(picture, side, 1, side // 2, count_include_pad=False)
            for picture, side in zip(noise, BOXES, strict=True)
        ]
    )  # (B, 3, P, P)
    labels = torch.arange(TRAINING_BATCH, device=device) % 5
    return Batch(blurred.to(device), sharp.to(device), labels)


def _network(way: Way, options: Options) -> tuple[nn.Module, Criterion]:
    if way.network == "NAFNet":
        model, loss = shaken(NAFNet(options.baseline)), pixel_and_class_loss(CLASS_WEIGHT)
    else:
        model, loss = shaken(DeMoE(options.demoe)), pixel_and_class_loss(CLASS_WEIGHT)
    if way.side == "plain":
        return plain(model).to(options.device).train(), loss
    model.to(options.device, memory_format=torch.channels_last)
    checkpointing(model, way.checkpointed)
    return model.train(), loss


def _step(model: nn.Module, loss: Criterion, batch: Batch, way: Way, device: str) -> Callable[[], object]:
    """A call that takes one optimiser step. Both sides have the paper's AdamW; only ours has it fused."""
    parameters = model.parameters()
    if way.side == "plain":
        optimizer = torch.optim.AdamW(parameters, lr=1e-6, betas=(0.9, 0.9), weight_decay=1e-3)

        def step() -> None:
            optimizer.zero_grad()
            loss(model(batch.blurred), batch)["total"].backward()
            optimizer.step()

        return step
    fused = torch.optim.AdamW(parameters, lr=1e-6, betas=(0.9, 0.9), weight_decay=1e-3, fused=True)
    ours = TrainStep(model, loss, fused, precision=way.precision, compiled=way.compiled(device))
    return lambda: ours(batch)


@without_tf32()
def _gradient(model: nn.Module, loss: Criterion, batch: Batch, precision: str) -> tuple[Tensor, int]:
    """All gradients in a row, and the bytes that the graph kept for them; each storage counts once."""
    own = {tensor.untyped_storage()._cdata for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, int] = {}
    held: list[Tensor] = []  # until all is counted: a storage freed could lend its place to another

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage.nbytes()
            held.append(tensor.detach())
        return tensor

    torch.manual_seed(0)  # dropout
    kind = batch.blurred.device.type
    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast(kind, torch.bfloat16, enabled=precision == "bfloat16"),
    ):
        total = loss(model(batch.blurred), batch)["total"]
    saved = sum(kept.values())
    held.clear()
    total.backward()
    gradients = {name: p.grad.flatten().double() for name, p in model.named_parameters()}
    model.zero_grad(set_to_none=True)
    return torch.cat([gradients[name] for name in sorted(gradients)]), saved
