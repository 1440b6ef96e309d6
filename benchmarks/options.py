"""What is measured, how often, and on what."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import torch

from demoe.core.files import results_dir
from demoe.core.precision import native_bfloat16
from demoe.inference.allocator import raise_thresholds
from demoe.models.demoe import DeMoEConfig
from demoe.models.nafnet import NAFNetConfig

GROUP = "bench"  # the folder below results/ and figures/
ALLOCATORS = {"raised": "T", "default": "D"}  # the C library's thresholds, and the letter that tables give them
GPU_WARM_UP = 6  # rounds: compilers and graphs set in when a size has come a few times


@dataclass(frozen=True)
class Case:
    """Pictures to restore. ``mixed``: the experts take turns over the batch, by hand."""

    name: str
    batch: int
    height: int  # pixels
    width: int  # pixels
    mixed: bool = False
    ks: tuple[int, ...] = (1,)  # how many experts are mixed
    nafnet: str = ""  # the baseline beside DeMoE: "optimized" alone, or "all" its sides
    gpu_only: bool = False

    @property
    def megapixels(self) -> float:
        return self.batch * self.height * self.width / 1e6

    @property
    def columns(self) -> dict[str, str | int]:
        """Its part of a table's row."""
        return {"case": self.name, "batch": self.batch, "height": self.height, "width": self.width}


CASES = (
    Case("256x256", 1, 256, 256, ks=(1, 2, 3, 4, 5), nafnet="all"),
    Case("8x256x256 mixed", 8, 256, 256, mixed=True),
    Case("8x256x256", 8, 256, 256, gpu_only=True),
    Case("16x256x256", 16, 256, 256, gpu_only=True),
    Case("1280x720", 1, 720, 1280, nafnet="optimized"),
)
LARGE = Case("12 MP", 1, 3000, 4000)
GROWTH = (Case("128x128", 1, 128, 128), Case("512x512", 1, 512, 512))
PATCHES = (128, 192, 384)  # training crops, pixels; 384: paper
EXPERT_COUNTS = (5, 10, 20)


@dataclass(frozen=True)
class Options:
    """One measurement's settings; ``--full`` and tests change them."""

    device: str = "cpu"
    allocator: str = "raised"
    threads: int = 0  # 0: as PyTorch chooses
    width: int = 32  # channels; paper: 32
    rounds: int = 9
    seconds: float = 75  # after which a case begins no new round
    full: bool = False
    peers: bool = True  # ONNX Runtime and OpenVINO beside, where they are installed
    progress: bool = True
    cases: tuple[Case, ...] = CASES
    growth: tuple[Case, ...] = GROWTH
    large: Case = LARGE
    patches: tuple[int, ...] = (128,)
    batch: int = 4  # crops of a training step
    experts: tuple[int, ...] = EXPERT_COUNTS

    @property
    def gpu(self) -> bool:
        return torch.device(self.device).type == "cuda"

    @property
    def demoe(self) -> DeMoEConfig:
        return DeMoEConfig(width=self.width)

    def nafnet(self, router: bool = False) -> NAFNetConfig:
        """The baseline; with its router, as the first stage trains it."""
        return NAFNetConfig(width=self.width, router=router)

    @property
    def clock(self) -> dict:
        """Settings of ``timing.interleaved`` that all measurements share."""
        return {"warm_up": GPU_WARM_UP if self.gpu else 1, "progress": self.progress}

    @property
    def folder(self) -> Path:
        """``results/bench/cpu`` or, of a GPU, ``results/bench/<its name>``; ``cpu-avx2`` where that is all that PyTorch
        may use. Not created here."""
        limit = os.environ.get("ATEN_CPU_CAPABILITY")  # to fewer instructions than the processor has
        cpu = f"{self.device} {limit}" if limit else self.device
        name = torch.cuda.get_device_name(self.device) if self.gpu else cpu
        return results_dir(GROUP) / re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def prepare(options: Options) -> None:
    """This process as the options want it: threads, allocator. To be called before anything is allocated."""
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.device == "cpu" and options.allocator == "raised":
        raise_thresholds()


def has_bfloat16(device: str) -> bool:
    """Whether bfloat16 is a gain there: any GPU of today, processors with instructions for it."""
    if torch.device(device).type == "cuda":
        return True
    return native_bfloat16(device)
