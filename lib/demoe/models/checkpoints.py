"""Networks on disk: our own safetensors files, and the public releases of DeMoE (``DeMoE.pt``) and NAFNet (``.pth``).

Our files hold the tensors of a NAFNet, a DeMoE or one of the networks they are compared with, the configuration and
where they came from, so that loading needs no other file. The public releases are pickled dictionaries without a
configuration: it is read off the tensors' names and shapes. Nothing in a file is ever executed.
"""

from __future__ import annotations

import json
import re
import sys
from contextlib import suppress
from dataclasses import asdict, is_dataclass
from functools import partial
from pathlib import Path
from typing import cast

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from demoe.core.files import replacing

from . import comparators
from .checkpoint_files import METADATA_KEY, CheckpointError, read_weights, reason
from .demoe import DeMoE, DeMoEConfig
from .experts import EXPERT_BLOCKS, expert_block
from .nafnet import NAFNet, NAFNetConfig

NETWORKS = {"NAFNet": (NAFNet, NAFNetConfig), "DeMoE": (DeMoE, DeMoEConfig), **comparators.NETWORKS}
TENSORS = 4  # at least, of a block of any network
MOST_LEVELS = 40  # of any network, with the middle and the decoder's
PARTS = ("intro.", "encoders.", "downs.", "middle_blks.", "ups.", "decoders.", "ending.", "experts.", "mlp_branch.")
Config = NAFNetConfig | DeMoEConfig | comparators.Config


def save(model: nn.Module, path: str | Path, provenance: dict | None = None, half: bool = False) -> Path:
    """Write ``model`` to ``path`` as safetensors with its configuration and ``provenance`` (plain values) inside.

    ``model`` is of a class in ``NETWORKS``, or a guest's: its ``config`` is then a dataclass, whose fields are the
    arguments of the class. ``half`` stores floating-point tensors in 16 bits (half the size, three
    decimal digits). The file appears whole or not at all. Raises ``CheckpointError`` for a network of another class,
    and for values that are, or in 16 bits become, infinite or NaN.
    """
    path, name = Path(path), type(model).__name__
    if name not in NETWORKS and not is_dataclass(getattr(model, "config", None)):
        raise CheckpointError(
            f"{path} was not written: only {', '.join(NETWORKS)} and networks with a dataclass as config can be saved, "
            f"not {name}."
        )
    tensors = {}
    for key, value in model.state_dict().items():
        value = value.detach().to("cpu", torch.float16 if half and value.is_floating_point() else value.dtype)
        if not _finite(value):
            in_half = " in 16 bits" if half else ""
            raise CheckpointError(f"{path} was not written: {key} holds infinite or NaN values{in_half}.")
        tensors[key] = value.clone(memory_format=torch.contiguous_format)
    record = {"network": name, "config": asdict(cast(Config, model.config)), "provenance": provenance or {}}
    with replacing(path) as partial:
        try:
            save_file(tensors, partial, metadata={METADATA_KEY: json.dumps(record, sort_keys=True, default=str)})
        except safetensors.SafetensorError as error:  # a full disk, as no other exception
            raise OSError(f"{path} was not written: {reason(error)}") from None
    return path


def load(path: str | Path, device: str | torch.device = "cpu", guest: type[nn.Module] | None = None) -> nn.Module:
    """The network in ``path``, in float32 and evaluation mode, on ``device``; every tensor of it is accounted for.

    Reads our own files, the releases named above, and what people save of these networks (``read_weights``); where a
    file holds several, one line on stderr says which is taken. Such files do not say how the experts' outputs are
    fused: "sum" is assumed. ``guest``: a class beside those in ``NETWORKS`` whose network our file may hold. Raises
    ``CheckpointError`` (one sentence) for anything else, and for a network whose optional package is not installed.
    """
    path = Path(path)
    state, record, left = read_weights(path)
    if not state:
        raise CheckpointError(f"{path} holds no tensors: it is not a checkpoint of NAFNet or DeMoE.")
    if left:
        print(left, file=sys.stderr)
    if guest is not None and record.get("network") == guest.__name__:
        name, build = guest.__name__, lambda: guest(**_fields(record))
    else:
        name, config = _recorded(path, record, state) if record else _inferred(path, state)
        build = partial(NETWORKS[name][0], config)
    try:
        with torch.device("meta"):  # names and shapes without memory, so that a foreign file cannot ask for much
            expected = build().state_dict()
    except (ValueError, TypeError, KeyError, RuntimeError, ArithmeticError, ModuleNotFoundError) as error:
        raise CheckpointError(f"{path} describes a {name} that cannot be built: {reason(error)}.") from None
    counts = {key: torch.tensor(0) for key in expected if key.endswith("num_batches_tracked")}
    state = counts | state  # some savers leave these out, and nothing depends on them
    _compare(path, name, state, expected)
    if sum(value.numel() * value.element_size() for value in state.values()) > path.stat().st_size:
        raise CheckpointError(f"{path} is damaged: its tensors hold more values than the file.")
    state = {key: value.to(expected[key].dtype) for key, value in state.items()}
    for key, value in state.items():
        if not _finite(value):
            raise CheckpointError(f"{path} is damaged: {key} holds infinite or NaN values.")
    with torch.random.fork_rng(devices=[]):  # loading must not move the caller's random numbers
        model = build()
    model.load_state_dict(state, strict=True)
    return model.to(device).eval()


def provenance(path: str | Path) -> dict:
    """What ``save`` was told about the network's origin; empty for the public releases."""
    return read_weights(Path(path)).record.get("provenance", {})


def _finite(value: Tensor) -> bool:
    return not value.is_floating_point() or bool(torch.isfinite(value).all())


def _recorded(path: Path, record: dict, state: dict[str, Tensor]) -> tuple[str, Config]:
    """Class name and configuration from the metadata that ``save`` wrote."""
    name = record.get("network")
    if not isinstance(name, str) or name not in NETWORKS:
        known = ", ".join(NETWORKS)
        raise CheckpointError(f"{path} holds a network called {str(name)[:80]!r}: this version knows {known}.")
    try:
        config = NETWORKS[name][1](**_fields(record))
        _check_counts(path, config, state)
    except CheckpointError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise CheckpointError(f"{path} has a configuration unknown to this version: {reason(error)}.") from None
    return name, config


def _fields(record: dict) -> dict:
    """Of the configuration in a record; JSON knows no tuples."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in dict(record["config"]).items()}


def _check_counts(path: Path, config: Config, state: dict[str, Tensor]) -> None:
    """Refuses a configuration before anything is built of it that the file cannot hold, or that is absurdly deep."""
    counts = [count for key, count in asdict(config).items() if key.endswith("blocks")]
    counts = [one for count in counts for one in (count if isinstance(count, tuple) else (count,))]
    blocks = TENSORS * sum(counts)
    if isinstance(config, DeMoEConfig):
        blocks += TENSORS * config.num_experts * config.moe_per_level * (len(config.decoder_blocks) + 1)
    if len(counts) > MOST_LEVELS or min(counts) < 0 or max(blocks, getattr(config, "num_experts", 1)) > len(state):
        raise CheckpointError(f"{path} is damaged: its configuration names more blocks than it has tensors.")


def _inferred(path: Path, state: dict[str, Tensor]) -> tuple[str, Config]:
    """Class name and configuration from the tensors' names and shapes."""
    unknown = next((key for key in state if not key.startswith(PARTS)), None)
    if unknown is not None:
        raise CheckpointError(f"{path} is a checkpoint of another network: NAFNet and DeMoE have no {unknown[:120]!r}.")
    first = state.get("intro.weight")
    if first is None:
        raise CheckpointError(f"{path} is incomplete: NAFNet and DeMoE need 'intro.weight', which is not in it.")
    if first.shape[1:] != (3, 3, 3) or len(first) == 0:
        shape = tuple(first.shape)
        raise CheckpointError(f"{path} has the wrong shape for 'intro.weight': {shape}, not (width, 3, 3, 3).")
    width = len(first)
    levels = _count(state, r"downs\.(\d+)\.")
    if levels > MOST_LEVELS:
        raise CheckpointError(f"{path} is a checkpoint of another network: it has {levels} levels.")
    inner = r"modules_list\." if any(key.startswith("experts.") for key in state) else ""
    encoder, decoder = (
        tuple(_count(state, rf"{part}\.{level}\.{inner}(\d+)\.") for level in range(levels))
        for part in ("encoders", "decoders")
    )
    sizes = (width, encoder, _count(state, rf"middle_blks\.{inner}(\d+)\."), decoder)
    config: Config
    if inner:
        config = DeMoEConfig(
            *sizes,
            num_experts=_count(state, r"experts\.0\.experts\.(\d+)\."),
            moe_per_level=max(1, _count(state, r"experts\.(\d+)\.experts\.") // (levels + 1)),
            expert=_expert_kind(path, state, width * 2**levels),
        )
    else:
        scores = state.get("mlp_branch.classifier.6.weight")
        classes = NAFNetConfig.num_experts if scores is None or scores.ndim == 0 else len(scores)
        config = NAFNetConfig(*sizes, any(key.startswith("mlp_branch.") for key in state), classes)
    _check_counts(path, config, state)
    return "DeMoE" if inner else "NAFNet", config


def _count(state: dict[str, Tensor], pattern: str) -> int:
    """How many different numbers stand at the group of ``pattern``, at the beginning of a name."""
    return len({match[1] for key in state if (match := re.match(pattern, key))})


def _expert_kind(path: Path, state: dict[str, Tensor], channels: int) -> str:
    """The kind of block whose tensors have the names (and, should two kinds agree, the shapes) of the first expert."""
    prefix = "experts.0.experts.0."
    found = {key.removeprefix(prefix): value.shape for key, value in state.items() if key.startswith(prefix)}
    named = None
    for kind in EXPERT_BLOCKS:
        with suppress(ValueError), torch.device("meta"):  # ValueError: no such block at this number of channels
            shapes = {key: value.shape for key, value in expert_block(kind, channels).state_dict().items()}
            if shapes == found:
                return kind
            if shapes.keys() == found.keys():
                named = named or kind
    if named is None:
        key = next((key for key in state if key.startswith(prefix)), "experts.")
        raise CheckpointError(f"{path} is a checkpoint of another network: its experts are of no known kind ({key!r}).")
    return named


def _compare(path: Path, name: str, state: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Every tensor has a place, every place a tensor, and their shapes agree: otherwise name the first in error."""
    unknown = next((key for key in state if key not in expected), None)
    if unknown is not None:
        raise CheckpointError(f"{path} is a checkpoint of another network: {name} has no {unknown[:120]!r}.")
    missing = next((key for key in expected if key not in state), None)
    if missing is not None:
        raise CheckpointError(f"{path} is incomplete: {name} needs {missing!r}, which is not in it.")
    for key, value in state.items():
        if value.shape != expected[key].shape:
            have, want = tuple(value.shape), tuple(expected[key].shape)
            raise CheckpointError(f"{path} has the wrong shape for {key!r}: {have}, where this {name} needs {want}.")
