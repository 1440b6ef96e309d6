"""Hostile files, made from a seed: real ones changed at random, cut short, and built to ask for too much."""

from __future__ import annotations

import functools
import io
import json
import os
import pickle
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import tifffile
import torch
from PIL import Image

HERE = Path(__file__).parent
PNG = b"\x89PNG\r\n\x1a\n"


@functools.cache
def reader_process() -> subprocess.Popen:
    """One for all tests; it ends with this process, whose end of the pipe closes then."""
    return subprocess.Popen(
        [sys.executable, str(HERE / "reading.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def read_all(readers: tuple[str, ...], folder: Path, mebibytes: int = 4096) -> dict[str, dict[str, dict]]:
    """What came of each file of ``folder``, by reader and name, from a process of its own; see ``reading``.

    Fails where that process ended before its time, and where Python said anything beside the sentences.
    """
    with tempfile.TemporaryDirectory() as said:
        output, errors = Path(said, "output"), Path(said, "errors")
        server = reader_process()
        server.stdin.write(json.dumps([readers, str(folder), mebibytes, str(output), str(errors)]) + "\n")
        server.stdin.flush()
        if not select.select([server.stdout], [], [], 300)[0]:
            os.killpg(server.pid, signal.SIGKILL)  # it and the process that it forked
            raise AssertionError(f"reading {folder} did not end")
        status = server.stdout.readline().strip()
        lines = [json.loads(line) for line in output.read_text().splitlines()]
        complaints = errors.read_text()
    assert status == "0", f"{lines[-1] if lines else None}: exit {status}, {complaints[-2000:]}"
    for line in complaints.splitlines():  # libtiff has its own say, "Fax4Decode: Bad code word ..."
        assert re.match(r"\w+: ", line) and not line.endswith("Warning") and "Traceback" not in line, complaints
    found: dict[str, dict[str, dict]] = {reader: {} for reader in readers}
    for line in lines:
        if line["outcome"] != "began":
            found[line["reader"]][line["file"]] = line
    names = {path.name for path in folder.iterdir()}
    assert all(lines.keys() == names for lines in found.values())
    return found


def check(found: dict[str, dict[str, dict]], folder: Path, seconds: float = 15) -> None:
    """Every file was read, or refused with one sentence that names it, in good time."""
    for name, line in [item for lines in found.values() for item in lines.items()]:
        assert line["outcome"] in ("read", "refused"), line
        assert line["seconds"] < seconds, line
        if line["outcome"] == "refused":
            assert str(folder / name) in line["sentence"] and "\n" not in line["sentence"], line
            assert len(line["sentence"]) < len(str(folder / name)) + 300, line


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """``data`` with some bytes changed (more often near its head), cut off, doubled, or taken out."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        kind = rng.integers(6)
        end = len(changed) if rng.random() < 0.5 else min(len(changed), 200)
        if end < 2:
            break
        at = int(rng.integers(end - 1))
        if kind == 0:
            changed[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            changed[at] = int(rng.choice([0, 1, 127, 128, 255]))
        elif kind == 2:  # a number of two or four bytes at the end of its range
            size = int(rng.choice([2, 4]))
            changed[at : at + size] = rng.choice([b"\xff", b"\0", b"\x7f"]) * size
        elif kind == 3:
            changed[at : at + int(rng.integers(1, 40))] = b""
        elif kind == 4:
            changed[at:at] = changed[at : at + int(rng.integers(1, 40))]
        else:
            del changed[int(rng.integers(len(changed) // 4, len(changed))) :]
    return recounted(bytes(changed)) if rng.random() < 0.7 else bytes(changed)


def recounted(data: bytes) -> bytes:
    """A PNG with check sums that fit its chunks, so that a reader goes on past them; other data as it is."""
    at, changed = len(PNG), bytearray(data)
    while data.startswith(PNG) and at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        end = at + 8 + length
        if end + 4 > len(data):
            break
        struct.pack_into(">I", changed, end, zlib.crc32(data[at + 4 : end]))
        at = end + 4
    return bytes(changed)


# Pictures


def pictures() -> dict[str, bytes]:
    """Small pictures of every kind that is read, by name."""
    rng = np.random.default_rng(7)
    colour = rng.integers(0, 256, (21, 34, 3), dtype=np.uint8)
    smooth = np.linspace(0, 65535, 21 * 34 * 3).reshape(21, 34, 3).astype(np.uint16)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    found: dict[str, bytes] = {}

    def pillow(name: str, array: np.ndarray, mode: str | None = None, **options) -> None:
        file = io.BytesIO()
        image = Image.fromarray(array)
        (image.convert(mode) if mode else image).save(file, name.split(".")[-1], **options)
        found[name] = file.getvalue()

    pillow("8.png", colour, exif=exif)
    pillow("gray.png", colour[..., 0])
    pillow("palette.png", colour, "P", transparency=3)
    pillow("alpha.png", colour, "RGBA")
    pillow("16gray.png", smooth[..., 0])
    pillow("8.jpeg", colour, quality=90, exif=exif)
    pillow("progressive.jpeg", colour, progressive=True)
    pillow("cmyk.jpeg", colour, "CMYK")
    pillow("8.tiff", colour, exif=exif)
    pillow("lzw.tiff", colour, compression="tiff_lzw")
    pillow("jpeg.tiff", colour, compression="jpeg")
    pillow("bilevel.tiff", colour, "1", compression="group4")
    pillow("8.webp", colour, exif=exif)
    pillow("lossless.webp", colour, lossless=True)
    pillow("8.bmp", colour)
    pillow("palette.bmp", colour, "P")
    import imagecodecs

    found["16.png"] = imagecodecs.png_encode(smooth)
    for name, options in {
        "16.tiff": {},
        "16z.tiff": {"compression": "zlib", "predictor": True},
        "tiled.tiff": {"tile": (16, 16)},
        "float.tiff": {},
        "planes.tiff": {"planarconfig": "separate"},
    }.items():
        array = smooth / np.float32(65535) if name.startswith("float") else smooth
        array = array.transpose(2, 0, 1) if name.startswith("planes") else array
        file = io.BytesIO()
        tifffile.imwrite(file, array, photometric="rgb", **options)
        found[name] = file.getvalue()
    return found


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, body: bytes, depth: int = 8, kind: int = 2, *more: bytes) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    return PNG + head + b"".join(more) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def tiff(*entries: tuple[int, int, int, int], body: bytes = b"") -> bytes:
    """A TIFF with one directory of (tag, type, count, value) and ``body`` behind it."""
    packed = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + packed + struct.pack("<I", 0) + body


def simple_tiff(width: int, height: int, depth: int = 16, **changes: tuple[int, int, int, int]) -> bytes:
    entries = {
        "width": (256, 4, 1, width),
        "height": (257, 4, 1, height),
        "bits": (258, 3, 1, depth),
        "compression": (259, 3, 1, 1),
        "kind": (262, 3, 1, 1),
        "offsets": (273, 4, 1, 200),
        "samples": (277, 3, 1, 1),
        "rows": (278, 4, 1, height),
        "counts": (279, 4, 1, width * height * depth // 8 & 0xFFFFFFFF),
    }
    return tiff(*{**entries, **changes}.values(), body=bytes(4096))


def picture_bombs() -> dict[str, bytes]:
    """Files of a few kilobytes that promise gigabytes, or contradict themselves."""
    zeros, megabytes, small = (zlib.compress(bytes(size), 9) for size in (1 << 20, 200 << 20, 8 * 25))
    found = {
        "50000x50000.png": png(50_000, 50_000, zeros),
        "50000x50000x16.png": png(50_000, 50_000, zeros, 16),
        "wide.png": png(2**31 - 1, 1, zeros),
        "endless.png": png(8, 8, megabytes),
        "empty.png": png(8, 8, b""),
        "nothing.png": png(0, 0, b""),
        "text.png": png(8, 8, small, 8, 2, chunk(b"zTXt", b"a\0\0" + megabytes)),
        "profile.png": png(8, 8, small, 8, 2, chunk(b"iCCP", b"a\0\0" + megabytes)),
        "promised.png": png(14_000, 14_000, zeros),  # 196 million pixels: allowed, but not there
        "promised16.png": png(8000, 8000, zeros, 16),
        "large.bmp": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0),
        "promised.bmp": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 9000, 9000, 1, 24, 0, 0, 0, 0, 0, 0),
        "large.jpeg": b"\xff\xd8\xff\xc0\0\x11\x08\xff\xff\xff\xff\3\1\x22\0\2\x11\1\3\x11\1\xff\xd9",
        "large.webp": b"RIFF\x1a\0\0\0WEBPVP8L\x0d\0\0\0\x2f\xff\xff\xff\x0f" + bytes(8),
        "large.tiff": simple_tiff(50_000, 50_000),
        "large8.tiff": simple_tiff(50_000, 50_000, 8),
        "promised.tiff": simple_tiff(10_000, 10_000),
        "strips.tiff": simple_tiff(64, 64, rows=(278, 4, 1, 1), offsets=(273, 4, 0xFFFFFFF0, 200)),
        "strips8.tiff": simple_tiff(64, 64, 8, rows=(278, 4, 1, 1), offsets=(273, 4, 0x0FFFFFFF, 200)),
        "counts.tiff": simple_tiff(64, 64, counts=(279, 4, 0x7FFFFFFF, 200)),
        "bits.tiff": simple_tiff(64, 64, bits=(258, 3, 0x7FFFFFFF, 200)),
        "samples.tiff": simple_tiff(64, 64, samples=(277, 3, 1, 65535)),
        "far.tiff": simple_tiff(64, 64, offsets=(273, 4, 1, 0xFFFFFFF0)),
        "zero.tiff": simple_tiff(0, 64),
        "64bits.tiff": simple_tiff(64, 64, 64),
        "ring.tiff": b"II*\0" + struct.pack("<IHHHIII", 8, 1, 256, 4, 1, 8, 8),  # a directory that follows itself
        "nowhere.tiff": b"II*\0\xff\xff\xff\xff",
        "entries.tiff": b"II*\0" + struct.pack("<IH", 8, 65535) + bytes(100),
        "big.tiff": b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 2**63),
    }
    deep = io.BytesIO()
    tifffile.imwrite(deep, np.zeros((6000, 6000), np.uint16), compression="zlib", rowsperstrip=6000)
    heights = (struct.pack("<HHII", 257, 4, 1, height) for height in (6000, 3))
    found["bomb.tiff"] = deep.getvalue().replace(*heights)
    for name, data in found.items():
        assert len(data) < 1 << 20, name
    return found


# Checkpoints


class Runs:
    """Unpickled, it makes a file."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return (exec, (f"open({str(self.marker)!r}, 'w').close()",))


def torch_file(content, **options) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def safetensors_file(header: dict | bytes, data: bytes = b"", length: int | None = None) -> bytes:
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(head) if length is None else length) + head + data


def rezipped(data: bytes, **changes: bytes | None) -> bytes:
    """A file of ``torch.save`` with entries replaced, added or (None) taken out; "pkl" stands for data.pkl."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(file, "w") as target:
        root = source.namelist()[0].split("/")[0]
        changes = {f"{root}/data.pkl" if name == "pkl" else name: body for name, body in changes.items()}
        for name in source.namelist():
            if (body := changes.pop(name, source.read(name))) is not None:
                target.writestr(name, body)
        for name, body in changes.items():
            target.writestr(name, body)
    return file.getvalue()


def checkpoint_bombs(marker: Path) -> dict[str, bytes]:
    """Checkpoints that promise gigabytes, contradict themselves, hold code (it would make ``marker``), or point
    elsewhere."""
    plain = torch_file({"params": {"intro.weight": torch.zeros(4, 3, 3, 3)}})
    one = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
    code = {"params": {"intro.weight": torch.zeros(4, 3, 3, 3), "x": Runs(marker)}}
    huge = io.BytesIO()
    with zipfile.ZipFile(huge, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"a": 1}))
        archive.writestr("archive/version", "3\n")
        with archive.open("archive/data/0", "w", force_zip64=True) as stream:
            for _ in range(256):
                stream.write(bytes(1 << 20))
    big = torch.zeros(1).expand(1 << 40)
    nested = b"\x80\x04" + b"]" * 100_000 + b"."
    first = {"intro.weight": torch.zeros(4, 3, 3, 3)}
    found = {
        "code.pth": torch_file(code),
        "code_old.pth": torch_file(code, _use_new_zipfile_serialization=False),
        "code_plain.pth": pickle.dumps(code["params"]["x"]),
        "code_protocol0.pt": pickle.dumps(code["params"]["x"], protocol=0),
        "code_pkl.pt": rezipped(plain, pkl=pickle.dumps(Runs(marker))),
        "code_extra.pt": rezipped(plain, **{"archive/code/__torch__.py": b"import os"}),
        "script.pt": rezipped(plain, **{"archive/constants.pkl": pickle.dumps(Runs(marker))}),
        "code.safetensors": pickle.dumps(Runs(marker)),
        "outside.pt": rezipped(plain, **{"../../outside": b"outside", "/tmp/demoe-outside": b"outside"}),
        "key_outside.pt": torch_file({"../../outside": torch.zeros(3)}),
        "zip_bomb.pth": huge.getvalue(),
        "expanded.pth": torch_file({"intro.weight": big}),
        "nested.pth": nested,
        "nested.pkl.pth": rezipped(plain, pkl=nested),
        "memo.pth": rezipped(plain, pkl=b"\x80\x02X\xff\xff\xff\x7f" + bytes(50)),
        "long.pth": rezipped(plain, pkl=b"\x80\x02\x8b\xff\xff\xff\x7f" + bytes(50)),
        "no_data.pth": rezipped(plain, **{"archive/data/0": b""}),
        "header_length.safetensors": safetensors_file({"a": one}, bytes(16), 2**63),
        "header_3gb.safetensors": safetensors_file({"a": one}, bytes(16), 3 << 30),
        "header_99mb.safetensors": safetensors_file({"a": one}, bytes(16), 99 << 20),
        "shape.safetensors": safetensors_file({"a": one | {"shape": [2**40, 2**40]}}, bytes(16)),
        "overflow.safetensors": safetensors_file({"a": one | {"shape": [2**32, 2**32, 4]}}, bytes(16)),
        "negative.safetensors": safetensors_file({"a": one | {"shape": [-4]}}, bytes(16)),
        "offsets.safetensors": safetensors_file({"a": one | {"data_offsets": [0, 2**62]}}, bytes(16)),
        "backwards.safetensors": safetensors_file({"a": one | {"data_offsets": [16, 0]}}, bytes(16)),
        "empty_shapes.safetensors": with_record({}, shape=[2**62, 0], data_offsets=[0, 0]),
        "json_depth.safetensors": safetensors_file(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
        "not_json.safetensors": safetensors_file(b"{" * 1000),
        "utf8.safetensors": safetensors_file(b'{"\xff\xfe": 1}'),
        "metadata.safetensors": safetensors_file({"__metadata__": {"demoe": "[" * 100_000}, "a": one}, bytes(16)),
        "record.safetensors": with_record(_record(width=10**6, encoder_blocks=[1] * 30)),
        "width.safetensors": with_record(_record(width=10**9)),
        "negative_width.safetensors": with_record(_record(width=-4)),
        "text_width.safetensors": with_record(_record(width="x" * 10**6)),
        "blocks.safetensors": with_record(_record(middle_blocks=10**9)),
        "minus_blocks.safetensors": with_record(_record(middle_blocks=-(10**9), encoder_blocks=[10**9])),
        "levels.safetensors": with_record(_record(encoder_blocks=[0] * 10**5, decoder_blocks=[0] * 10**5)),
        "experts.safetensors": with_record(_record("DeMoE", num_experts=10**8)),
        "mixes.safetensors": with_record(_record("DeMoE", moe_per_level=50, num_experts=50)),
        "heads.safetensors": with_record(_record("Restormer", heads=[0, 0, 0, 0])),
        "prompts.safetensors": with_record(_record("PromptIR", prompt_sizes=[10**6] * 3)),
        "name.safetensors": with_record(_record("x" * 10**6)),
        "list_name.safetensors": with_record(_record(["DeMoE"])),
        "long_key.safetensors": safetensors_file({"a" * 10**6: one}, bytes(16)),
        "many_levels.pth": torch_file(first | {f"downs.{i}.weight": torch.zeros(0) for i in range(3000)}),
        "many_blocks.pth": torch_file(first | {f"middle_blks.{i}.x": torch.zeros(0) for i in range(3000)}),
        "wide.pth": torch_file({"intro.weight": torch.zeros(1).expand(1 << 28, 3, 3, 3)}),
        "one_value.pth": torch_file({name: torch.zeros(1).expand(shape) for name, shape in giant().items()}),
        "sparse.pth": torch_file({"intro.weight": torch.zeros(4, 3).to_sparse()}),
        "complex.pth": torch_file({"intro.weight": torch.zeros(4, 3, 3, 3, dtype=torch.complex64)}),
        "number.pth": torch_file(3),
        "ring.pth": pickle.dumps(_ring()),
        "newline.pth": torch_file({"intro.weight\n\nline": torch.zeros(3)}),
    }
    return found


def with_record(metadata: dict, **changes) -> bytes:
    """A whole safetensors file of a hundred small tensors under another's configuration."""
    entries = {"intro.weight": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16], **changes}}
    data = b"" if changes else bytes(16 * 100)
    for i in range(0 if changes else 99):
        entries[f"a{i}"] = {"dtype": "F32", "shape": [4], "data_offsets": [16 + 16 * i, 32 + 16 * i]}
    return safetensors_file(metadata | entries, data)


def giant() -> dict[str, torch.Size]:
    """Names and shapes of a NAFNet of 300 gigabytes."""
    from demoe.models.nafnet import NAFNet, NAFNetConfig

    with torch.device("meta"):
        model = NAFNet(NAFNetConfig(1 << 16, (1,), 1, (1,)))
    return {name: value.shape for name, value in model.state_dict().items()}


def _record(network: object = "NAFNet", **config) -> dict:
    return {"__metadata__": {"demoe": json.dumps({"network": network, "config": config, "provenance": {}})}}


def _ring() -> dict:
    ring: dict = {}
    ring["params"] = ring
    return ring
