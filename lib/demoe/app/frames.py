"""A folder of numbered frames, or a video, deblurred frame by frame with the router's decision smoothed over time.

A router that decides for each frame alone may change its mind from frame to frame, which flickers. Here the experts are
chosen by the exponential average of its softmax. What was decided stands in ``demoe-frames.csv`` beside the results,
from which an interrupted call continues: with the same bytes as without the interruption.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from demoe.core import __version__, images
from demoe.core.files import Journal, alone, checksum, first_line, write_text
from demoe.core.formats import opened
from demoe.core.tasks import EXPERTS
from demoe.data.real.pairing import natural
from demoe.inference.guard import NOTHING, RULES, Before
from demoe.models.moe import normalised_entropy
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
    "smoothed",  # the same as JSON, where a network has other experts than these five
    "bright",
    "unsure",
    "guarded",
    "warnings",
]


class Smoother:
    """The router's shares, averaged exponentially: s times what was, 1 - s times what is.

    ``shares`` makes them of a frame's logits, as often as it is called, until what is ``now`` is made the ``past``.
    """

    def __init__(self, smooth: float):
        if not 0 <= smooth < 1:
            raise ValueError(f"smooth is at least 0 (each frame alone) and below 1, got {smooth}")
        self.smooth = smooth
        self.past: Tensor | None = None  # (1, N) float64
        self.now: Tensor | None = None

    def shares(self, logits: Tensor) -> Tensor:
        """Logits (1, N) -> shares (1, N)."""
        share = logits.detach().cpu().double().softmax(1)
        self.now = share if self.past is None else self.smooth * self.past + (1 - self.smooth) * share
        return self.now.float().to(logits.device)


@dataclass
class Done:
    """What a call did."""

    made: int = 0
    kept: int = 0  # frames that an earlier call had made
    failed: list[str] = field(default_factory=list)  # a sentence each
    experts: Counter = field(default_factory=Counter)  # frames of each expert
    switches: int = 0  # times the expert changed from one frame to the next
    alone: int = 0  # times it would have changed had each frame been decided alone
    guarded: Counter = field(default_factory=Counter)  # frames whose router was not followed, by the reason
    warned: int = 0  # frames with warnings
    notes: Counter = field(default_factory=Counter)  # frames of which a person should be told this, of those made
    files: list[Path] = field(default_factory=list)  # the results, in order


def listed(folder: Path) -> dict[str, Path]:
    """The image files of one folder by the names of their results, in their natural order; subfolders and hidden files
    are left out.

    Raises ``ValueError`` if there are none or two would have results of one name.
    """
    files: dict[str, Path] = {}
    taken: set[str] = set()  # lower case: some file systems do not tell A.jpg from a.jpg
    for file in sorted(folder.iterdir(), key=lambda file: natural(file.name)):
        if not file.is_file() or file.name.startswith(".") or file.suffix.lower() not in images.READABLE:
            continue
        name = images.result_name(file, file).name
        if name.casefold() in taken:
            raise ValueError(f"{file} and another frame would both be written as {name}: rename one")
        taken.add(name.casefold())
        files[name] = file
    if not files:
        raise ValueError(f"{folder} holds no frames: image files with numbered names are expected")
    return files


def check_sizes(source: Path) -> None:
    """Raises ``ValueError`` naming two frames of a folder whose sizes differ, and one that cannot be read: no video can
    be made of them. Decodes no pixels."""
    sizes: dict[tuple[int, int], Path] = {}  # (width, height): the first frame that has it
    for file in listed(source).values():
        with opened(file) as picture:
            sizes.setdefault(picture.size, file)
        if len(sizes) > 1:
            (first, other), words = sizes.values(), " and ".join(f"{width}x{height}" for width, height in sizes)
            raise ValueError(
                f"{first} and {other} are frames of different sizes, of which no video can be made: {words}"
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
    guard: bool = True,
    overwrite: bool = False,
    progress: bool = False,
    tell: Callable[[str], object] = lambda text: None,
) -> Done:
    """Deblurs the frames of ``source``, a folder or a video file, into ``folder``.

    Frames of a folder keep their names (HEIC becomes .png), those of a video are 000001.png, ... ``expert``, ``k`` and
    ``max_memory`` and ``guard`` as in ``photos.deblur``; a fixed expert is not smoothed, and what was bright stays so
    for the guard until it is clearly darker. A frame that cannot be read or restored is
    reported and left out, and the average goes on without it. ``tell`` gets such sentences.

    Nothing is overwritten: results of an earlier call with the same settings and inputs are kept. With ``overwrite``
    those of any earlier call are removed first, and files in the way are replaced. Raises ``FileExistsError`` for a
    folder that holds other results, ``ValueError`` for no frames or bad numbers, ``video.NoReader`` for a video where
    PyAV is not installed.
    """
    source, folder = Path(source), Path(folder)
    Smoother(smooth)  # a bad number is refused before anything is done
    if not source.exists():
        raise FileNotFoundError(2, "does not exist", str(source))
    if source.is_dir() and folder.exists() and source.samefile(folder):
        raise FileExistsError(17, "is the folder of the frames themselves; choose another -o", str(folder))
    if overwrite:  # earlier results are removed only if there is something to take their place
        listed(source) if source.is_dir() else next(iter(_of_video(source)), None)
    with alone(folder / ".demoe-frames.lock", f"another process writes to {folder}: wait for it", wait=False):
        if overwrite:
            _forget(folder)
        return _deblur_frames(source, folder, model, expert, k, smooth, max_memory, guard, overwrite, progress, tell)


def _forget(folder: Path) -> None:
    """Removes the frames that an earlier call lists, and its lists."""
    if (folder / JOURNAL).is_file():
        for row in Journal(folder / JOURNAL, HEAD).rows:
            if Path(row["frame"]).name == row["frame"]:
                (folder / row["frame"]).unlink(missing_ok=True)
    for name in (JOURNAL, SETTINGS):
        (folder / name).unlink(missing_ok=True)


def _deblur_frames(source, folder, model, expert, k, smooth, max_memory, guard, overwrite, progress, tell) -> Done:
    smoother = Smoother(smooth)
    files = listed(source) if source.is_dir() else {}
    settings = {
        "demoe": __version__,
        "network": _fingerprint(model),
        "expert": expert,
        "k": k,
        "smooth": smooth,
        "guard": RULES if guard else None,
        "video": None if source.is_dir() else checksum(source),
    }
    journal = _open_journal(folder, settings, [*files], overwrite)
    rows = {row["frame"]: row for row in journal.rows}
    done, last, last_alone, before = Done(), None, None, NOTHING
    stream = _of_files(files) if source.is_dir() else _of_video(source)
    for name, identity, read in tqdm(stream, total=len(files) or None, unit="frame", leave=False, disable=not progress):
        target, row = folder / name, rows.get(name)
        if row and row["input_sha256"] != identity:
            raise FileExistsError(17, f"was made from another {name} than is there now; choose another -o", str(target))
        if row and target.exists():
            done.kept += 1
            if past := json.loads(row["smoothed"] or "null") or _of_experts(row, "smoothed"):
                smoother.past = torch.tensor([past], dtype=torch.float64)
        elif target.exists() and not overwrite:
            raise FileExistsError(17, "exists already and is not in this folder's list; choose another -o", str(target))
        else:
            smoothed = expert is None and experts_of(model) > 0
            ways = {"expert": expert, "k": k, "max_memory": max_memory, "guard": guard, "before": before}
            ways |= {"shares": smoother.shares} if smoothed else {}
            try:
                result = photos.deblur(read(), model=model, **ways)
                row = _row(name, identity, result, smoother if smoothed else None)
                if name not in rows:
                    journal.append([row])
                images.write_photograph(target, result.photograph)
            except (ValueError, RuntimeError, MemoryError) as error:
                done.failed.append(f"{name}: {first_line(error)}")
                tell(done.failed[-1])
                continue
            done.made += 1
            done.notes.update([result.note] * bool(result.note))
            smoother.past = smoother.now
        before = Before(row["bright"] == "yes", row["unsure"] == "yes")
        done.guarded.update([row["guarded"]] * bool(row["guarded"]))
        done.files.append(target)
        done.warned += bool(row["warnings"])
        if row["expert"]:
            router = _of_experts(row, "router")
            alone = EXPERTS[router.index(max(router))]
            done.experts[row["expert"]] += 1
            done.switches += last not in (None, row["expert"])
            done.alone += last_alone not in (None, alone)
            last, last_alone = row["expert"], alone
    return done


def _of_files(files: dict[str, Path]) -> Iterator[tuple[str, str, Callable]]:
    for name, file in files.items():
        yield name, checksum(file), partial(images.read_photograph, file)


def _of_video(source: Path) -> Iterator[tuple[str, str, Callable]]:
    for number, array in enumerate(video.frames(source), 1):
        yield f"{number:06d}.png", "", partial(_of_frame, number, array)


def _of_frame(number: int, array: np.ndarray | None) -> images.Photograph:
    if array is None:
        raise ValueError(f"the video's frame {number} is damaged")
    return images.from_array(array)


def _of_experts(row: Mapping[str, str], kind: str) -> list[float]:
    """Of a row, by the order of EXPERTS; [] where it has none."""
    return [float(row[f"{kind}_{name}"]) for name in EXPERTS if row[f"{kind}_{name}"]]


def _row(name: str, identity: str, result: photos.Deblurred, smoother: Smoother | None) -> dict[str, str]:
    row = dict.fromkeys(HEAD, "")
    row |= {"frame": name, "input_sha256": identity, "warnings": "; ".join(result.warnings)}
    said = {True: "yes", False: "no", None: ""}
    row |= {"bright": said[result.bright], "unsure": said[result.unsure], "guarded": result.guarded or ""}
    if tuple(result.router) == EXPERTS:  # else there are no columns for its experts
        row |= {f"router_{name}": repr(share) for name, share in result.router.items()}
        entropy = normalised_entropy(list(result.router.values())).item()
        row |= {"expert": result.expert or "", "normalised_entropy": f"{entropy:.6f}"}
        if smoother is not None:
            shares = zip(EXPERTS, smoother.now[0].tolist(), strict=True)
            row |= {f"smoothed_{name}": repr(share) for name, share in shares}
    elif smoother is not None:
        row["smoothed"] = json.dumps(smoother.now[0].tolist())
    return row


def _open_journal(folder: Path, settings: dict, names: list[str], overwrite: bool) -> Journal:
    """That of an earlier call with these settings; a new one otherwise. ``names`` of results: none for a video."""
    file = folder / SETTINGS
    if not file.exists():
        for name in (JOURNAL, *(names or [picture.name for picture in folder.glob("*.png")])):
            if (folder / name).exists() and not overwrite:
                problem = "exists already and was not made by demoe frames; use --overwrite or another -o"
                raise FileExistsError(17, problem, str(folder / name))
        write_text(file, json.dumps(settings, indent=1) + "\n")
    try:
        earlier = json.loads(file.read_text())
    except ValueError:
        raise FileExistsError(17, "is damaged; use --overwrite or another -o", str(file)) from None
    if earlier != settings:
        known = isinstance(earlier, dict)
        other = [key for key in settings if earlier.get(key) != settings[key]] if known else ["all"]
        raise FileExistsError(
            17, f"holds frames made otherwise ({', '.join(other)}); use --overwrite or another -o", str(folder)
        )
    return Journal(folder / JOURNAL, HEAD)


def _fingerprint(model: nn.Module) -> str:
    """SHA-256 of a network's weights."""
    digest = hashlib.sha256(repr(getattr(model, "config", type(model).__name__)).encode())
    for name, value in model.state_dict().items():
        digest.update(name.encode() + value.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()
