"""What is seen of a training while it goes on: held-out pairs scored and drawn, the best state kept, curves."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from tqdm.auto import tqdm

from demoe.core.files import replacing, write_text
from demoe.data.pairs import PairedSet
from demoe.evaluation.metrics import psnr, ssim
from demoe.models import checkpoints
from demoe.models.outputs import as_restored

SCORES = "validation.csv"
BEST = "best.safetensors"
SAMPLES = "samples"  # folder: a folder a pair, a picture a look
CURVES = "tensorboard"
COLUMNS = ("steps", "pair", "psnr", "ssim", "psnr_blurred", "ssim_blurred")
GAP = 4  # white pixels between the pictures of a sample


@dataclass
class Scores:
    """PSNR (dB) and SSIM of held-out pairs after so many steps, and those of their blurred pictures."""

    rows: list[dict[str, str]] = field(default_factory=list)  # as in the file

    @classmethod
    def of(cls, file: Path) -> Scores:
        """Those in ``file``; none where there is no file."""
        if not file.is_file():
            return cls()
        with file.open(encoding="utf-8", newline="") as stream:
            return cls(list(csv.DictReader(stream)))

    def add(self, steps: int, rows: list[dict[str, str]]) -> None:
        """Puts in the rows of a look, in place of an earlier look after as many steps."""
        self.rows = [row for row in self.rows if int(row["steps"]) != steps] + rows
        self.rows.sort(key=lambda row: int(row["steps"]))

    def text(self) -> str:
        """The file, for people and programs."""
        stream = io.StringIO()
        table = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(self.rows)
        return stream.getvalue()

    def steps(self) -> list[int]:
        """After how many steps the pairs were looked at."""
        return sorted({int(row["steps"]) for row in self.rows})

    def mean(self, column: str, steps: int) -> float:
        """The mean of ``column`` over the pairs, after so many steps."""
        return fmean(float(row[column]) for row in self.rows if int(row["steps"]) == steps)

    def best(self) -> int:
        """After how many steps the mean PSNR is highest; of equals the first."""
        return max(self.steps(), key=lambda steps: (self.mean("psnr", steps), -steps))

    def line(self, steps: int) -> str:
        """A look in words."""
        mean = {column: self.mean(column, steps) for column in COLUMNS[2:]}
        return (
            f"{mean['psnr']:.2f} dB / {mean['ssim']:.4f} "
            f"(blurred {mean['psnr_blurred']:.2f} dB / {mean['ssim_blurred']:.4f})"
        )


@dataclass
class Watcher:
    """``watcher(steps, model)`` scores the held-out ``pairs``, keeps pictures of some, and the state if it is the best.

    The scores are those of the middle of each pair, ``side`` pixels a side at most, as ``demoe deblur`` would restore
    it: by ``expert``, else by the router's first choice. ``record`` goes into the file of the best state.
    """

    folder: Path
    pairs: PairedSet
    side: int
    samples: int
    expert: str | None
    record: dict
    curves: Curves | None = None
    progress: bool = True

    def __call__(self, steps: int, model: nn.Module) -> None:
        scores, rows = Scores.of(self.folder / SCORES), []
        choice = {} if self.expert is None else {"expert": self.expert}
        device = next(model.parameters()).device
        for i, key in enumerate(self.pairs.keys):
            blurred, sharp = (side.unsqueeze(0).to(device) for side in _middle(self.pairs, i, self.side))
            with torch.no_grad():
                restored = as_restored(model(blurred, **choice)).image.float().clamp(0, 1)  # (1, 3, H, W)
            values = [*_scores(restored, sharp), *_scores(blurred, sharp)]
            rows.append(dict(zip(COLUMNS, [str(steps), key, *values], strict=True)))
            if i < self.samples:
                sheet = _side_by_side([blurred, restored, sharp])
                _write_png(sheet, self.folder / SAMPLES / key / f"{steps:07d}.png")
                if self.curves is not None:
                    self.curves.picture(key, sheet, steps)
        scores.add(steps, rows)
        if self.curves is not None:
            self.curves.values({f"validation/{name}": scores.mean(name, steps) for name in COLUMNS[2:]}, steps)
        best = scores.best() == steps
        if best:  # before its row, which says that it is there
            checkpoints.save(model, self.folder / BEST, {**self.record, "steps": steps})
        write_text(self.folder / SCORES, scores.text())
        if self.progress:
            tqdm.write(f"after {steps} steps: {scores.line(steps)}{', the best so far' if best else ''}")


def _middle(pairs: PairedSet, i: int, side: int) -> tuple[Tensor, Tensor]:
    height, width = pairs.size(i)
    sides = min(height, side), min(width, side)
    blurred, sharp = pairs.read(i, ((height - sides[0]) // 2, (width - sides[1]) // 2, *sides))
    return blurred.float() / pairs.peak, sharp.float() / pairs.peak


def _scores(image: Tensor, sharp: Tensor) -> tuple[str, str]:
    return f"{psnr(image, sharp).item():.4f}", f"{ssim(image, sharp).item():.6f}"


def _side_by_side(pictures: list[Tensor]) -> Tensor:
    """(1, 3, H, W) each, as one (3, H, W') with white between them."""
    padded = [F.pad(picture[0].cpu(), (0, GAP), value=1.0) for picture in pictures]
    return torch.cat(padded, 2)[:, :, :-GAP]


def _write_png(picture: Tensor, file: Path) -> None:
    samples = (picture * 255).round().byte().permute(1, 2, 0).numpy()
    with replacing(file) as partial:
        Image.fromarray(np.ascontiguousarray(samples)).save(partial, "PNG")


class Curves:
    """Numbers and pictures for TensorBoard, in ``folder``, from ``first_step`` on; what was there beyond it is dropped.

    Raises ``ModuleNotFoundError`` where TensorBoard is not installed.
    """

    def __init__(self, folder: Path, first_step: int):
        self.writer = summary_writer()(str(folder), purge_step=first_step or None)

    def logged(self, line: dict) -> None:
        """A line of the training's log."""
        self.values({f"training/{name}": line[name] for name in line if name != "step"}, line["step"] + 1)

    def values(self, values: dict[str, float], steps: int) -> None:
        """Numbers by name, after so many steps."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, steps)

    def picture(self, name: str, picture: Tensor, steps: int) -> None:
        """(3, H, W) in [0, 1]."""
        self.writer.add_image(name, picture, steps)


def summary_writer() -> Callable:
    """TensorBoard's, where it is installed; else raises ``ModuleNotFoundError`` with what to do."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError:
        raise ModuleNotFoundError("TensorBoard is not installed: pip install 'demoe[training]'") from None
    return SummaryWriter
