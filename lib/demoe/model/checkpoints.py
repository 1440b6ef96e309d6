"""Networks on disk: our own safetensors files, and the public releases of DeMoE (``DeMoE.pt``) and NAFNet (``.pth``).

Our files hold the tensors of a NAFNet, a DeMoE or one of the networks they are compared with, the configuration and
where they came from, so that loading needs no other file. The public releases are pickled dictionaries without a
configuration: it is read off the tensors' names and shapes. Nothing in a file is ever executed.
"""

from __future__ import annotations

import json
import pickletools
import re
import warnings
import zipfile
from collections import OrderedDict
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from demoe.paths import replacing

from . import comparator_sizes
from .demoe import DeMoE, DeMoEConfig
from .experts import expert_block
from .nafnet import NAFNet, NAFNetConfig

NETWORKS = {"NAFNet": (NAFNet, NAFNetConfig), "DeMoE": (DeMoE, DeMoEConfig), **comparator_sizes.NETWORKS}
EXPERT_KINDS = ("naf", "restormer", "plk", "wavelet", "darkir")
# One metadata entry only: safetensors orders several at random, and the same network should give the same bytes.
METADATA_KEY = "demoe"
WRAPPERS = ("params", "params_ema", "state_dict")  # where releases keep the tensors, in order of preference
TENSORS = 4  # at least, of a block of any network
MOST_LEVELS = 40  # of any network, with the middle and the decoder's
PARTS = ("intro.", "encoders.", "downs.", "middle_blks.", "ups.", "decoders.", "ending.", "experts.", "mlp_branch.")
Config = NAFNetConfig | DeMoEConfig | comparator_sizes.Config


class CheckpointError(ValueError):
    """A file that is not a whole, finite NAFNet or DeMoE. The message is one sentence that names the file."""


def save(model: nn.Module, path: str | Path, provenance: dict | None = None, half: bool = False) -> Path:
    """Write ``model`` to ``path`` as safetensors with its configuration and ``provenance`` (plain values) inside.

    ``model`` is of a class in ``NETWORKS``. ``half`` stores floating-point tensors in 16 bits (half the size, three
    decimal digits). The file appears whole or not at all. Raises ``CheckpointError`` for a network of another class,
    and for values that are, or in 16 bits become, infinite or NaN.
    """
    path, name = Path(path), type(model).__name__
    if name not in NETWORKS:
        raise CheckpointError(f"{path} was not written: only {', '.join(NETWORKS)} can be saved, not {name}.")
    tensors = {}
    for key, value in model.state_dict().items():
        value = value.detach().to("cpu", torch.float16 if half and value.is_floating_point() else value.dtype)
        if not _finite(value):
            in_half = " in 16 bits" if half else ""
            raise CheckpointError(f"{path} was not written: {key} holds infinite or NaN values{in_half}.")
        tensors[key] = value.clone(memory_format=torch.contiguous_format)
    record = {"network": name, "config": asdict(model.config), "provenance": provenance or {}}
    with replacing(path) as partial:
        try:
            save_file(tensors, partial, metadata={METADATA_KEY: json.dumps(record, sort_keys=True, default=str)})
        except safetensors.SafetensorError as error:  # a full disk, as no other exception
            raise OSError(f"{path} was not written: {_reason(error)}") from None
    return path


def load(path: str | Path, device: str | torch.device = "cpu") -> nn.Module:
    """The network in ``path``, in float32 and evaluation mode, on ``device``; every tensor of it is accounted for.

    Reads our own files and the releases named above. A release does not say how the experts' outputs are fused: "sum"
    is assumed. Raises ``CheckpointError`` (one sentence) for anything else, and for a network whose optional package is
    not installed.
    """
    path = Path(path)
    state, record = _read(path)
    if not state:
        raise CheckpointError(f"{path} holds no tensors: it is not a checkpoint of NAFNet or DeMoE.")
    name, config = _recorded(path, record, state) if record else _inferred(path, state)
    network = NETWORKS[name][0]
    try:
        with torch.device("meta"):  # names and shapes without memory, so that a foreign file cannot ask for much
            expected = network(config).state_dict()
    except (ValueError, TypeError, RuntimeError, ArithmeticError, ModuleNotFoundError) as error:
        raise CheckpointError(f"{path} describes a {name} that cannot be built: {_reason(error)}.") from None
    _compare(path, name, state, expected)
    if sum(value.numel() * value.element_size() for value in state.values()) > path.stat().st_size:
        raise CheckpointError(f"{path} is damaged: its tensors hold more values than the file.")
    state = {key: value.to(expected[key].dtype) for key, value in state.items()}
    for key, value in state.items():
        if not _finite(value):
            raise CheckpointError(f"{path} is damaged: {key} holds infinite or NaN values.")
    with torch.random.fork_rng(devices=[]):  # loading must not move the caller's random numbers
        model = network(config)
    model.load_state_dict(state, strict=True)
    return model.to(device).eval()


def tensors(path: str | Path) -> dict[str, Tensor]:
    """The tensors by name of a file of any network, on the CPU; nothing in it is executed.

    Raises ``CheckpointError`` for a file that is damaged, or holds something else.
    """
    return dict(_read(Path(path))[0])


def is_own(path: str | Path) -> bool:
    """Whether ``save`` wrote this file, which then holds its configuration."""
    return bool(_read(Path(path))[1])


def provenance(path: str | Path) -> dict:
    """What ``save`` was told about the network's origin; empty for the public releases."""
    return _read(Path(path))[1].get("provenance", {})


def _finite(value: Tensor) -> bool:
    return not value.is_floating_point() or bool(torch.isfinite(value).all())


def _read(path: Path) -> tuple[dict[str, Tensor], dict]:
    """Tensors by name, and our own record (empty in files that others wrote)."""
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
        return _read_safetensors(path)
    return _read_pickle(path, head), {}


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict]:
    try:
        with safetensors.safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (a file, not a dictionary)
        record = json.loads(metadata.get(METADATA_KEY, "{}"))
    except Exception as error:  # safetensors raises its own error, ValueError or OSError, by kind of damage
        raise CheckpointError(
            f"{path} is truncated, or not a safetensors file: download or write it again ({_reason(error)})."
        ) from None
    if not isinstance(record, dict):
        raise CheckpointError(f"{path} has an unreadable configuration inside: write it again with this package.")
    return state, record


def _read_pickle(path: Path, head: bytes) -> dict[str, Tensor]:
    if _is_packed(path):
        raise CheckpointError(f"{path} was refused: it is a compressed archive, which PyTorch does not write.")
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
    if isinstance(content, dict):
        content = next((content[key] for key in WRAPPERS if isinstance(content.get(key), dict)), content)
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not a dictionary of tensors by name.")
    state = OrderedDict()
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, Tensor) or value.layout != torch.strided or value.is_meta:
            what = f"its entry {str(key)[:80]!r} is not a plain tensor"
            raise CheckpointError(f"{path} is not a checkpoint of NAFNet or DeMoE: {what}.")
        state[key.removeprefix("module.")] = value.detach()  # the prefix of torch's DataParallel
    if len(state) != len(content):
        raise CheckpointError(f"{path} names the same tensor with and without the prefix 'module.'.")
    return state


def _is_packed(path: Path) -> bool:
    """Whether this is a ZIP archive that unpacks to more than the file: a decompression bomb."""
    try:
        with zipfile.ZipFile(path) as archive:
            return sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size
    except Exception:  # not an archive, or a damaged one: PyTorch says so
        return False


def _holds_objects(path: Path, head: bytes) -> bool:
    """Whether a plain pickle, which torch cannot read at all, is whole and names a class or function. Runs nothing."""
    if not head.startswith(b"\x80"):
        return False
    try:
        with open(path, "rb") as file:
            return any(code.name in ("GLOBAL", "STACK_GLOBAL", "INST") for code, _, _ in list(pickletools.genops(file)))
    except Exception:  # pickletools raises by what it stumbles over; then the file is damaged
        return False


def _reason(error: Exception) -> str:
    """The first sentence of an error, short, for the end of ours."""
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return re.split(r"(?<=[a-z])\. ", first)[0][:120].rstrip(". ")


def _recorded(path: Path, record: dict, state: dict[str, Tensor]) -> tuple[str, Config]:
    """Class name and configuration from the metadata that ``save`` wrote."""
    name = record.get("network")
    if not isinstance(name, str) or name not in NETWORKS:
        known = ", ".join(NETWORKS)
        raise CheckpointError(f"{path} holds a network called {str(name)[:80]!r}: this version knows {known}.")
    try:
        fields = {key: tuple(value) if isinstance(value, list) else value for key, value in record["config"].items()}
        config = NETWORKS[name][1](**fields)
        _check_counts(path, config, state)
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} has a configuration unknown to this version: {_reason(error)}.") from None
    return name, config


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
    encoder = tuple(_count(state, rf"encoders\.{level}\.{inner}(\d+)\.") for level in range(levels))
    decoder = tuple(_count(state, rf"decoders\.{level}\.{inner}(\d+)\.") for level in range(levels))
    middle = _count(state, rf"middle_blks\.{inner}(\d+)\.")
    if not inner:
        scores = state.get("mlp_branch.classifier.6.weight")
        classes = {} if scores is None or scores.ndim == 0 else {"num_experts": len(scores)}
        plain = NAFNetConfig(
            width, encoder, middle, decoder, router=any(key.startswith("mlp_branch.") for key in state), **classes
        )
        _check_counts(path, plain, state)
        return "NAFNet", plain
    config = DeMoEConfig(
        width,
        encoder,
        middle,
        decoder,
        num_experts=_count(state, r"experts\.0\.experts\.(\d+)\."),
        moe_per_level=max(1, _count(state, r"experts\.(\d+)\.experts\.") // (levels + 1)),
        expert=_expert_kind(path, state, width * 2**levels),
    )
    _check_counts(path, config, state)
    return "DeMoE", config


def _count(state: dict[str, Tensor], pattern: str) -> int:
    """How many different numbers stand at the group of ``pattern``, at the beginning of a name."""
    return len({match[1] for key in state if (match := re.match(pattern, key))})


def _expert_kind(path: Path, state: dict[str, Tensor], channels: int) -> str:
    """The kind of block whose tensors have the names (and, should two kinds agree, the shapes) of the first expert."""
    prefix = "experts.0.experts.0."
    found = {key.removeprefix(prefix): value.shape for key, value in state.items() if key.startswith(prefix)}
    named = None
    for kind in EXPERT_KINDS:
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
