"""Paired sets from files: what is read is what the file holds, whole or in a window."""

import os
import pickle
import shutil
import struct
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile
import torch
from fixture_trees import encoded, picture, put, put_lmdb
from PIL import Image

from demoe.core import images
from demoe.data.pairs import FilePair, PairedSet, files, folder
from demoe.data.real import pixels

WINDOWS = [(0, 0, 29, 41), (0, 0, 1, 1), (28, 40, 1, 1), (3, 7, 11, 20), (5, 0, 24, 41), (0, 40, 29, 1)]


def write(path, kind, height=29, width=41):
    """A picture of odd size in one of the ways files are written."""
    deep = np.random.default_rng(3).integers(0, 65536, (height, width, 3)).astype(np.uint16)
    array = (deep >> 8).astype(np.uint8)
    if kind == "png16":
        path.write_bytes(imagecodecs.png_encode(deep))
    elif kind == "gray16":
        path.write_bytes(imagecodecs.png_encode(np.ascontiguousarray(deep[..., 0])))
    elif kind == "rgba":
        path.write_bytes(imagecodecs.png_encode(np.dstack([array, array[..., :1]])))
    elif kind == "gray":
        Image.fromarray(array[..., 0]).save(path)
    elif kind == "palette":
        Image.fromarray(array).quantize(17).save(path)
    elif kind == "transparent":
        Image.fromarray(array).quantize(17).save(path, transparency=3)
    elif kind == "bilevel":
        Image.fromarray(array[..., 0]).convert("1").save(path)
    elif kind == "interlaced":
        path.write_bytes(INTERLACED)
    elif kind == "chunks":  # many small IDAT chunks
        data = encoded(array)
        at = data.index(b"IDAT") - 4
        (length,) = struct.unpack_from(">I", data, at)
        body = data[at + 8 : at + 8 + length]
        parts = [b"IDAT" + body[i : i + 100] for i in range(0, length, 100)]
        chunks = b"".join(struct.pack(">I", len(p) - 4) + p + struct.pack(">I", zlib.crc32(p)) for p in parts)
        path.write_bytes(data[:at] + chunks + data[at + 12 + length :])
    elif kind == "tif16":
        tifffile.imwrite(path, deep, photometric="rgb")
    elif kind == "tiles":
        tifffile.imwrite(path, array, photometric="rgb", tile=(16, 16))
    elif kind == "deflated":
        Image.fromarray(array).save(path, compression="tiff_adobe_deflate")
    elif kind == "turned":
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(array).save(path, exif=exif)
    else:
        Image.fromarray(array).save(path)
    return path


# 3x2 pixels, Adam7: Pillow and imagecodecs cannot write it.
def _interlaced(height=29, width=41):
    rng = np.random.default_rng(0)
    array = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    raw = b""
    for x, y, dx, dy in (
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ):
        raw += b"".join(b"\0" + row.tobytes() for row in array[y::dy, x::dx] if row.size)
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 1)
    chunks = [head, b"IDAT" + zlib.compress(raw), b"IEND"]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks
    )


INTERLACED = _interlaced()
PNG = (
    "plain",
    "png16",
    "gray16",
    "rgba",
    "gray",
    "palette",
    "transparent",
    "bilevel",
    "interlaced",
    "chunks",
    "turned",
)
KINDS = [
    *((kind, ".png") for kind in PNG),
    *((kind, ".jpg") for kind in ("plain", "gray", "turned")),
    *((kind, ".bmp") for kind in ("plain", "gray", "palette")),
    *((kind, ".tif") for kind in ("plain", "gray", "tif16", "tiles", "deflated", "turned")),
]


@pytest.mark.parametrize(("kind", "suffix"), KINDS)
def test_what_is_read_is_what_the_file_holds(tmp_path, kind, suffix):
    """Against the reader of photographs, which decodes whole files by another way; every window is a crop of it."""
    path = write(tmp_path / f"a{suffix}", kind)
    photograph = images.read_photograph(path)
    peak = 65535 if photograph.bit_depth == 16 else 255
    exact = (photograph.pixels.double() * peak).round().int()
    eight = exact >> 8 if peak == 65535 else exact
    sixteen = exact if peak == 65535 else exact * 257
    assert pixels.size(path) == tuple(exact.shape[1:])
    whole = pixels.read_pixels(path)
    assert whole.dtype == torch.uint8 and torch.equal(whole.int(), eight)
    deep = pixels.read_pixels(path, bits=16)
    assert deep.dtype == torch.int32 and torch.equal(deep, sixteen)
    for top, left, height, width in WINDOWS:
        if top + height > exact.shape[1] or left + width > exact.shape[2]:
            top, left, height, width = left, top, width, height  # a picture that was turned
        part = pixels.read_pixels(path, (top, left, height, width))
        assert torch.equal(part, whole[:, top : top + height, left : left + width]) and part.is_contiguous()
        part = pixels.read_pixels(path, (top, left, height, width), 16)
        assert torch.equal(part, deep[:, top : top + height, left : left + width])


@pytest.mark.parametrize("window", [(-1, 0, 5, 5), (0, 0, 30, 5), (0, 38, 5, 5), (0, 0, 0, 5)])
@pytest.mark.parametrize("suffix", [".png", ".bmp", ".jpg"])
def test_a_window_outside_is_refused(tmp_path, suffix, window):
    path = write(tmp_path / f"a{suffix}", "plain")
    with pytest.raises(ValueError, match=r"the window .* is not inside the picture"):
        pixels.read_pixels(path, window)


def test_bad_files_are_named(tmp_path):
    whole = encoded(picture(0))
    bad = {
        "empty.png": b"",
        "text.png": b"words",
        "half.png": whole[: len(whole) // 2],
        "head.png": whole[:20],
        "end.png": whole[:-12],
        "ihdr.png": whole[:18] + b"\xff" + whole[19:],
        "half.jpg": put(tmp_path / "x.jpg", picture(0)).read_bytes()[:300],
        "half.bmp": b"BM" + bytes(40),
    }
    for name, data in bad.items():
        path = tmp_path / name
        path.write_bytes(data)
        assert pixels.header(path).fault, name
        with pytest.raises(ValueError, match=name):
            pixels.read_pixels(path)
        with pytest.raises(ValueError, match=name):
            pixels.read_pixels(path, (0, 0, 4, 4))
    with pytest.raises(ValueError, match=r"gone\.png does not exist"):
        pixels.read_pixels(tmp_path / "gone.png")
    with pytest.raises(ValueError, match=r"gone\.png does not exist"):
        pixels.size(tmp_path / "gone.png")
    with pytest.raises(ValueError, match="8 or 16 bits a sample, not 12"):
        pixels.read_pixels(tmp_path / "x.jpg", bits=12)


def test_headers(tmp_path):
    found = {(kind, suffix): pixels.header(write(tmp_path / f"{kind}{suffix}", kind)) for kind, suffix in KINDS}
    assert not any(header.fault for header in found.values())
    assert {key for key, header in found.items() if header.depth == 16} == {
        ("png16", ".png"),
        ("gray16", ".png"),
        ("tif16", ".tif"),
    }
    assert found["turned", ".jpg"].size[0] == 29 and found["plain", ".bmp"].format == "BMP"
    path = tmp_path / "trailing.png"
    path.write_bytes(encoded(picture(0)) + b"\0" * 100)  # some programs do
    assert not pixels.header(path).fault and pixels.read_pixels(path).shape == (3, 28, 40)


def test_files_as_a_set(tmp_path):
    deep = np.random.default_rng(0).integers(0, 65536, (9, 13, 3)).astype(np.uint16)
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(deep))
    put(tmp_path / "b.png", np.full((9, 13, 3), 200, np.uint8))
    entries = [FilePair("one", tmp_path / "a.png", tmp_path / "b.png"), FilePair("two", tmp_path / "b.png", None)]
    pairs = files("DPDD", entries)
    assert (
        isinstance(pairs, PairedSet) and len(pairs) == 2 and pairs.keys == ["one", "two"] and pairs.size(0) == (9, 13)
    )
    assert pairs.label == 0 and pairs.peak == 255 and pairs.data == "real"
    blurred, sharp = pairs.pair(0)
    assert torch.equal(blurred, torch.from_numpy((deep >> 8).astype(np.float32) / 255).permute(2, 0, 1))
    assert sharp.unique().item() == pytest.approx(200 / 255) and pairs.pair(1)[1] is None
    pairs = files("DPDD", entries, bits=16)
    blurred, sharp = pairs.pair(0)
    assert pairs.peak == 65535 and pairs.read(0, None)[0].dtype == torch.int32
    assert torch.equal(blurred, torch.from_numpy(deep.astype(np.float32) / 65535).permute(2, 0, 1))
    assert sharp.unique().item() == pytest.approx(200 / 255)
    again = pickle.loads(pickle.dumps(pairs))  # as worker processes get it
    assert torch.equal(again.read(0, (1, 2, 3, 4))[0], pairs.read(0, (1, 2, 3, 4))[0])
    with pytest.raises(ValueError, match="8 or 16"):
        files("DPDD", entries, bits=10)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("GoPro", 3),
        ("GoPro-syn", 3),
        ("RealDOF", 0),
        ("RSBlur", 1),
        ("Real-LOLBlur", 4),
        ("LOLv2-real", None),
        ("HIDE", None),
    ],
)
def test_labels(name, label):
    assert files(name, []).label == label


def test_a_pair_of_different_sizes_is_named(tmp_path):
    put(tmp_path / "a.png", picture(0, (30, 20)))
    put(tmp_path / "b.png", picture(0, (30, 22)))
    pairs = files("GoPro", [FilePair("x", tmp_path / "a.png", tmp_path / "b.png")])
    for window in (None, (0, 0, 4, 4)):
        with pytest.raises(ValueError, match=r"a\.png and .*b\.png are a pair of different sizes: 30x20 and 30x22"):
            pairs.read(0, window)


def test_a_picture_in_an_lmdb_is_a_file_like_any_other(tmp_path):
    pytest.importorskip("lmdb")
    put_lmdb(tmp_path / "input.lmdb", {"a.b.png": picture(0), "c.png": picture(1)})
    path = tmp_path / "input.lmdb/a"
    assert pixels.size(path) == (28, 40) and pixels.header(path).format == "PNG"
    assert torch.equal(pixels.read_pixels(path), torch.from_numpy(picture(0)).permute(2, 0, 1))
    with pytest.raises(ValueError, match=r"has no picture z"):
        pixels.read_pixels(tmp_path / "input.lmdb/z")


def test_an_lmdb_by_two_spellings_in_two_processes_and_held_open(tmp_path):
    lmdb = pytest.importorskip("lmdb")
    put_lmdb(tmp_path / "input.lmdb", {"a.png": picture(0)})
    (tmp_path / "link.lmdb").symlink_to(tmp_path / "input.lmdb")
    paths = [tmp_path / "input.lmdb/a", tmp_path / "link.lmdb/a", tmp_path / "link.lmdb/../input.lmdb/a"]
    assert {pixels.size(path) for path in paths} == {(28, 40)}
    if not (child := os.fork()):
        os._exit(pixels.size(paths[0]) != (28, 40))
    assert os.waitpid(child, 0)[1] == 0
    (tmp_path / "hard.lmdb").mkdir()
    (tmp_path / "hard.lmdb/data.mdb").hardlink_to(tmp_path / "input.lmdb/data.mdb")
    assert pixels.size(tmp_path / "hard.lmdb/a") == (28, 40)
    shutil.rmtree(tmp_path / "input.lmdb")
    with pytest.raises(ValueError, match=r"data.mdb cannot be opened: No such file"):
        pixels.size(paths[0])
    put_lmdb(tmp_path / "input.lmdb", {"a.png": picture(0, (20, 30))})  # another file of this name
    assert pixels.size(paths[0]) == (30, 20)
    put_lmdb(tmp_path / "new.lmdb", {"a.png": picture(0, (16, 12))})
    (tmp_path / "new.lmdb/data.mdb").replace(tmp_path / "input.lmdb/data.mdb")  # fetched again, in the same folder
    assert pixels.size(paths[1]) == pixels.size(paths[0]) == (12, 16)
    put_lmdb(tmp_path / "held.lmdb", {"a.png": picture(0)})
    with lmdb.open(str(tmp_path / "held.lmdb"), readonly=True, lock=False):
        try:
            assert pixels.size(tmp_path / "held.lmdb/a") == (28, 40)  # before lmdb 2.0
        except ValueError as error:
            assert "is open elsewhere in this program: close it there first" in str(error)


def test_ones_own_pairs_in_two_folders(tmp_path):
    put(tmp_path / "blur/sub/a.png", picture(0, blurred=True))
    put(tmp_path / "sharp/sub/a.bmp", picture(0))
    put(tmp_path / "blur/b.JPG", picture(1))
    put(tmp_path / "sharp/b.png", picture(1))
    put(tmp_path / "blur/._b.png", picture(2))
    pairs = folder("mine", tmp_path / "blur", tmp_path / "sharp")
    assert pairs.keys == ["b", "sub/a"] and pairs.label is None
    assert torch.equal(pairs.read(1, None)[1], torch.from_numpy(picture(0)).permute(2, 0, 1))
    put(tmp_path / "blur/c.png", picture(3))
    with pytest.raises(ValueError, match=r"mine: c in .*blur has no partner in .*sharp \(1 without a partner\)"):
        folder("mine", tmp_path / "blur", tmp_path / "sharp")
    put(tmp_path / "sharp/c.png", picture(3))
    put(tmp_path / "sharp/c.bmp", picture(3))
    with pytest.raises(ValueError, match=r"c\.bmp and .*c\.png have one name"):
        folder("mine", tmp_path / "blur", tmp_path / "sharp")
    with pytest.raises(FileNotFoundError, match="mine: there is no folder"):
        folder("mine", tmp_path / "blur", tmp_path / "nowhere")
    (tmp_path / "nothing").mkdir()
    with pytest.raises(FileNotFoundError, match="mine: no pictures in"):
        folder("mine", tmp_path / "blur", tmp_path / "nothing")


def test_bit_rot_in_a_window_is_refused(tmp_path):
    """A flipped bit among the compressed pixels: without the chunk's checksum, wrong pixels would be handed out."""
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (60, 50, 3), np.uint8)).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    start = whole.index(b"IDAT")
    for at in range(start + 10, start + 4000, 397):
        (tmp_path / "b.png").write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        with pytest.raises(ValueError, match=r"b\.png"):
            pixels.read_pixels(tmp_path / "b.png", (5, 5, 20, 20))
