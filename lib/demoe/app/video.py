"""Video files as frames and back: through PyAV where it is installed, else through ffmpeg on the PATH."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from demoe.core.files import replacing

SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".mts")
# What frames are written as: containers that hold H.264, by suffix.
CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".avi": "avi"}
QUALITY = "16"  # of x264, whose scale runs from 0 (nothing lost) to 51; 18 is taken for not visible


class NoReader(RuntimeError):
    """Neither PyAV nor ffmpeg is there."""


def tool() -> str:
    """ "av" or "ffmpeg". Raises ``NoReader`` with what to do if there is neither."""
    if importlib.util.find_spec("av"):
        return "av"
    if shutil.which("ffmpeg") and shutil.which("ffprobe"):
        return "ffmpeg"
    raise NoReader(
        "video files need PyAV (pip install 'demoe[video]') or ffmpeg and ffprobe on the PATH; without them "
        "give a folder of numbered frames"
    )


def frames(path: Path) -> Iterator[np.ndarray]:
    """The frames of a video's first picture stream, upright, (H, W, 3) uint8 RGB, in the order they are shown.

    Deeper video is rounded to 8 bits. Raises ``ValueError`` for a file that holds none or is damaged, ``NoReader``.
    """
    found = 0
    for frame in _av_frames(path) if tool() == "av" else _ffmpeg_frames(path):
        found += 1
        yield frame
    if not found:
        raise ValueError(f"{path} holds no video frames that can be read")


def rate(path: Path) -> Fraction:
    """Frames a second, the average; 25 where the file does not say."""
    if tool() == "av":
        import av

        try:
            with av.open(str(path)) as file:
                return Fraction(file.streams.video[0].average_rate or 25)
        except (av.error.FFmpegError, IndexError) as error:
            raise ValueError(f"{path} is no video file that can be read") from error
    words = [
        "ffprobe",
        "-v",
        "error",
        "-select_streams",
        "v:0",
        "-show_entries",
        "stream=avg_frame_rate",
        "-of",
        "csv=p=0",
        _safe(path),
    ]
    said = subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip().rstrip(",")
    try:
        return Fraction(said) or Fraction(25)
    except (ValueError, ZeroDivisionError):
        return Fraction(25)


def write(path: Path, pictures: Iterable[np.ndarray], rate: Fraction) -> bool:
    """(H, W, 3) uint8 RGB frames of one size as a video without sound, whole or not at all; odd sides get one pixel.

    H.264 where the encoder is there, else MPEG-4. Returns whether a side was odd. Raises ``FileExistsError``,
    ``ValueError`` for a suffix not in ``CONTAINERS``, no frames, frames of different sizes and encoders' refusals,
    ``NoReader``.
    """
    container = CONTAINERS.get(path.suffix.lower())
    if container is None:
        raise ValueError(f"{path}: videos are written as one of {', '.join(CONTAINERS)}")
    if path.exists():
        raise FileExistsError(17, "exists already; choose another name", str(path))
    sizes: list[tuple[int, ...]] = []
    encode = _av_write if tool() == "av" else _ffmpeg_write
    with replacing(path) as partial:
        try:
            encode(partial, container, _even(pictures, sizes), rate)
        except Refused as error:
            raise ValueError(f"{path} cannot be written as a video: {error}") from error
        if not sizes:
            raise ValueError(f"{path} was not written: there are no frames")
    return bool(sizes[0][0] % 2 or sizes[0][1] % 2)


class Refused(ValueError):
    """What an encoder says."""


def _even(pictures: Iterable[np.ndarray], sizes: list[tuple[int, ...]]) -> Iterator[np.ndarray]:
    """Frames with even sides; ``sizes`` gets the shape that they had."""
    size = None
    for picture in pictures:
        if size is not None and picture.shape != size:
            raise ValueError(
                f"frames of different sizes make no video: {size[1]}x{size[0]} and "
                f"{picture.shape[1]}x{picture.shape[0]}"
            )
        size = picture.shape
        sizes[:] = [size]
        yield np.pad(picture, ((0, size[0] % 2), (0, size[1] % 2), (0, 0)), mode="edge")


def _av_frames(path: Path) -> Iterator[np.ndarray]:
    import av

    try:
        with av.open(str(path)) as file:
            for frame in file.decode(video=0):
                yield np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90)))
    except (av.error.FFmpegError, IndexError) as error:
        raise ValueError(f"{path} is damaged or no video file: {error}") from error


def _av_write(path: Path, container: str, pictures: Iterator[np.ndarray], rate: Fraction) -> None:
    import av

    encoder = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    try:
        with av.open(str(path), "w", format=container) as file:
            stream = None
            for picture in pictures:
                if stream is None:
                    stream = file.add_stream(encoder, rate=rate, options={"crf": QUALITY} if encoder != "mpeg4" else {})
                    stream.height, stream.width = picture.shape[:2]
                    stream.pix_fmt = "yuv420p"
                    context = stream.codec_context
                    context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709
                    context.color_range = 1  # 16..235
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
                file.mux(stream.encode(frame))
            if stream is not None:
                file.mux(stream.encode())
    except av.error.FFmpegError as error:
        raise Refused(str(error)) from error


def _safe(path: Path) -> str:
    """A name that ffmpeg takes for a file whatever it holds: neither an option nor a protocol such as concat:."""
    return f"file:{path}"


def _ffmpeg_frames(path: Path, timing: str = "-fps_mode") -> Iterator[np.ndarray]:
    words = [
        "ffmpeg",
        "-v",
        "error",
        "-nostdin",
        "-i",
        _safe(path),
        "-map",
        "0:v:0",
        timing,
        "passthrough",
        "-f",
        "image2pipe",
        "-c:v",
        "ppm",
        "-",
    ]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=said)
        try:
            while process.stdout.readline():  # P6
                width, height = map(int, process.stdout.readline().split())
                process.stdout.readline()  # 255
                pixels = process.stdout.read(3 * width * height)
                if len(pixels) == 3 * width * height:
                    yield np.frombuffer(pixels, np.uint8).reshape(height, width, 3)
        finally:
            process.stdout.close()
            status = process.wait()
        if status:
            said.seek(0)
            lines = said.read().decode(errors="replace").strip().splitlines() or ["ffmpeg failed"]
            if timing == "-fps_mode" and any("fps_mode" in line for line in lines):  # its name before ffmpeg 5.1
                yield from _ffmpeg_frames(path, "-vsync")
                return
            raise ValueError(f"{path} is damaged or no video file: {lines[-1]}")


def _ffmpeg_write(path: Path, container: str, pictures: Iterator[np.ndarray], rate: Fraction) -> None:
    with tempfile.TemporaryFile() as said:
        process = None
        try:
            for picture in pictures:
                if process is None:
                    size = f"{picture.shape[1]}x{picture.shape[0]}"
                    words = [
                        "ffmpeg",
                        "-v",
                        "error",
                        "-f",
                        "rawvideo",
                        "-pix_fmt",
                        "rgb24",
                        "-s",
                        size,
                        "-r",
                        str(rate),
                        "-i",
                        "-",
                        "-vf",
                        "scale=out_color_matrix=bt709:out_range=tv",
                        "-c:v",
                        "libx264",
                        "-crf",
                        QUALITY,
                        "-pix_fmt",
                        "yuv420p",
                        "-colorspace",
                        "bt709",
                        "-color_primaries",
                        "bt709",
                        "-color_trc",
                        "bt709",
                        "-f",
                        container,
                        "-y",
                        _safe(path),
                    ]
                    process = subprocess.Popen(words, stdin=subprocess.PIPE, stderr=said)
                process.stdin.write(picture.tobytes())
        except BrokenPipeError:
            pass  # ffmpeg gave up: its reason is read below
        finally:
            if process is not None:
                process.communicate()
        if process is not None and process.returncode:
            said.seek(0)
            lines = said.read().decode(errors="replace").strip().splitlines() or ["ffmpeg failed"]
            raise Refused(lines[-1])
