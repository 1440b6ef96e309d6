"""The two stages of Section 3.4: what is trained in each, and how the second starts from the first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from demoe.core.tasks import EXPERTS, expert_index
from demoe.models.demoe import DeMoE, DeMoEConfig, chosen_experts
from demoe.models.nafnet import NAFNet, NAFNetConfig

ENCODER_AND_ROUTER = ("intro", "encoders", "downs", "mlp_branch")


def baseline_config(config: DeMoEConfig) -> NAFNetConfig:
    """The baseline that such a DeMoE is made from: one block more in the middle and in every decoder level."""
    decoder = tuple(count + 1 for count in config.decoder_blocks)
    return NAFNetConfig(
        config.width, config.encoder_blocks, config.middle_blocks + 1, decoder, True, config.num_experts
    )


def demoe_from_baseline(
    baseline: NAFNet, config: DeMoEConfig, experts: Literal["random", "pretrained"] = "random"
) -> DeMoE:
    """A DeMoE whose encoder, router and decoder blocks are the trained baseline's.

    DeMoE has one block less than the baseline in the middle and in every decoder level, and its experts in that place.
    How the experts start is not stated in the paper. ``random``: fresh blocks, which are the identity until they learn
    (beta = gamma = 0). ``pretrained``: the baseline's block of that place, as many times as there are experts.
    Raises ``ValueError`` where the two networks do not fit.
    """
    model = DeMoE(config)
    wanted, given = baseline_config(config), baseline.config
    if (given.middle_blocks, given.decoder_blocks) != (wanted.middle_blocks, wanted.decoder_blocks) or not given.router:
        raise ValueError(f"{config} needs a baseline with router and one block more a level, not {given}")
    for name in ("intro", "ending", "downs", "ups", "mlp_branch"):
        getattr(model, name).load_state_dict(getattr(baseline, name).state_dict())
    stages = [*zip(model.encoders, baseline.encoders, strict=True), (model.middle_blks, baseline.middle_blks)]
    for ours, theirs in [*stages, *zip(model.decoders, baseline.decoders, strict=True)]:
        for block, trained in zip(ours, theirs, strict=False):  # the baseline's last block is left over
            block.load_state_dict(trained.state_dict())
    if experts == "pretrained":
        if config.expert != "naf" or config.moe_per_level != 1:
            raise ValueError("experts start from the baseline's blocks only where they are one NAFBlock a level")
        places = [baseline.middle_blks, *baseline.decoders]
        for block, place in zip(model.experts, places, strict=True):
            for expert in block.experts:
                expert.load_state_dict(place[-1].state_dict())
    elif experts != "random":
        raise ValueError(f"experts start random or pretrained, not {experts!r}")
    return model


def freeze(model: nn.Module, names: tuple[str, ...] = ENCODER_AND_ROUTER) -> None:
    """Takes the named children out of training for good: no gradients, and, by ``training_mode``, evaluation mode.

    Evaluation mode matters: BatchNorm would otherwise go on moving its statistics, and dropout shake the router's
    weights.
    """
    for name in names:
        getattr(model, name).requires_grad_(False)


def fine_tuned(model: nn.Module, part: str) -> str | None:
    """Takes all but ``part`` of a trained network out of training, and returns the expert that crops must go through.

    ``part``: "all" that restores; "decoder", all that follows the encoder (what stage 2 trains, Section 3.4);
    "experts", these alone; or one expert's name, which is then returned: the others stay as they are, bit for bit. The
    router never learns, because a person's pairs say nothing of the kind of their blur; with "all", what it reads
    changes under it. Not in the paper; our choice. Raises ``ValueError`` for a part that the network does not have.
    """
    name, experts = type(model).__name__, getattr(model, "experts", None)
    if part not in ("all", "decoder") and experts is None:
        raise ValueError(f"{name} has no experts: let it learn all or decoder, not {part}")
    if part == "decoder" and not hasattr(model, "mlp_branch"):
        raise ValueError(f"of {name} no decoder is known here: let it learn all")
    if part in ("all", "decoder"):
        names = ENCODER_AND_ROUTER if part == "decoder" else ("mlp_branch",)
        freeze(model, tuple(child for child in names if getattr(model, child, None) is not None))
        return None
    model.requires_grad_(False)
    chosen = None if part == "experts" else chosen_experts(EXPERTS[expert_index(part)], 1, model.num_experts)[0]
    for block in experts:
        (block if chosen is None else block.experts[chosen]).requires_grad_(True)
    return None if chosen is None else part


def training_mode(model: nn.Module) -> None:
    """Training mode for everything that learns, evaluation mode for every child that is wholly frozen."""
    model.train()
    for child in model.children():
        parameters = list(child.parameters())
        if parameters and not any(p.requires_grad for p in parameters):
            child.eval()


def trainable(model: nn.Module) -> list[torch.nn.Parameter]:
    """The parameters that learn, in a fixed order."""
    return [p for p in model.parameters() if p.requires_grad]


@contextmanager
def kept_for_backward(model: nn.Module) -> Iterator[dict[int, int]]:
    """While the block runs, fills in what its graph keeps for the backward pass: the bytes of every storage, each once;
    those of parameters and buffers are left out."""
    own = {tensor.untyped_storage()._cdata for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, int] = {}
    held: list[Tensor] = []  # until all is counted: a storage freed could lend its place to another

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage.nbytes()
            held.append(tensor.detach())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield kept
