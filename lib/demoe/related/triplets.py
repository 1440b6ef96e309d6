"""Triplets for adapting features to blur: a sharp frame, a weak and a strong blur around it, from videos.

After "Task-adaptive Feature Matching Loss for Image Deblurring" (Chang et al.), Section 3, and its authors' code: a
window of a video ends where enough has moved, by optical flow. OpenCV finds it, an optional package.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from demoe.blur import sources, trajectories
from demoe.core import images
from demoe.core.files import replacing
from demoe.data.real.pairing import natural

CORNERS = {"maxCorners": 100, "qualityLevel": 0.3, "minDistance": 7, "blockSize": 7}  # Shi and Tomasi's
VIDEOS = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mts")
BLURRED = ("blur", "blur_gamma")  # folders of GoPro's pairs, whose frames are no sharp ones


class Triplet(NamedTuple):
    """A window of a video as three pictures, (H, W, 3) uint8 RGB: its centre, and means around it."""

    start: int  # frame of the window, counted from 0
    stop: int  # exclusive
    centre: int
    sharp: np.ndarray
    weak: np.ndarray
    strong: np.ndarray
    video: str = ""


def make_triplets(
    frames: Iterable[np.ndarray], min_shift: float = 25.0, min_frames: int = 15, video: str = ""
) -> list[Triplet]:
    """The triplets of a video's frames, (H, W, 3) uint8 RGB, from windows that follow each other.

    Corners of a window's first frame are followed from frame to frame, and those that are lost left out; a window ends
    where their mean displacements sum up to ``min_shift`` pixels and it has ``min_frames`` frames. What is left at the
    end, too short or not moving enough, is kept from ``min_frames`` frames on. A frame in which no corner is found
    again begins the next window (our choice: the authors' code stops there). Of a window's n frames, c = n // 2 is the
    sharp one; the weak blur is the mean of c - c // 2 to c + c // 2 - 1, the strong one that of all, of code values,
    halves rounded to even. Raises ``ValueError`` for frames of another kind, or of several sizes, and
    ``ModuleNotFoundError`` without OpenCV.
    """
    return list(_triplets(frames, min_shift, min_frames, video))


def _triplets(frames: Iterable[np.ndarray], min_shift: float, min_frames: int, video: str) -> Iterator[Triplet]:
    if min_frames < 2 or not min_shift >= 0:
        raise ValueError(f"a window has at least 2 frames and moves 0 pixels, not {min_frames} and {min_shift}")
    cv2, window, stop = _opencv(), [], 0  # the frames of one window alone are in memory
    gray, corners, shift = None, None, 0.0  # of the frame before, of the window
    for stop, frame in enumerate(frames):
        _check(frame, window, video or "the video", stop)
        previous, gray = gray, cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        if window:
            corners, moved = _followed(cv2, previous, gray, corners)
            shift += moved
        if window and not len(corners):
            yield from _made(window, stop, min_frames, video)
            window = []
        if not window:
            shift, corners = 0.0, cv2.goodFeaturesToTrack(gray, **CORNERS)  # (n, 1, 2) float32, or None
        window.append(frame)
        if shift >= min_shift and len(window) >= min_frames:
            yield from _made(window, stop + 1, min_frames, video)
            window = []
    yield from _made(window, stop + 1, min_frames, video)


def _opencv() -> ModuleType:
    try:
        import cv2
    except ImportError as error:  # also where a library that it needs is missing
        message = f"triplets are found with OpenCV: pip install 'demoe[align]' ({error})"
        raise ModuleNotFoundError(message, name="cv2") from None
    return cv2


def _check(frame: np.ndarray, window: list[np.ndarray], video: str, number: int) -> None:
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
        raise ValueError(f"frame {number} of {video} is {frame.dtype} {frame.shape}, not (H, W, 3) uint8")
    if window and frame.shape != window[0].shape:
        raise ValueError(f"frame {number} of {video} is {frame.shape[1]}x{frame.shape[0]}, the one before it is not")


def _followed(
    cv2: ModuleType, before: np.ndarray, after: np.ndarray, corners: np.ndarray | None
) -> tuple[np.ndarray, float]:
    """Corners (n, 1, 2) where they are found in the next gray frame, and how far they moved on average, pixels."""
    if corners is None:
        return np.empty((0, 1, 2), np.float32), 0.0
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 10, 0.03)
    options = {"winSize": (15, 15), "maxLevel": 2, "criteria": criteria}
    found, status, _ = cv2.calcOpticalFlowPyrLK(before, after, corners, None, **options)
    seen = status[:, 0] == 1
    steps = np.linalg.norm(found[seen] - corners[seen], axis=-1)
    return found[seen], float(steps.mean()) if seen.any() else 0.0


def _made(window: list[np.ndarray], stop: int, min_frames: int, video: str) -> Iterator[Triplet]:
    """The triplet of a window, or nothing where it is too short."""
    count = len(window)
    if count < min_frames:
        return
    centre, half = count // 2, count // 4
    weak = _mean(window[centre - half : centre + half])
    yield Triplet(stop - count, stop, stop - count + centre, window[centre], weak, _mean(window), video)


def _mean(frames: list[np.ndarray]) -> np.ndarray:
    total = np.zeros(frames[0].shape, np.uint32)
    for frame in frames:
        total += frame
    return np.rint(total / len(frames)).astype(np.uint8)


def read_frames(source: Path) -> Iterator[np.ndarray]:
    """The frames, (H, W, 3) uint8 RGB, of a folder of pictures, by their numbers, or of a video file.

    Raises ``ValueError``, one sentence, where there are none.
    """
    if source.is_dir():
        files = _pictures(source)
        for file in files:
            pixels = images.read_photograph(file).pixels  # (3, H, W)
            yield (pixels * 255).round().byte().permute(1, 2, 0).numpy()
        if not files:
            raise ValueError(f"{source} holds no frames: pictures with numbered names are expected")
        return
    file, found = _opencv().VideoCapture(str(source)), False
    while (answer := file.read())[0]:
        found = True
        yield np.ascontiguousarray(answer[1][..., ::-1])  # OpenCV's are BGR
    file.release()
    if not found:
        raise ValueError(f"{source} is not there, damaged, or no video file: no frame can be read")


def _pictures(folder: Path) -> list[Path]:
    """Pictures directly in a folder; 10.png comes after 9.png."""
    files = [file for file in folder.iterdir() if file.suffix.lower() in images.READABLE and file.is_file()]
    files = [file for file in files if not file.name.startswith(".")]
    return sorted(files, key=lambda file: natural(file.name))


def videos_in(source: Path) -> dict[str, Path]:
    """The videos of a file, of a folder of frames, or of a folder of such, by their names; each for ``read_frames``.

    GoPro's raw videos are ``GOPRO_Large_all/train``. Folders of blurred pictures (``BLURRED``) are left out. Raises
    ``ValueError`` where there is nothing.
    """
    if source.is_file():
        return {source.stem: source}
    found = {}
    for path in sorted((source, *source.rglob("*"))) if source.is_dir() else ():
        inside = path.relative_to(source)
        if set(inside.parts) & set(BLURRED) or any(part.startswith(".") for part in inside.parts):
            continue
        if path.suffix.lower() in VIDEOS and path.is_file():
            found[inside.with_suffix("").as_posix()] = path
        elif path.is_dir() and _pictures(path):
            found[inside.as_posix() if path != source else source.name] = path
    if not found:
        raise ValueError(f"{source} holds neither videos nor folders of frames")
    return found


def triplets_of(source: Path, keep: Path | None = None, min_shift: float = 25.0, min_frames: int = 15) -> list[Triplet]:
    """The triplets of all videos in a file or folder (``videos_in``).

    ``keep``: a folder into which they are written one by one, to be read from there while they are used
    (``kept_triplets``): those of GoPro's raw videos are 9 GB. Raises ``ValueError`` where there are none, and for a
    folder that holds some: they may be others.
    """
    if keep is not None and next(keep.rglob("*.npy"), None):
        raise ValueError(f"{keep} holds triplets already: kept_triplets reads them, else name another folder")
    found = []
    for name, path in videos_in(Path(source)).items():
        for one in _triplets(read_frames(path), min_shift, min_frames, name):
            if keep is None:
                found.append(one)
                continue
            with replacing(keep / name / f"{one.start:06d}-{one.stop:06d}.npy") as partial, open(partial, "wb") as file:
                np.save(file, np.stack(one[3:6]))
    found = found if keep is None else kept_triplets(keep)
    if not found:
        raise ValueError(
            f"{source} gives no triplets: of no video do {min_frames} frames in a row have corners to follow"
        )
    return found


def kept_triplets(folder: Path) -> list[Triplet]:
    """What ``triplets_of`` has written into a folder, not read before it is looked at."""
    found = []
    for file in sorted(folder.rglob("*.npy")):
        start, stop = (int(part) for part in file.stem.split("-"))
        pictures = np.load(file, mmap_mode="r")  # (3, H, W, 3)
        found.append(Triplet(start, stop, (start + stop) // 2, *pictures, file.parent.relative_to(folder).as_posix()))
    return found


def synthetic_video(photograph: Tensor, path: np.ndarray, size: int) -> list[np.ndarray]:
    """A photograph, (3, H, W) in [0, 1], under a camera's path, (N, 3): N frames (size, size, 3) uint8 of its middle.

    In a frame the photograph is moved by x and y pixels and turned by the roll, radians, about its middle; what lies
    beyond its border is mirrored.
    """
    height, width = photograph.shape[1:]
    steps = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    v, u = torch.meshgrid(steps, steps, indexing="ij")  # (size, size), from the middle
    frames = []
    for x, y, roll in path.tolist():
        cos, sin = np.cos(roll), np.sin(roll)
        across, down = cos * (u - x) + sin * (v - y), cos * (v - y) - sin * (u - x)
        grid = torch.stack((across * 2 / width, down * 2 / height), -1)[None].float()  # (1, size, size, 2)
        seen = F.grid_sample(photograph[None], grid, "bicubic", "reflection", align_corners=False)
        frames.append((seen[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy())
    return frames


def synthetic_triplets(
    videos: int = 12, frames: int = 96, size: int = 256, split: str = "train", seed: int = 0
) -> list[Triplet]:
    """Triplets of videos that are made here: bundled photographs under random camera paths of ``blur``.

    A path covers 40 to 80 pixels and up to 3 degrees of roll; our choice, with which windows have some 15 frames.
    """
    found = []
    for number in range(videos):
        rng = np.random.default_rng((seed, number))
        extent = rng.uniform(40, 80)
        path = trajectories.sample(rng, extent, roll_degrees=rng.uniform(0, 3), points=frames)
        side = size + 2 * int(extent + 8)
        photograph, name = sources.sharp_canvas(rng, split, side, side, dead_leaves=0)
        found += make_triplets(synthetic_video(photograph, path, size), video=f"{name}-{number}")
    return found
