"""A folder of numbered frames, or a video, deblurred frame by frame with the router's decision smoothed over time.

A router that decides for each frame alone may change its mind from frame to frame, which flickers. Here the experts are
chosen by the exponential average of its softmax. What was decided stands in ``demoe-frames.csv`` beside the results,
from which an interrupted call continues: with the same bytes as without the interruption.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from demoe.core import __version__, images
from demoe.core.files import Journal, alone, checksum, first_line, write_text
from demoe.core.formats import opened
from demoe.core.tasks import EXPERTS
from demoe.models.moe import normalised_entropy, top_k_weights
from demoe.models.outputs import experts_of

from . import photos, video

SMOOTH = 0.8  # our choice: half of an average comes from the last three frames, a tenth of a second of most video
JOURNAL, SETTINGS = "demoe-frames.csv", "demoe-frames.json"
HEAD = [
    "frame",
    "input_sha256",
    "expert",
    "normalised_entropy",
    *(f"router_{name}" for name in EXPERTS),
    *(f"smoothed_{name}" for name in EXPERTS),
    "warnings",
]


class Smoother:
    """Experts by the exponential average of the router's softmax: s times what was, 1 - s times what is.

    ``choose`` makes weights of a frame's logits, as often as it is called; ``advance`` makes that frame the past.
    """

    def __init__(self, smooth: float, k: int | None = 1):
        if not 0 <= smooth < 1:
            raise ValueError(f"smooth is at least 0 (each frame alone) and below 1, got {smooth}")
        self.smooth, self.k = smooth, k
        self.past: Tensor | None = None  # (1, N) float64
        self.now: Tensor | None = None

    def choose(self, logits: Tensor) -> Tensor:
        """Logits (1, N) -> weights (1, N)."""
        share = logits.detach().cpu().double().softmax(1)
        self.now = share if self.past is None else self.smooth * self.past + (1 - self.smooth) * share
        return top_k_weights(self.now, self.k).float().to(logits.device)

    def advance(self) -> None:
        """To the next frame."""
        self.past = self.now


@dataclass
class Done:
    """What a call did."""

    made: int = 0
    kept: int = 0  # frames that an earlier call had made
    failed: list[str] = field(default_factory=list)  # a sentence each
    experts: Counter = field(default_factory=Counter)  # frames of each expert
    switches: int = 0  # times the expert changed from one frame to the next
    alone: int = 0  # times it would have changed had each frame been decided alone
    warned: int = 0  # frames with warnings
    files: list[Path] = field(default_factory=list)  # the results, in order


def natural(name: str) -> list:
    """Sort key: digits by their value, so that frame2 comes before frame10."""
    parts = filter(None, re.split(r"(\d+)", name))
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part.casefold()) for part in parts]


def listed(folder: Path) -> list[Path]:
    """The image files of one folder in their natural order; subfolders and hidden files are left out.

    Raises ``ValueError`` if there are none or two would have results of one name.
    """
    found = sorted(
        (
            file
            for file in folder.iterdir()
            if file.is_file() and not file.name.startswith(".") and file.suffix.lower() in images.READABLE
        ),
        key=lambda file: natural(file.name),
    )
    if not found:
        raise ValueError(f"{folder} holds no frames: image files with numbered names are expected")
    results = [images.result_name(file, file).name for file in found]
    names = Counter(name.casefold() for name in results)
    for file, name in zip(found, results, strict=True):
        if names[name.casefold()] > 1:
            raise ValueError(f"{file} and another frame would both be written as {name}: rename one")
    return found


def check_sizes(source: Path) -> None:
    """Raises ``ValueError`` naming two frames of a folder whose sizes differ, and one that cannot be read: no video can
    be made of them. Reads the files' heads."""
    first: tuple[Path, tuple[int, int]] | None = None
    for file in listed(source):
        with opened(file) as picture:
            size = picture.size
        if first is None:
            first = file, size
        if size != first[1]:
            (width, height), (other_width, other_height) = first[1], size
            raise ValueError(
                f"{first[0]} and {file} are frames of different sizes, of which no video can be made: "
                f"{width}x{height} and {other_width}x{other_height}"
            )


def deblur_frames(
    source: Path,
    folder: Path,
    *,
    model: nn.Module,
    expert: str | None = None,
    k: int | None = 1,
    smooth: float = SMOOTH,
    max_memory: int | None = None,
    progress: bool = False,
    tell: Callable[[str], object] = lambda text: None,
) -> Done:
    """Deblurs the frames of ``source``, a folder or a video file, into ``folder``.

    Frames of a folder keep their names (HEIC becomes .png), those of a video are 000001.png, ... ``expert``, ``k`` and
    ``max_memory`` as in ``photos.deblur``; a fixed expert is not smoothed. A frame that cannot be read or restored is
    told and left out, and the average goes on without it. ``tell`` gets such sentences.

    Nothing is overwritten: results of an earlier call with the same settings and inputs are kept. Raises
    ``FileExistsError`` for a folder that holds other results, ``ValueError`` for no frames or bad numbers,
    ``video.NoReader`` for a video where PyAV is not installed.
    """
    source, folder = Path(source), Path(folder)
    Smoother(smooth, k)  # a bad number is told before anything is done
    is_folder = source.is_dir()
    if not source.exists():
        raise FileNotFoundError(2, "does not exist", str(source))
    if is_folder and folder.exists() and source.samefile(folder):
        raise FileExistsError(17, "is the folder of the frames themselves; choose another -o", str(folder))
    with alone(folder / ".demoe-frames.lock", f"another process writes to {folder}: wait for it", wait=False):
        return _deblur_frames(source, folder, is_folder, model, expert, k, smooth, max_memory, progress, tell)


def _deblur_frames(source, folder, is_folder, model, expert, k, smooth, max_memory, progress, tell) -> Done:
    smoother = Smoother(smooth, k)
    files = listed(source) if is_folder else []
    settings = {
        "demoe": __version__,
        "network": _fingerprint(model),
        "expert": expert,
        "k": k,
        "smooth": smooth,
        "video": None if is_folder else checksum(source),
    }
    journal = _open_journal(folder, settings, [images.result_name(file, file).name for file in files])
    rows = {row["frame"]: row for row in journal.rows}
    done, last, last_alone = Done(), None, None
    stream = _of_files(files) if is_folder else _of_video(source)
    total = len(files) or None
    for name, identity, read in tqdm(stream, total=total, unit="frame", leave=False, disable=not progress):
        target, row = folder / name, rows.get(name)
        if row and row["input_sha256"] != identity:
            raise FileExistsError(17, f"was made from another {name} than is there now; choose another -o", str(target))
        if row and target.exists():
            done.kept += 1
            if row["smoothed_" + EXPERTS[0]]:
                smoother.past = torch.tensor(
                    [[float(row[f"smoothed_{each}"]) for each in EXPERTS]], dtype=torch.float64
                )
        else:
            if target.exists():
                raise FileExistsError(
                    17, "exists already and is not in this folder's list; choose another -o", str(target)
                )
            smoothed = expert is None and experts_of(model) > 0
            try:
                result = photos.deblur(
                    read(), model=model, expert=smoother.choose if smoothed else expert, k=k, max_memory=max_memory
                )
                row = _row(name, identity, result, smoother.now if smoothed else None)
                if name not in rows:
                    journal.append([row])
                images.write_photograph(target, result.photograph)
            except (ValueError, RuntimeError, MemoryError) as error:
                done.failed.append(f"{name}: {first_line(error)}")
                tell(done.failed[-1])
                continue
            done.made += 1
            smoother.advance()
        done.files.append(target)
        done.warned += bool(row["warnings"])
        if row["expert"]:
            router = [float(row[f"router_{each}"]) for each in EXPERTS]
            alone = EXPERTS[router.index(max(router))]
            done.experts[row["expert"]] += 1
            done.switches += last not in (None, row["expert"])
            done.alone += last_alone not in (None, alone)
            last, last_alone = row["expert"], alone
    return done


def _of_files(files: list[Path]) -> Iterator[tuple[str, str, Callable]]:
    for file in files:
        yield images.result_name(file, file).name, checksum(file), lambda file=file: images.read_photograph(file)


def _of_video(source: Path) -> Iterator[tuple[str, str, Callable]]:
    for number, array in enumerate(video.frames(source), 1):
        yield f"{number:06d}.png", "", lambda array=array: images.from_array(array)


def _row(name: str, identity: str, result: photos.Deblurred, smoothed: Tensor | None) -> dict[str, str]:
    known = tuple(result.router) == EXPERTS
    router = [repr(result.router[each]) if known else "" for each in EXPERTS]
    average = [repr(value) for value in smoothed[0].tolist()] if smoothed is not None and known else [""] * len(EXPERTS)
    undecided = "" if not known else f"{normalised_entropy(list(result.router.values())).item():.6f}"
    said = "; ".join(result.warnings)
    return dict(
        zip(
            HEAD,
            [name, identity, result.expert if known and result.expert else "", undecided, *router, *average, said],
            strict=True,
        )
    )


def _open_journal(folder: Path, settings: dict, names: list[str]) -> Journal:
    """That of an earlier call with these settings; a new one otherwise."""
    place, rows = folder / SETTINGS, folder / JOURNAL
    if not place.exists():
        taken = next((name for name in [JOURNAL, *names] if (folder / name).exists()), None)
        if taken is None and not names and folder.is_dir() and any(folder.glob("*.png")):
            taken = next(folder.glob("*.png")).name
        if taken:
            raise FileExistsError(
                17, "exists already and was not made by demoe frames; choose another -o", str(folder / taken)
            )
        write_text(place, json.dumps(settings, indent=1) + "\n")
    try:
        found = json.loads(place.read_text())
    except ValueError:
        raise FileExistsError(17, "is damaged; choose another -o", str(place)) from None
    if found != settings:
        other = [key for key in settings if found.get(key) != settings[key]] if isinstance(found, dict) else ["all"]
        raise FileExistsError(17, f"holds frames made otherwise ({', '.join(other)}); choose another -o", str(folder))
    return Journal(rows, HEAD)


def _fingerprint(model: nn.Module) -> str:
    """SHA-256 of a network's weights."""
    digest = hashlib.sha256(repr(getattr(model, "config", type(model).__name__)).encode())
    for name, value in model.state_dict().items():
        digest.update(name.encode() + value.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()
