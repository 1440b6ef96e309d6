"""Networks by name: files, those that come with the package, addresses, and repositories of the Hugging Face Hub."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from urllib.parse import urlsplit

import torch
from torch import nn

from demoe.core.downloads import no_answer, unreachable
from demoe.core.files import first_line
from demoe.core.words import meant
from demoe.models import checkpoints, fetch, pretrained

FILE = "model.safetensors"  # in a repository or a folder: what others' mixins call it, too
SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt")
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
NEEDED = "the Hugging Face Hub needs the package huggingface_hub: pip install 'demoe[hub]'"


class CannotFind(FileNotFoundError):
    """A network that is not here and cannot be had. The message is a sentence that says what to do."""


def from_pretrained(
    name: str | os.PathLike, *, device: str | torch.device = "cpu", revision: str | None = None, file: str | None = None
) -> nn.Module:
    """The network called ``name``, in float32 and evaluation mode, on ``device``; fetched once where it is not here.

    ``name``: the path of a file or of a folder that holds ``model.safetensors``; one that ``demoe weights`` lists
    ("demoe-cpu", "nafnet-32", ...); an address (http or https); or a repository of the Hugging Face Hub, "user/name",
    with its ``revision`` (a branch, tag or commit). ``file``: another one than ``model.safetensors`` in a folder or
    repository. Nothing in a file is executed. $HF_ENDPOINT names a mirror, $HF_HUB_OFFLINE forbids to ask.

    Raises ``CannotFind`` (a ``FileNotFoundError``), within seconds also without network, ``fetch.CannotFetch`` for
    what an address gives instead, ``checkpoints.CheckpointError`` for a file that holds no network, and
    ``ModuleNotFoundError`` where huggingface_hub would be needed.
    """
    return checkpoints.load(find(name, revision, file), device)


def find(name: str | os.PathLike, revision: str | None = None, file: str | None = None, progress: bool = False) -> Path:
    """The file that ``from_pretrained`` loads, fetched if need be. Raises as it does."""
    text = os.fspath(name)
    path = Path(text).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        if not (path / (file or FILE)).is_file():
            raise CannotFind(
                f"the folder {path} holds no {file or FILE}{_listed(each.name for each in path.iterdir())}"
            )
        return path / (file or FILE)
    if text.startswith(("http://", "https://")):
        return _of_address(text, progress)
    known = {item.name: item for item in pretrained.ITEMS if item.network or item.owner.startswith("demoe/")}
    if item := known.get(text.lower()):
        return item.find() or fetch.fetch(item, progress=progress)
    if REPOSITORY.fullmatch(text) and path.suffix not in SUFFIXES:
        return _of_repository(text, revision, file)
    raise CannotFind(
        f"there is no weights file {text}{meant(text, known)}: give a file, one of {', '.join(known)}, an address, or "
        "USER/NAME of the Hugging Face Hub"
    )


def endpoint() -> str:
    """The address of the Hugging Face Hub, or of the mirror that $HF_ENDPOINT names."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def _of_address(url: str, progress: bool) -> Path:
    """What an address gives, kept below torch's hub cache by the whole of the address."""
    name = Path(urlsplit(url).path).name or "weights"
    place = f"demoe/{hashlib.sha256(url.encode()).hexdigest()[:16]}"
    item = pretrained.Item(name, "a network", name, url, "unknown", "unknown", url, folder=place, network=True)
    if item.find() is None and (why := no_answer(url)):
        raise CannotFind(
            f"{url} gives nothing ({why}), and an earlier copy would be in {item.home()}: get the file on another "
            "machine and give its path"
        )
    return fetch.fetch(item, url, progress=progress)


def _of_repository(name: str, revision: str | None, file: str | None) -> Path:
    """``FILE`` of a repository, or the only file of weights that it has."""
    try:
        import huggingface_hub as library
        from huggingface_hub import constants, errors
    except ModuleNotFoundError:
        raise ModuleNotFoundError(f"{name} is no file here, and {NEEDED}") from None
    why = unreachable(endpoint())

    def fetched(file: str) -> Path:
        found = library.hf_hub_download(
            name, file, revision=revision, endpoint=endpoint(), local_files_only=bool(why), library_name="demoe"
        )
        return Path(str(found))

    try:
        try:
            return fetched(file or FILE)
        except errors.RemoteEntryNotFoundError:
            names = library.HfApi(endpoint()).list_repo_files(name, revision=revision)
            found = [each for each in names if each.endswith(SUFFIXES)]
            if file or len(found) != 1:
                raise CannotFind(f"{endpoint()}/{name} has no {file or FILE}{_listed(names)}") from None
            return fetched(found[0])
    except errors.LocalEntryNotFoundError as error:
        if file is None and (kept := _kept_copies(library, name, revision)):
            return kept[0]
        raise CannotFind(
            f"{file or FILE} of {name} is not in {constants.HF_HUB_CACHE}, and {endpoint()} gives nothing "
            f"({why or first_line(error)}): run this once with network, name a mirror by $HF_ENDPOINT, or give the "
            "path of a copy"
        ) from None
    except errors.RepositoryNotFoundError:
        raise CannotFind(
            f"{endpoint()} has no repository {name}, or keeps it private: check the name, or `hf auth login`"
        ) from None
    except errors.RevisionNotFoundError:
        raise CannotFind(f"{endpoint()}/{name} has no revision {revision!r}") from None
    except CannotFind:
        raise
    except Exception as error:  # refused, or broken off: the library's, and whatever the one below it raises
        raise CannotFind(f"{endpoint()}/{name} gives no {file or FILE}: {first_line(error)}") from None


def _kept_copies(library: ModuleType, name: str, revision: str | None) -> list[Path]:
    """The only file of weights in the copy of a repository that an earlier call has left; else none."""
    try:
        folder = Path(str(library.snapshot_download(name, revision=revision, local_files_only=True)))
    except (OSError, ValueError):
        return []
    found = [file for file in sorted(folder.rglob("*")) if file.suffix in SUFFIXES]
    return found if len(found) == 1 else []


def _listed(names: Iterable[str]) -> str:
    """Of the files that are there, a few that may be weights."""
    found = [name for name in sorted(names) if name.endswith(SUFFIXES)]
    return f": it has {', '.join(found[:5])}" if found else ""
