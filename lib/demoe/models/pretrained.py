"""Weights that others trained, and those that come with the package: where each is from, and whether it is here.

What is not known is said to be unknown. Nothing here is ever unpacked or executed: networks are read as
``model.checkpoints`` reads them, and the files of metrics by the packages that own them.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

import torch

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Item:
    """One file of weights."""

    name: str
    what: str
    file: str
    page: str  # where it comes from, for a person
    licence: str
    size: str  # as published, or "about" if counted from the parameters
    url: str = ""  # where it can be fetched; "" if nobody gives such an address
    sha256: str = ""  # all 64 hexadecimal digits, or as many as are published; "" if unknown
    folder: str = "demoe"  # below torch's hub cache
    network: bool = False  # a file that ``checkpoints.load`` must be able to read
    variable: str = ""  # an environment variable that may name it; a network, which may be any, by its own name only
    owner: str = ""  # the Python package that brings it along, and its path there, as "package:path"
    use: str = ""  # what to do with it, if that does not go without saying; {path} is its place

    def home(self) -> Path:
        """The folder in which ``fetch`` puts it by default, and in which whoever needs it looks."""
        return Path(torch.hub.get_dir()) / self.folder

    def find(self) -> Path | None:
        """Where it is on this machine; None if it is not."""
        named = Path(os.environ.get(self.variable, "")) if self.variable else Path()
        places = [named] if not self.network or named.name == self.file else []
        if self.owner:
            package, _, inside = self.owner.partition(":")
            found = importlib.util.find_spec(package)
            places += [Path(found.origin).parent / inside] if found and found.origin else []
        else:
            places.append(self.home() / self.file)
        if self.name == "clip":
            places += _hub_cache()
        return next((place for place in places if place.is_file()), None)


def _hub_cache() -> list[Path]:
    """CLIP as open_clip fetches it for itself."""
    if importlib.util.find_spec("huggingface_hub") is None:
        return []
    from huggingface_hub import try_to_load_from_cache

    names = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
    found = (try_to_load_from_cache("timm/vit_base_patch32_clip_224.openai", name) for name in names)
    return [Path(one) for one in found if isinstance(one, str)]


_NAFNET = "https://github.com/megvii-research/NAFNet (docs/GoPro.md)"
_DRIVE = "https://drive.usercontent.google.com/download?export=download&confirm=t&id="
_TORCHVISION = "BSD-3-Clause (torchvision); trained on ImageNet, whose terms are its own"
_OPENAI = "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"
_PYIQA = "https://huggingface.co/chaofengc/IQA-PyTorch-Weights"
_PYIQA_LICENCE = "CC BY-NC-SA 4.0 (not for commercial use)"


def _pyiqa(name: str, what: str, file: str, size: str = UNKNOWN, sha256: str = "") -> Item:
    return Item(name, what, file, _PYIQA, _PYIQA_LICENCE, size, f"{_PYIQA}/resolve/main/{file}", sha256, "pyiqa")


PACKAGED = Path(__file__).parents[1] / "weights"
# Profiles whose networks may come with the package, the best first: the first that is there is the default everywhere.
RELEASES = {
    "quick": "trained on a GPU",
    "cpu": "trained on a CPU for hours, until one trained on a GPU replaces it",
    "smoke": "trained for minutes: shows that everything runs",
}


@dataclass(frozen=True)
class Release:
    """A DeMoE that comes with the package, and the baseline that it was made from."""

    profile: str
    demoe: Path  # the file
    baseline: Path | None = None  # likewise; None where it does not come along

    @property
    def name(self) -> str:
        return f"demoe-{self.profile}"

    @property
    def label(self) -> str:
        """What people are told that they use."""
        return f"{self.name}, {RELEASES[self.profile]}"


def releases(folder: Path = PACKAGED) -> list[Release]:
    """The networks that come with the package, the best first."""
    found = []
    for profile in RELEASES:
        demoe, baseline = (folder / f"{kind}-{profile}.safetensors" for kind in ("demoe", "baseline"))
        if demoe.is_file():
            found.append(Release(profile, demoe, baseline if baseline.is_file() else None))
    return found


def _released() -> list[Item]:
    items = []
    for release in releases():
        for kind, what, path in (("demoe", "DeMoE", release.demoe), ("baseline", "its baseline", release.baseline)):
            if path is None:
                continue
            items.append(
                Item(
                    f"{kind}-{release.profile}",
                    f"{what}, {RELEASES[release.profile]}",
                    path.name,
                    "this package (weights/README.md is its model card)",
                    "MIT; the model card says on what it was trained",
                    f"{path.stat().st_size / 2**20:.1f} MiB",
                    owner=f"demoe:weights/{path.name}",
                )
            )
    return items


ITEMS: tuple[Item, ...] = (
    *_released(),
    Item(
        "demoe",
        "the authors' DeMoE, width 32",
        "DeMoE.pt",
        "https://github.com/cidautai/DeMoE",
        f"{UNKNOWN}: see the authors' page",
        "about 77 MiB",
        network=True,
        variable="DEMOE_WEIGHTS",
        use="demoe deblur --weights {path}",
    ),
    Item(
        "nafnet-32",
        "NAFNet trained on GoPro, width 32",
        "NAFNet-GoPro-width32.pth",
        _NAFNET,
        "MIT",
        "about 65 MiB",
        _DRIVE + "1Fr2QadtDCEXg6iwWX8OzeZLbHOx2t5Bj",
        network=True,
        use="demoe deblur --weights {path}",
    ),
    Item(
        "nafnet-64",
        "NAFNet trained on GoPro, width 64",
        "NAFNet-GoPro-width64.pth",
        _NAFNET,
        "MIT",
        "about 259 MiB",
        _DRIVE + "1S0PVRbyTakYY9a82kujgZLbMihfNBLfC",
        network=True,
        use="demoe deblur --weights {path}",
    ),
    Item(
        "lpips-vgg",
        "LPIPS 0.1: linear layers on VGG",
        "vgg.pth",
        "the Python package lpips",
        "BSD-2-Clause",
        "7 KiB",
        sha256="a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
        owner="lpips:weights/v0.1/vgg.pth",
    ),
    Item(
        "lpips-alex",
        "LPIPS 0.1: linear layers on AlexNet",
        "alex.pth",
        "the Python package lpips",
        "BSD-2-Clause",
        "6 KiB",
        sha256="df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
        owner="lpips:weights/v0.1/alex.pth",
    ),
    Item(
        "vgg",
        "VGG-16 on ImageNet, under LPIPS",
        "vgg16-397923af.pth",
        "https://download.pytorch.org/models",
        _TORCHVISION,
        "528 MiB",
        "https://download.pytorch.org/models/vgg16-397923af.pth",
        "397923af",
        "checkpoints",
    ),
    Item(
        "alexnet",
        "AlexNet on ImageNet, under LPIPS",
        "alexnet-owt-7be5be79.pth",
        "https://download.pytorch.org/models",
        _TORCHVISION,
        "233 MiB",
        "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
        "7be5be79",
        "checkpoints",
    ),
    Item(
        "clip",
        "CLIP ViT-B/32, for Figures 4 and 13",
        "ViT-B-32.pt",
        "https://github.com/openai/CLIP",
        "MIT",
        "about 338 MiB",
        f"https://openaipublic.azureedge.net/clip/models/{_OPENAI}/ViT-B-32.pt",
        _OPENAI,
        variable="DEMOE_CLIP",
        use="export DEMOE_CLIP={path}",
    ),
    _pyiqa(
        "musiq", "MUSIQ on KonIQ-10k, in pyiqa's form", "musiq_koniq_ckpt-e95806b9.pth", "about 104 MiB", "e95806b9"
    ),
    _pyiqa("niqe", "NIQE (also in PI)", "niqe_modelparameters.mat"),
    _pyiqa("nrqm", "NRQM, Ma's metric (also in PI)", "NRQM_model.mat"),
    _pyiqa("brisque", "BRISQUE", "brisque_svm_weights.pth"),
    _pyiqa("pieapp", "PieAPP 0.1", "PieAPPv0.1-0937b014.pth", sha256="0937b014"),
)


def get(name: str) -> Item:
    """The item of that name. Raises ``ValueError`` naming the choices."""
    for item in ITEMS:
        if item.name == name.lower():
            return item
    raise ValueError(f"unknown weights {name!r}: choose one of {', '.join(item.name for item in ITEMS)}")


def sha256(path: Path) -> str:
    """Of a file, 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def table(check: bool = False) -> str:
    """What there is, for a person to read; with ``check`` the sums of files that are here are computed and compared."""
    lines = []
    for item in ITEMS:
        place = item.find()
        lines += [
            f"{item.name}: {item.what}",
            f"  {item.file}, {item.size}; licence: {item.licence}",
            f"  from: {item.page}",
            f"  SHA-256: {_published(item)}",
        ]
        if place is None:
            how = "it comes with that package" if item.owner else f"demoe weights fetch {item.name}"
            lines.append(f"  not here: {how}" + ("" if item.url or item.owner else " --from FILE_OR_ADDRESS"))
        else:
            lines.append(f"  here: {place}" + (f" ({verdict(item, place)})" if check else ""))
        lines.append("")
    named = os.environ.get("DEMOE_WEIGHTS")
    if named and Path(named) != get("demoe").find():
        lines.append(
            f"$DEMOE_WEIGHTS, used where no --weights are given: {named}"
            + ("" if Path(named).is_file() else " (not there)")
        )
    return "\n".join(lines).rstrip()


def _published(item: Item) -> str:
    if not item.sha256:
        return "of each version its own" if item.owner.startswith("demoe:") else f"{UNKNOWN} (none is published)"
    return item.sha256 if len(item.sha256) == 64 else f"{item.sha256}... (the file's name has its beginning)"


def verdict(item: Item, path: Path) -> str:
    """In words, whether a file has the sum that is published."""
    found = sha256(path)
    if path.name != item.file:
        return f"another file than {item.file}: SHA-256 {found}"
    if not item.sha256:
        return f"SHA-256 {found}, with nothing to compare"
    return "SHA-256 as expected" if found.startswith(item.sha256) else f"DAMAGED: SHA-256 {found}"
