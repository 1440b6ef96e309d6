"""Video files as frames and back, through PyAV. What a new video of the frames does not have is told beforehand."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from demoe.core.files import replacing

SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".mts")
# What frames are written as: containers that hold H.264, by suffix.
CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".avi": "avi"}
QUALITY = "16"  # of x264, whose scale runs from 0 (nothing lost) to 51; 18 is taken for not visible
UNEVEN = 1.25  # times between frames, longest over shortest, above which a rate is called uneven: rounding stays below

# A file's colour matrix (ITU-T H.273) -> swscale's name for it.
_MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}
_HDR = {16: "PQ", 18: "HLG"}
_ALPHA_TAGS = ("alpha_mode", "ALPHA_MODE")  # of VP8 and VP9, whose decoders give the colours alone
_WIDE = {9: "BT.2020", 11: "DCI-P3", 12: "Display P3"}
_TURNS = {(1, 0): 0, (0, -1): 1, (-1, 0): 2, (0, 1): 3}  # signs in a display matrix -> quarter turns to the left


class NoReader(RuntimeError):
    """PyAV is not installed."""


def require() -> None:
    """Raises ``NoReader`` with what to do if PyAV is not installed."""
    if not importlib.util.find_spec("av"):
        raise NoReader(
            "video files need PyAV (pip install 'demoe[video]'); without it give a folder of numbered frames"
        )


@dataclass(frozen=True)
class Description:
    """A video before its frames are read."""

    rate: Fraction  # frames a second, the average; 25 where the file does not say
    lost: tuple[str, ...]  # what neither frames nor a new video of them have, a phrase each
    sizes: tuple[tuple[int, int], ...] = ()  # every (width, height) of its frames, as stored
    sound: str = ""  # the codec of its first sound track, as FFmpeg calls it; "" where there is none


@contextmanager
def _opened(path: Path) -> Iterator[tuple]:
    """(file, its first picture stream, how many it has); covers of music are none."""
    require()
    import av

    try:
        with av.open(str(path.absolute())) as file:  # "clip:1.mp4" alone would be an address
            streams = [each for each in file.streams.video if not int(each.disposition) & 0x400]  # attached_pic
            if file.format.name.endswith("_pipe") or file.format.name == "image2":
                raise ValueError(f"{path} is a picture and no video: demoe deblur reads those")
            if not streams:
                raise ValueError(f"{path} holds {'sound but ' * bool(file.streams.audio)}no pictures that move")
            yield file, streams[0], len(streams)
    except (av.error.FFmpegError, IndexError) as error:
        raise ValueError(f"{path} is damaged or no video file: {error.strerror or error}") from error


def _decoded(file, stream) -> Iterator:
    """The frames of a stream in the order they are shown; None for one that is damaged."""
    import av

    for packet in file.demux(stream):
        try:
            for frame in packet.decode():
                yield None if frame.is_corrupt else frame
        except av.error.InvalidDataError:
            yield None


def describe(path: Path) -> Description:
    """Decodes every frame, which takes far less time than to deblur them. Raises as ``frames``."""
    with _opened(path) as (file, stream, count):
        lost = [("the other picture stream", f"the other {count - 1} picture streams")[count > 2]] * (count > 1)
        frame, times, sizes, damaged = None, [], {}, 0
        for each in _decoded(file, stream):
            if each is None:
                damaged += 1
                continue
            frame = frame or each
            sizes[each.width, each.height] = True
            times += [each.pts] if each.pts is not None else []
        if frame is None:
            raise ValueError(f"{path} holds no video frames that can be read")
        steps = np.diff(sorted(times))
        if len(steps) and not damaged and steps.max() > max(UNEVEN * steps.min(), steps.min() + 1):
            lost.append("the uneven times of its frames (variable rate)")
        if damaged:
            lost.append(f"frames that are damaged ({damaged} of them)")
        whole = stream.duration * stream.time_base if stream.duration else 0
        whole = whole or (0 if file.streams.audio else (file.duration or 0) / 1_000_000)
        there = float((max(times) - min(times)) * stream.time_base) if times else 0.0
        if there + 2 / (stream.average_rate or 25) < 0.9 * whole:
            lost.append(f"its end: it is cut short, to {there:.1f} of {float(whole):.1f} seconds")
        if int(frame.colorspace) not in (*_MATRICES, 2) and not frame.format.is_rgb:  # 2: not said
            lost.append("its colour matrix, which is not known: colours are wrong")
        parts = frame.format.components
        if (bits := max(part.bits for part in parts)) > 8:
            lost.append(f"{bits} bits a sample (8 are)")
        if frame.color_trc in _HDR:
            lost.append(f"HDR ({_HDR[frame.color_trc]})")
        if frame.color_primaries in _WIDE:
            lost.append(f"the colours of {_WIDE[frame.color_primaries]} (a new video says BT.709)")
        if any(part.is_alpha for part in parts) or "1" in {stream.metadata.get(key) for key in _ALPHA_TAGS}:
            lost.append("transparency (alpha)")
        if (shape := stream.sample_aspect_ratio or 1) != 1:
            lost.append(f"the shape of its pixels ({shape.numerator}:{shape.denominator}; they count as square)")
        if _matrix(frame)[0] and _matrix(frame)[1]:
            lost.append("its turn by an angle that is no quarter of a circle")
        if frame.interlaced_frame:
            lost.append("interlacing (both fields count as one picture)")
        tracks = [track.codec_context.name for track in file.streams.audio if track.codec_context]
        if len(tracks) > 1:
            lost.append(f"its other {'sound track' if len(tracks) == 2 else 'sound tracks'}")
        return Description(Fraction(stream.average_rate or 25), tuple(lost), tuple(sizes), tracks[0] if tracks else "")


def frames(path: Path) -> Iterator[np.ndarray | None]:
    """The frames of a video's first picture stream, upright, (H, W, 3) uint8 RGB, in the order they are shown; None for
    one that is damaged.

    Colours by the matrix and range that the file names; where it names none, BT.709 from 720 lines on, else BT.601,
    as players have it. Deeper video is rounded to 8 bits. Raises ``ValueError`` for a file that holds none or cannot
    be opened, ``NoReader``.
    """
    found = False
    with _opened(path) as (file, stream, _):
        for frame in _decoded(file, stream):
            found = found or frame is not None
            yield None if frame is None else _upright(_rgb(frame), frame)
    if not found:
        raise ValueError(f"{path} holds no video frames that can be read")


def _rgb(frame) -> np.ndarray:
    """Not left to PyAV, some versions of which take every video for BT.601."""
    options = {}
    if not frame.format.is_rgb:
        usual = 1 if frame.height >= 720 else 5
        full = frame.color_range == 2 or frame.format.name.startswith(("yuvj", "gray"))
        options = {
            "src_colorspace": _MATRICES.get(int(frame.colorspace), usual),
            "src_color_range": 2 if full else 1,
            "dst_color_range": 2,
        }
    return frame.reformat(format="rgb24", **options).to_ndarray()


def _matrix(frame) -> tuple[int, int, int, int]:
    """a, b, c, d of the display matrix, x' = ax + cy, y' = bx + dy, each rounded to -1, 0 or 1."""
    for data in frame.side_data:
        if data.type.name == "DISPLAYMATRIX":
            numbers = np.frombuffer(bytes(data)[:20], np.int32)[[0, 1, 3, 4]] / 65536
            a, b, c, d = (int(value) for value in np.round(numbers / max(1e-9, np.abs(numbers).max())))
            return a, b, c, d
    return 1, 0, 0, 1


def _upright(array: np.ndarray, frame) -> np.ndarray:
    """Turned, and mirrored where the display matrix says so; other angles than quarters are left."""
    a, b, c, d = _matrix(frame)
    if a * d - b * c < 0:
        array, a, b = array[:, ::-1], -a, -b
    return np.ascontiguousarray(np.rot90(array, _TURNS.get((a, b), 0)))


def takes_sound(path: Path, codec: str) -> bool:
    """Whether a video of that name can have sound of that codec as it is."""
    require()
    import av

    with av.open(os.devnull, "w", format=CONTAINERS[path.suffix.lower()]) as file:
        return codec in file.supported_codecs


def write_video(
    path: Path, pictures: Iterable[np.ndarray], rate: Fraction, sound: Path | None = None, overwrite: bool = False
) -> bool:
    """(H, W, 3) uint8 RGB frames of one size as a video, whole or not at all; odd sides get one pixel.

    H.264 where the encoder is there, else MPEG-4. ``sound``: a video whose first sound track goes along as it is, from
    its first picture on; ``takes_sound`` tells where it can. Returns whether a side was odd. Raises ``FileExistsError``
    without ``overwrite``, ``ValueError`` for a suffix not in ``CONTAINERS``, no frames, frames of different sizes and
    encoders' refusals, ``NoReader``.
    """
    require()
    import av

    container = CONTAINERS.get(path.suffix.lower())
    if container is None:
        raise ValueError(f"{path}: videos are written as one of {', '.join(CONTAINERS)}")
    if path.exists() and not overwrite:
        raise FileExistsError(17, "exists already; choose another name", str(path))
    with replacing(path) as partial, _opened(sound) if sound else nullcontext() as heard:
        try:
            shape = _encode(partial, container, pictures, rate, heard)
        except av.error.FFmpegError as error:
            raise ValueError(f"{path} cannot be written as a video: {error}") from error
        if not shape:
            raise ValueError(f"{path} was not written: there are no frames")
    return bool(shape[0] % 2 or shape[1] % 2)


def _encode(path: Path, container: str, pictures: Iterable[np.ndarray], rate: Fraction, heard) -> tuple[int, ...]:
    """Writes the frames, their sides made even, and returns the shape that they had; () where there are none.

    ``heard``: an opened video, whose sound is put between them, each packet before the picture that it goes with.
    """
    import av

    encoder = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    shape: tuple[int, ...] = ()
    with av.open(str(path.absolute()), "w", format=container) as file:
        for number, picture in enumerate(pictures):
            first, shape = not shape, shape or picture.shape
            if picture.shape != shape:
                (height, width, _), other = shape, picture.shape
                raise ValueError(f"frames of different sizes make no video: {width}x{height} and {other[1]}x{other[0]}")
            picture = np.pad(picture, ((0, shape[0] % 2), (0, shape[1] % 2), (0, 0)), mode="edge")
            if first:
                stream = file.add_stream(encoder, rate=rate, options={"crf": QUALITY} if encoder != "mpeg4" else {})
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = "yuv420p"
                context = stream.codec_context
                context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709
                context.color_range = 1  # 16..235
                packets = _sound(file, heard)
                waiting = next(packets, None)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
            file.mux(stream.encode(frame))
            while waiting is not None and waiting.pts * waiting.time_base <= (number + 1) / rate:
                file.mux(waiting)
                waiting = next(packets, None)  # what is longer than the pictures is cut
        if shape:
            file.mux(stream.encode())
    return shape


def _sound(file, heard) -> Iterator:
    """The packets of a video's first sound track, with a stream of their own in ``file``, timed from its first picture.

    Made at once for the stream, since a container's streams stand in its head.
    """
    if heard is None or not heard[0].streams.audio:
        return iter(())
    source, pictures, _ = heard
    track = source.streams.audio[0]
    target = file.add_stream_from_template(track)
    begin = (pictures.start_time or 0) * pictures.time_base  # seconds
    shift = round(begin / track.time_base)

    def packets() -> Iterator:
        for packet in source.demux(track):
            if packet.pts is None or packet.dts is None or packet.pts < shift:  # the end's, and what is before
                continue
            packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, target
            yield packet

    return packets()
