"""Where a result comes from: stamped on every table and figure, so that a number can be traced and a claim re-run."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import re
import subprocess
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from .files import project_root, results_dir

LIBRARIES = (
    "torch",
    "torchvision",
    "numpy",
    "scikit-image",
    "pytorch-msssim",
    "ptflops",
    "pandas",
    "matplotlib",
    "spandrel",
    "spandrel_extra_arches",
    "lpips",
    "pyiqa",
    "open_clip_torch",
    "timm",
)
SOURCES = ("lib", "notebooks", "pyproject.toml")  # what a result depends on; results themselves do not make it "dirty"


@dataclass(frozen=True)
class Stamp:
    """What every table and figure says about itself."""

    profile: str
    data: str  # "synthetic", "real" or "none" (a count, not a measurement)
    seed: int
    config: str = ""  # hash of the configuration behind the numbers, where there is one
    commit: str = ""
    hardware: str = ""

    def line(self) -> str:
        """One line for the foot of a figure or a caption."""
        parts = [f"profile {self.profile}", f"data {self.data}", f"seed {self.seed}", f"commit {self.commit}"]
        return " · ".join([*parts, f"config {self.config}"] if self.config else parts) + f" · {self.hardware}"

    def columns(self) -> dict[str, str | int]:
        """The part that goes into a CSV: it names no machine, and the same code and seed give the same."""
        return {"profile": self.profile, "data": self.data, "seed": self.seed, "commit": self.commit}


def stamp(profile: str, data: str, seed: int, config: str = "") -> Stamp:
    """A stamp completed with this checkout's commit and this machine's hardware."""
    return Stamp(profile, data, seed, config, commit(), hardware())


def config_hash(config: dict) -> str:
    """Eight hexadecimal digits that change when any value of ``config`` does."""
    return hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode()).hexdigest()[:8]


def run_folder(profile: str, name: str, seed: int, identity: dict) -> Path:
    """``results/<profile>/runs/<name>-s<seed>-<hash>``: the home of a result that depends on ``identity`` (its hash),
    which names its inputs, its numbers and its code (``code_hash``). Not created here."""
    return results_dir(profile) / "runs" / f"{name}-s{seed}-{config_hash(identity)}"


@lru_cache
def code_hash(*rooms: str, but: str | None = None) -> str:
    """Eight hexadecimal digits that change when the code of these rooms of the package (Python, C++), or a TOML file in
    them, does: nothing kept is stale. ``but`` is a file whose numbers the caller keeps itself, "core/profiles.toml"."""
    digest = hashlib.sha256()
    package = Path(__file__).parents[1]
    for room in rooms:
        for source in sorted((package / room).iterdir()):
            if source.suffix in (".py", ".cpp", ".h", ".toml") and source.relative_to(package).as_posix() != but:
                digest.update(source.read_bytes())
    return digest.hexdigest()[:8]


@lru_cache
def commit() -> str:
    """Short commit of the checkout, ``+`` appended when its sources differ from it; "unknown" outside a checkout."""
    if "DEMOE_COMMIT" in os.environ:  # where the sources travel without their history
        return os.environ["DEMOE_COMMIT"]
    try:
        head = _git("rev-parse", "--short=8", "HEAD")
        return head + ("+" if _git("status", "--porcelain", "--", *SOURCES) else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(project_root()), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()


@lru_cache
def hardware() -> str:
    """The GPU's name, or the processor's with the number of cores this process may use. Never a host name."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    cpuinfo = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.+)", cpuinfo.read_text()) if cpuinfo.exists() else []
    return f"{(names or [platform.machine()])[0]}, {cores()} cores"


def cores() -> int:
    """How many of the processor's cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that numbers depend on; "absent" for one not installed."""
    found = {"python": platform.python_version()}
    for library in LIBRARIES:
        try:
            found[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            found[library] = "absent"
    return found


def full(mark: Stamp) -> dict:
    """The stamp with versions, for the JSON file beside a table or in a checkpoint."""
    return mark.__dict__ | {"versions": versions()}
