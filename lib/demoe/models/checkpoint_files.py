"""What a file of weights holds: tensors by name, and the record that our own files carry. Nothing in it is executed.

Our files are safetensors; the public releases of DeMoE and NAFNet, and those of other networks, are pickled
dictionaries.
"""

from __future__ import annotations

import json
import pickletools
import re
import warnings
import zipfile
from pathlib import Path
from typing import NamedTuple

import safetensors
import torch
from torch import Tensor

from demoe.core.files import first_line

# One metadata entry only: safetensors orders several at random, and the same network should give the same bytes.
METADATA_KEY = "demoe"
# Where people keep the tensors, in order of preference; then any other name, then a running average of the weights.
WRAPPERS = ("params", "state_dict", "model_state_dict", "model", "net", "network", "generator", "net_g", "module")
COUNTERS = ("total_ops", "total_params", "n_averaged")  # of tools that count operations, and of AveragedModel
WRAPPED = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")  # of torch, at any place in a name
ANCHOR = "intro.weight"  # the first tensor of NAFNet and DeMoE: what stands before it stands before all of them


class CheckpointError(ValueError):
    """A file that is not a whole, finite NAFNet or DeMoE. The message is one sentence that names the file."""


class Contents(NamedTuple):
    """What a file of weights holds."""

    tensors: dict[str, Tensor]  # by the names that the network itself gives them
    record: dict  # our own; empty in files that others wrote
    left: str = ""  # in words, the other networks of the file, which were left aside


def read_weights(path: Path) -> Contents:
    """The tensors of one network. Raises ``CheckpointError``, one sentence, for anything else.

    In files that others wrote, the network may lie in a dictionary of any name, of several in the first by
    ``WRAPPERS``, and its tensors may have a prefix: DataParallel's, torch.compile's, or that of a network which is part
    of another (Lightning's "model."). Counters beside the weights are left out.
    """
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            head = file.read(16)
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist: give the path of a .safetensors, .pt or .pth file.") from None
    except OSError as error:  # a folder, no permission, ...
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}.") from None
    if size == 0:
        raise CheckpointError(f"{path} is empty (0 bytes): download or write it again.")
    if path.suffix == ".safetensors" or (head[8:9] == b"{" and head[4:8] == bytes(4)):  # length of the header, header
        contents = _read_safetensors(path)
        return contents if contents.record else _of_one_network(path, contents.tensors, [])
    return _of_one_network(path, *_unwrapped(path, _read_pickle(path, head)))


def _read_safetensors(path: Path) -> Contents:
    try:
        with safetensors.safe_open(path, framework="pt", device="cpu") as file:
            record = json.loads((file.metadata() or {}).get(METADATA_KEY, "{}"))
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (a file, not a dictionary)
    except Exception as error:  # safetensors raises its own error, ValueError or OSError, by kind of damage
        raise CheckpointError(
            f"{path} is truncated, or not a safetensors file: download or write it again ({reason(error)})."
        ) from None
    if not isinstance(record, dict):
        raise CheckpointError(f"{path} has an unreadable configuration inside: write it again with this package.")
    return Contents(state, record)


def _read_pickle(path: Path, head: bytes) -> dict:
    if unfit := _unfit_archive(path):
        raise CheckpointError(f"{path} was refused: it is {unfit}.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about old formats; the outcome is judged below
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen kinds by what is wrong with the file
        if re.search(r"(?i)unsupported (global|class|func)", str(error)) or _holds_objects(path, head):
            raise CheckpointError(
                f"{path} was refused: it holds Python objects or code beside tensors, and nothing of it was executed."
            ) from None
        if head.startswith((b"PK", b"\x80")):  # what torch.save writes
            kind = "truncated, or not a PyTorch checkpoint: download or write it again"
        else:
            kind = "not a PyTorch or safetensors checkpoint: give a .safetensors, .pt or .pth file"
        raise CheckpointError(f"{path} is {kind}.") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not a dictionary of tensors by name.")
    return content


def _unwrapped(path: Path, content: dict) -> tuple[dict[str, Tensor], list[str]]:
    """The first network that the dictionary holds, and the others in words."""
    left: list[str] = []
    while nested := {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, dict)}:
        wrappers = [key for key in nested if _holds_network(nested[key])] or [key for key in nested if _rank(key) != 1]
        if not wrappers:
            break
        wrappers.sort(key=_rank)
        first, *others = wrappers
        left += [f"{first!r} is taken of {path}, and {', '.join(map(repr, others))} left"] if others else []
        content = content[first]
    for key, value in content.items():
        plain = isinstance(value, Tensor) and value.layout == torch.strided and not value.is_meta
        if not isinstance(key, str) or not plain or value.is_quantized:
            what = f"its entry {str(key)[:80]!r} is not a plain tensor"
            raise CheckpointError(f"{path} is not a checkpoint of NAFNet or DeMoE: {what}.")
    return {key: value.detach() for key, value in content.items()}, left


def _rank(wrapper: str) -> float:
    """Below 1 for a name in ``WRAPPERS``, 2 for a running average, 1 for any other."""
    if wrapper in WRAPPERS:
        return WRAPPERS.index(wrapper) / len(WRAPPERS)
    return 1 + ("ema" in wrapper.lower())


def _holds_network(content: object, depth: int = 8) -> bool:
    """Whether this is a dictionary with the first tensor of a network in it, or in one of its dictionaries."""
    return isinstance(content, dict) and any(
        str(key).endswith(ANCHOR) or (depth > 0 and _holds_network(value, depth - 1)) for key, value in content.items()
    )


def _of_one_network(path: Path, state: dict[str, Tensor], left: list[str]) -> Contents:
    """The tensors by the network's own names, without counters, and what was left aside."""
    tensors: dict[str, Tensor] = {}
    for key, value in state.items():
        parts = [part for part in key.split(".") if part not in WRAPPED]
        while parts[:1] == ["module"]:  # DataParallel's and AveragedModel's
            parts.pop(0)
        name = ".".join(parts)
        if name in tensors:
            raise CheckpointError(f"{path} names the tensor {name[:80]!r} with and without a prefix such as 'module.'.")
        if name.rpartition(".")[2] not in COUNTERS:
            tensors[name] = value
    prefixes = [name.removesuffix(ANCHOR) for name in tensors if name.endswith("." + ANCHOR)]
    if prefixes and ANCHOR not in tensors:
        prefix = min(prefixes, key=lambda prefix: "ema" in prefix)  # the weights as trained, where there are both
        if others := sorted({name.partition(".")[0] for name in tensors if not name.startswith(prefix)}):
            names = ", ".join(map(repr, others))
            left = [*left, f"{prefix[:80]!r} is taken of {path}, and {names[:120]} left"]
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    return Contents(tensors, {}, "; ".join(left))


def _unfit_archive(path: Path) -> str:
    """What a ZIP archive is that is not opened: a program, or a decompression bomb (unpacks to more than the file)."""
    try:
        with zipfile.ZipFile(path) as archive:
            if any("/code/" in name for name in archive.namelist()):
                return "a TorchScript program, which is code: save its state_dict()"
            packed = sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size
            return "a compressed archive, which PyTorch does not write" if packed else ""
    except Exception:  # not an archive, or a damaged one: PyTorch says so
        return ""


def _holds_objects(path: Path, head: bytes) -> bool:
    """Whether a plain pickle, which torch cannot read at all, is whole and names a class or function. Runs nothing."""
    if not head.startswith(b"\x80"):
        return False
    try:
        with open(path, "rb") as file:
            return any(code.name in ("GLOBAL", "STACK_GLOBAL", "INST") for code, _, _ in list(pickletools.genops(file)))
    except Exception:  # pickletools raises by what it stumbles over; then the file is damaged
        return False


def reason(error: Exception) -> str:
    """The first sentence of an error, short, for the end of ours."""
    return re.split(r"(?<=[a-z])\. ", first_line(error))[0][:120].rstrip(". ")
