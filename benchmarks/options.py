"""What is measured, how often, and on what."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch

from demoe.inference.allocator import raise_thresholds
from demoe.models.demoe import DeMoEConfig
from demoe.models.nafnet import NAFNetConfig

ALLOCATORS = {"raised": "T", "default": "D"}  # the C library's thresholds, and the letter that tables give them


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
TRAINING_BATCH = 4
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
    progress: bool = True
    cases: tuple[Case, ...] = CASES
    growth: tuple[Case, ...] = GROWTH
    large: Case = LARGE
    patches: tuple[int, ...] = (128,)
    experts: tuple[int, ...] = EXPERT_COUNTS

    @property
    def demoe(self) -> DeMoEConfig:
        return DeMoEConfig(width=self.width)

    @property
    def nafnet(self) -> NAFNetConfig:
        return NAFNetConfig(width=self.width)

    @property
    def baseline(self) -> NAFNetConfig:
        """With the router, as the first stage trains it."""
        return NAFNetConfig(width=self.width, router=True)

    def as_dict(self) -> dict:
        """Plain values, for another process; ``from_dict`` reads them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> Options:
        def case(given: dict) -> Case:
            return Case(**given | {"ks": tuple(given["ks"])})

        several = {key: tuple(case(one) for one in values[key]) for key in ("cases", "growth")}
        numbers = {key: tuple(values[key]) for key in ("patches", "experts")}
        return cls(**(values | several | numbers | {"large": case(values["large"])}))


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
    capable = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capable.get("avx512_bf16") or capable.get("amx_bf16") or capable.get("bf16"))
