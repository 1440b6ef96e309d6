"""A network's file in parts of under 16 MB, where it is larger: some ways of passing files on take no more.

The parts are safetensors files called ``<name>-00001-of-00003.safetensors``, with the whole record in each.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from pathlib import Path

import safetensors
import torch
from safetensors.torch import save_file
from torch import nn

from demoe.core.files import replacing

from . import checkpoints
from .checkpoint_files import CheckpointError

LIMIT = 15_500_000  # bytes of tensors in a part; names and record come on top
_PART = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.safetensors")


def save(
    model: nn.Module, path: Path, provenance: dict | None = None, half: bool = False, limit: int = LIMIT
) -> list[Path]:
    """``checkpoints.save``, in parts where the tensors take more than ``limit`` bytes. Returns the files written.

    They replace whatever a network of that name was kept in. Raises as ``checkpoints.save`` does.
    """
    if sum(_bytes(value, half) for value in model.state_dict().values()) <= limit:
        written = [checkpoints.save(model, path, provenance, half)]
    else:
        with tempfile.TemporaryDirectory() as folder:
            whole = checkpoints.save(model, Path(folder) / path.name, provenance, half)
            written = _cut(*_opened(whole), path, limit)
    for old in set(files(path)) - set(written):
        old.unlink()
    return written


def _bytes(value: torch.Tensor, half: bool) -> int:
    return value.numel() * (2 if half and value.is_floating_point() else value.element_size())


def _cut(tensors: dict[str, torch.Tensor], metadata: dict[str, str], path: Path, limit: int) -> list[Path]:
    groups: list[dict] = [{}]
    for key in sorted(tensors):
        kept = sum(value.nbytes for value in groups[-1].values())
        if groups[-1] and kept + tensors[key].nbytes > limit:
            groups.append({})
        groups[-1][key] = tensors[key]
    names = (
        [path.name]
        if len(groups) == 1
        else [f"{path.stem}-{number:05d}-of-{len(groups):05d}.safetensors" for number in range(1, len(groups) + 1)]
    )
    for name, group in zip(names, groups, strict=True):
        with replacing(path.with_name(name)) as partial:
            try:
                save_file(group, partial, metadata=metadata)
            except safetensors.SafetensorError as error:  # a full disk, as no other exception
                raise OSError(f"{path.with_name(name)} was not written: {str(error).splitlines()[0][:120]}") from None
    return [path.with_name(name) for name in names]


def entry(path: Path) -> Path | None:
    """The file by which ``load`` finds the network that ``save`` was given ``path`` for; None if it is not whole."""
    found = files(path)
    if not found or found[0] == path:
        return found[0] if found else None
    count = int(_PART.fullmatch(found[0].name)[3])
    return found[0] if sum(file.name.endswith(f"-of-{count:05d}.safetensors") for file in found) == count else None


def files(path: Path) -> list[Path]:
    """What is there of the network that ``save`` was given ``path`` for: one file, its parts in order, or nothing."""
    parts = [
        file
        for file in sorted(path.parent.glob(f"{path.stem}-*-of-*.safetensors"))
        if (match := _PART.fullmatch(file.name)) and match[1] == path.stem
    ]
    return ([path] if path.is_file() else []) + parts


def siblings(path: Path) -> list[Path]:
    """All files of the network of which ``path`` is one."""
    match = _PART.fullmatch(path.name)
    return files(path.with_name(f"{match[1]}.safetensors")) if match else [path]


def digest(path: Path) -> str:
    """The SHA-256 of a network's file, or of all its parts, one behind the other."""
    return hashlib.sha256(b"".join(file.read_bytes() for file in siblings(path))).hexdigest()


def load(path: Path, device: str | torch.device = "cpu") -> nn.Module:
    """``checkpoints.load`` of a file, or of all parts where ``path`` is one of them; they lie in one folder.

    Raises ``CheckpointError``, one sentence, for a part that is missing, damaged or another network's.
    """
    match = _PART.fullmatch(path.name)
    if match is None:
        return checkpoints.load(path, device)
    count = int(match[3])
    names = [f"{match[1]}-{number:05d}-of-{match[3]}.safetensors" for number in range(1, count + 1)]
    absent = [name for name in names if not path.with_name(name).is_file()]
    if absent:
        raise CheckpointError(
            f"{path} is one of {count} parts, and {', '.join(absent)} is not beside it: put all of "
            "them into one folder."
        )
    tensors, metadata = _opened(path.with_name(names[0]))
    for name in names[1:]:
        more, also = _opened(path.with_name(name))
        if also != metadata or tensors.keys() & more.keys():
            raise CheckpointError(
                f"{path.with_name(name)} is a part of another network than {names[0]}: fetch all parts from one place."
            )
        tensors |= more
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / f"{match[1]}.safetensors"
        save_file(tensors, whole, metadata=metadata)
        return checkpoints.load(whole, device)


def _opened(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    try:
        with safetensors.safe_open(path, "pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (safetensors.SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is damaged or cannot be read: {str(error).splitlines()[0][:120]}.") from None
