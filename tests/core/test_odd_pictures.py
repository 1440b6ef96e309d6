"""Pictures as few programs write them: each is read rightly, with a word about what is not kept, or refused truly."""

import io
import re
import struct
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from demoe.core import images
from demoe.core.encoding import png_chunk
from demoe.core.images import ImageError
from demoe.data.real import pixels

ROWS, COLUMNS = np.indices((24, 40))
RAMP = np.stack([ROWS * 6, COLUMNS * 5, (ROWS + COLUMNS) * 3], -1) / 195
SCENE, DEEP = (RAMP * 255).astype(np.uint8), (RAMP * 65535).astype(np.uint16)  # (24,40,3)
GRAY = SCENE[..., 2].copy()
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
JXL = "colours taken for sRGB"
ANNOUNCES = (
    '<?xpacket begin="\ufeff"?><x xmlns:tiff="http://ns.adobe.com/tiff/1.0/"><r tiff:Orientation="6" hdrgm:Version="1"'
    ' xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/"/></x>'
)


def saved(format, samples=SCENE, **options):
    file = io.BytesIO()
    (samples if isinstance(samples, Image.Image) else Image.fromarray(samples)).save(file, format, **options)
    return file.getvalue()


def tiff(samples=SCENE, *tags, strip=None, **options):
    """``tags``: (code, type, value); ``strip``: the pixels as they are stored."""
    file = io.BytesIO()
    extra = [
        (code, kind, len(value) // int(kind[:-1] or 1) if kind != "s" else 0, value, True) for code, kind, value in tags
    ]
    options = {"metadata": None, "software": False, "extratags": extra, "photometric": "rgb"} | options
    if strip is not None:
        options |= {"shape": samples.shape, "dtype": samples.dtype, "rowsperstrip": 24}
    tifffile.imwrite(file, samples if strip is None else iter([strip]), **options)
    return file.getvalue()


def with_chunks(*chunks):
    data = imagecodecs.png_encode(SCENE)
    return data[:33] + b"".join(png_chunk(name, body) for name, body in chunks) + data[33:]


def png(bits, colour, rows, *more):
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 40, 24, bits, colour, 0, 0, 0))
    pixels = png_chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + pixels + png_chunk(b"IEND", b"")


def with_segment(number, body):
    data = saved("JPEG", quality=95)
    return data[:2] + bytes((0xFF, 0xE0 + number)) + struct.pack(">H", len(body) + 2) + body + data[2:]


def bmp(body, bits=24, kind=0, height=24, more=b""):
    """``more`` stands behind the 40 bytes of the usual header, of which it may be a part."""
    head = 40 if bits < 24 or not more else 124
    start = 54 + len(more)
    fields = struct.pack("<IiiHHIIiiII", head, 40, height, 1, bits, kind, 2880, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + fields + more + body


BGR = SCENE[::-1, :, ::-1]
PROFILED = struct.pack("<4I4s48xIIII", 0xFF0000, 0xFF00, 0xFF, 0, b"DEBM", 4, 124 + BGR.nbytes, len(SRGB), 0)
BITS = imagecodecs.packints_encode
COLOURS = np.stack([np.arange(256), np.arange(256)[::-1], np.arange(256)]).astype(np.uint16) * 257
COLOUR_OF_GRAY = np.stack([GRAY, 255 - GRAY, GRAY], -1) / 255
BILEVEL = "black and white turned into gray"
ROUNDED = "floating-point samples rounded to 16 bits"
FOREIGN = "its profile, of another colour space, not kept"

READ = {  # what is made -> its bytes, the picture, how near, the note
    "lowest bit first": lambda: (
        tiff(
            GRAY > 99, (65000, "H", (2,)), photometric="minisblack", strip=np.packbits(GRAY > 99, 1, "little").tobytes()
        ).replace(*(struct.pack("<HHI", tag, 3, 1) for tag in (65000, 266))),  # tifffile writes no fill order
        GRAY > 99,
        0,
        BILEVEL,
    ),
    "10 bits": lambda: (tiff(DEEP, strip=BITS(DEEP.reshape(24, -1) >> 6, 10), bitspersample=10), RAMP, 0.001, ""),
    "14 bits gray": lambda: (
        tiff(DEEP[..., 2], photometric="minisblack", strip=BITS(DEEP[..., 2] >> 2, 14), bitspersample=14),
        RAMP[..., 2],
        1e-4,
        "",
    ),
    "planes, BigTIFF, Motorola, turned": lambda: (
        tiff(np.moveaxis(DEEP, -1, 0), (274, "H", (6,)), planarconfig="separate", byteorder=">", bigtiff=True),
        np.rot90(RAMP, -1),
        1e-4,
        "",
    ),
    "white is zero": lambda: (tiff(GRAY, photometric="miniswhite"), 1 - GRAY / 255, 1e-5, ""),
    "floats, bytes apart": lambda: (
        tiff(RAMP.astype("f4"), compression="zlib", predictor=3, byteorder=">"),
        RAMP,
        1e-6,
        ROUNDED,
    ),
    "palette, turned": lambda: (
        tiff(GRAY, (274, "H", (8,)), photometric="palette", colormap=COLOURS),
        np.rot90(COLOUR_OF_GRAY),
        1e-5,
        "",
    ),
    "subsampled": lambda: (tiff(compression="jpeg", subsampling=(2, 2), rowsperstrip=8), RAMP, 0.04, ""),
    "primaries": lambda: (tiff(SCENE, (319, "2I", (64, 100) * 6)), SCENE / 255, 1e-5, "its primaries not kept"),
    "GDAL": lambda: (tiff(SCENE, (42112, "s", "<GDALMetadata/>")), SCENE / 255, 1e-5, "GDAL's metadata not kept"),
    "EXIF in Motorola's order": lambda: (
        saved("JPEG", quality=95, exif=b"Exif\0\0MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 274, 3, 1, 6, 0, 0)),
        np.rot90(RAMP, -1),
        0.05,
        "",
    ),
    "restarts": lambda: (saved("JPEG", quality=95, restart_marker_rows=1), RAMP, 0.05, ""),
    "a profile with a part missing": lambda: (
        with_segment(2, b"ICC_PROFILE\0\2\3" + SRGB[:99]),
        RAMP,
        0.05,
        "its damaged profile not kept",
    ),
    "heat": lambda: (with_segment(1, b"FLIR\0\1" + bytes(90)), RAMP, 0.05, "further data (FLIR) not kept"),
    "stereo": lambda: (with_segment(3, b"_JPSJPS_" + bytes(9)), RAMP, 0.05, "further data (_JPSJPS_) not kept"),
    "quality": lambda: (with_segment(12, b"Ducky\0" + bytes(9)), RAMP, 0.05, ""),
    "a profile of colours on gray": lambda: (
        saved("JPEG", GRAY, quality=95, icc_profile=SRGB),
        GRAY / 255,
        0.05,
        FOREIGN,
    ),
    "transparent colour of 16 bits": lambda: (
        png(
            16, 2, (row.astype(">u2").tobytes() for row in DEEP), png_chunk(b"tRNS", DEEP[3, 4].astype(">u2").tobytes())
        ),
        RAMP,
        1e-4,
        "",
    ),
    "transparent gray of 2 bits": lambda: (
        png(2, 0, (BITS(row >> 6, 2) for row in GRAY), png_chunk(b"tRNS", b"\0\2")),
        (GRAY >> 6) / 3,
        1e-5,
        "",
    ),
    "what would be untrue of a result": lambda: (
        with_chunks((b"tIME", bytes(7)), (b"sBIT", b"\5\6\5"), (b"bKGD", bytes(6))),
        SCENE / 255,
        1e-5,
        "",
    ),
    "calibration": lambda: (
        with_chunks((b"pCAL", bytes(30)), (b"sTER", b"\0"), (b"\0\x1b[m", b"")),
        SCENE / 255,
        1e-5,
        "further data (pCAL, sTER) not kept",
    ),
    "HDR and how bright": lambda: (
        with_chunks((b"cICP", b"\x09\x10\0\1"), (b"mDCV", bytes(24)), (b"cLLI", bytes(8))),
        SCENE / 255,
        1e-5,
        "HDR (PQ) not kept",
    ),
    "from the top": lambda: (bmp(SCENE[..., ::-1].tobytes(), height=-24), SCENE / 255, 1e-5, ""),
    "565": lambda: (
        bmp(
            (BGR.astype(np.uint16) >> (3, 2, 3) << (0, 5, 11)).sum(-1).astype("<u2").tobytes(),
            16,
            3,
            more=struct.pack("<III", 0xF800, 0x7E0, 0x1F),
        ),
        SCENE / 255,
        0.04,
        "",
    ),
    "a profile in a BMP": lambda: (bmp(BGR.tobytes() + SRGB, more=PROFILED), SCENE / 255, 1e-5, "its profile not kept"),
    "10 bits in JPEG XL": lambda: (
        imagecodecs.jpegxl_encode(DEEP >> 6, lossless=True, bitspersample=10),
        (DEEP >> 6) / 1023,
        1e-5,
        JXL,
    ),
    "14 bits in an animation": lambda: (
        imagecodecs.jpegxl_encode(np.stack([DEEP, DEEP[::-1]]) >> 2, lossless=True, bitspersample=14),
        (DEEP >> 2) / 16383,
        1e-5,
        f"{JXL}, first of 2 frames",
    ),
    "a JPEG in JPEG XL": lambda: (imagecodecs.jpegxl_encode_jpeg(saved("JPEG", quality=95)), RAMP, 0.05, JXL),
    "depth in AVIF": lambda: (
        saved("AVIF", np.dstack([SCENE, GRAY]), quality=100).replace(b"auxiliary:alpha", b"auxiliary:depth"),
        SCENE / 255,
        0.03,
        "its depth map not kept",
    ),
    "AVIF, turned": lambda: (
        saved("AVIF", quality=100, exif=b"Exif\0\0MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 274, 3, 1, 6, 0, 0)),
        np.rot90(SCENE / 255, -1),
        0.03,
        "",
    ),
}


@pytest.mark.parametrize("made", READ)
def test_read_rightly_and_told(tmp_path, made):
    data, expected, tolerance, note = READ[made]()
    path = tmp_path / "a.bin"
    path.write_bytes(data)
    photograph, whole = images.read_photograph(path), pixels.read_pixels(path, bits=16)
    expected = np.asarray(expected, np.float64)[..., None] if np.ndim(expected) == 2 else expected
    assert photograph.note == note and photograph.gray == (expected.shape[-1] == 1)
    assert np.abs(photograph.pixels.permute(1, 2, 0).numpy() - expected).max() <= tolerance
    assert pixels.header(path).size == photograph.size and (whole / 65535 - photograph.pixels).abs().max() < 1e-5
    assert (photograph.alpha is not None) == made.startswith("transparent")
    images.write_photograph(tmp_path / "b.png", photograph)
    assert images.read_photograph(tmp_path / "b.png").note == ""


REFUSED = {
    "is a PNG as Apple's tools make it for apps": lambda: imagecodecs.png_encode(SCENE).replace(
        b"\r\n\x1a\n", b"\r\n\x1a\n" + png_chunk(b"CgBI", b"\x50\0\x20\6")
    ),
    "is damaged or incomplete$": lambda: with_chunks((b"IHDR", imagecodecs.png_encode(GRAY)[16:29])),
    "has samples of type int16": lambda: tiff(DEEP.astype(np.int16)),
    "has floating-point values from 0 to 5; expected 0 to 1": lambda: imagecodecs.jpegxl_encode(
        (RAMP * 5 / RAMP.max()).astype("f4"), lossless=True
    ),
    "is a JPEG XL image with extra channels": lambda: imagecodecs.jpegxl_encode(
        np.moveaxis(np.dstack([SCENE, SCENE[..., :2]]), -1, 0).copy(), lossless=True, planar=True
    ),
    "is a JPEG without a frame of a kind that is read": lambda: imagecodecs.jpegls_encode(SCENE),
    "of a kind that is not read: Unsupported BMP": lambda: bmp(saved("JPEG"), 0, 4),
    "is an AVIF image with a side of more than 32768": lambda: re.sub(
        rb"ispe\0{4}....", b"ispe" + struct.pack(">II", 0, 40000), saved("AVIF"), flags=re.DOTALL
    ),
    "is a camera's raw file": lambda: b"II\x1a\0\0\0HEAPCCDR" + bytes(60),
    "is an SVG": lambda: b"\xef\xbb\xbf<svg xmlns='http://www.w3.org/2000/svg'/>",
    "is a video": lambda: b"\0\0\0\x18ftypisom" + bytes(90),
}


@pytest.mark.parametrize("words", REFUSED)
def test_refused_truly(tmp_path, words):
    (tmp_path / "a.png").write_bytes(REFUSED[words]())
    for read in (images.read_photograph, pixels.read_pixels):
        with pytest.raises(ValueError, match=f"a.png {words}" if words.startswith(("is", "has")) else words) as error:
            read(tmp_path / "a.png")
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("coding", ["utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("format", ["JPEG", "WEBP", "TIFF"])
def test_xmp_in_every_coding_is_read_and_written_as_utf_8(tmp_path, coding, format):
    packet = ANNOUNCES.encode(coding)
    data = tiff(SCENE, (700, "B", packet)) if format == "TIFF" else saved(format, xmp=packet)
    (tmp_path / "a").write_bytes(data)
    photograph = images.read_photograph(tmp_path / "a")
    assert photograph.size == (24, 40) and photograph.note == "its gain map not kept"
    assert b'tiff:Orientation="1"' in photograph.metadata.xmp and b"hdrgm" not in photograph.metadata.xmp
    declared = '<?xml version="1.0" encoding="UTF-16"?><x>\u00e9</x>'.encode("utf-16")
    (tmp_path / "a").write_bytes(saved("JPEG", xmp=declared))
    assert images.read_photograph(tmp_path / "a").metadata.xmp == "<x>\u00e9</x>".encode()


def test_texts_of_windows_and_of_archives_are_kept_in_a_tiff(tmp_path):
    title = "Jörg".encode("utf-16-le") + b"\0\0"
    tags = [(0x9C9B, "B", title), (0x4746, "H", (5,)), (269, "s", "scan 7"), (285, "s", "page 3"), (316, "s", "host")]
    (tmp_path / "a.tif").write_bytes(tiff(SCENE, *tags))
    for name in ("b.tif", "c.jpg", "d.tif"):
        photograph = images.read_photograph(tmp_path / "a.tif")
        images.write_photograph(tmp_path / name, photograph)
        (tmp_path / "a.tif").write_bytes((tmp_path / name).read_bytes())
    with Image.open(tmp_path / "d.tif") as image:
        found = image.getexif()
        assert photograph.note == "its content is JPEG" and bytes(found[0x9C9B]) == title
        assert [found[tag] for tag in (0x4746, 269, 285, 316)] == [5, "scan 7", "page 3", "host"]


def test_what_stands_beside_a_heic_picture(tmp_path):
    heif = pytest.importorskip("pillow_heif")
    file = io.BytesIO()
    heif.from_bytes("RGBA", (40, 24), np.dstack([SCENE, GRAY]).tobytes()).save(file, quality=-1, chroma=444)
    kind = re.search(rb"auxC\0\0\0\0([^\0]+)\0", file.getvalue())[1]
    for other, note in {
        kind: "",
        b"urn:mpeg:hevc:2015:auxid:2": "its depth map not kept",
        b"urn:com:apple:2018:hairmatte": "its hairmatte not kept",
        b"urn:apple:2020:hdrgainmap": "its gain map not kept",
    }.items():
        other = other.rjust(len(kind), b"u")[-len(kind) :]
        (tmp_path / "a.heic").write_bytes(file.getvalue().replace(kind, other))
        photograph = images.read_photograph(tmp_path / "a.heic")
        assert photograph.note == note and (photograph.alpha is None) == bool(note)
    two = heif.from_bytes("RGB", (40, 24), bytes(2880))
    two.add_frombytes("RGB", (40, 24), bytes([200]) * 2880)
    two.save(tmp_path / "two.heic", primary_index=1)
    photograph = images.read_photograph(tmp_path / "two.heic")
    assert photograph.note == "main one of 2 pictures" and photograph.pixels.mean() > 0.7


def grid(tile, rows, columns, width, height):
    """A HEIC picture as phones write it, of tiles; all of them are the picture of ``tile``, a HEIC file."""

    def box(name, *parts):
        body = b"".join(parts)
        return struct.pack(">I", len(body) + 8) + name + body

    full, count, main = bytes(4), rows * columns, rows * columns + 1  # items 1 to count are tiles, main is the picture
    at = tile.index(b"hvcC") - 4
    coded = tile[tile.index(b"mdat") + 4 :]
    layout = struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, width, height)
    kinds = [struct.pack(">IHH", 2 << 24 | (i < main), i, 0) for i in range(1, main + 1)]  # tiles are hidden
    kinds = [kind + (b"hvc1\0" if kind[3] else b"grid\0") for kind in kinds]
    links = [struct.pack(">HBB", i, 1 if i == main else 2, 3 if i == main else 0x81) for i in range(1, main + 1)]
    links = [link + b"\2" * (link[2] == 2) for link in links]
    sides = tile[tile.index(b"ispe") - 4 :][:20]

    def meta(start):
        places = [(len(coded), len(layout)) if i == main else (0, len(coded)) for i in range(1, main + 1)]
        places = [struct.pack(">HHHII", i, 0, 1, start + at, size) for i, (at, size) in enumerate(places, 1)]
        return box(
            b"meta",
            full,
            box(b"hdlr", full, bytes(4), b"pict", bytes(13)),
            box(b"pitm", full, struct.pack(">H", main)),
            box(b"iloc", full, b"\x44\0", struct.pack(">H", main), *places),
            box(b"iinf", full, struct.pack(">H", main), *(box(b"infe", kind) for kind in kinds)),
            box(b"iref", full, box(b"dimg", struct.pack(f">{count + 2}H", main, count, *range(1, main)))),
            box(
                b"iprp",
                box(
                    b"ipco",
                    tile[at:][: int.from_bytes(tile[at : at + 4])],
                    sides,
                    box(b"ispe", full, struct.pack(">II", width, height)),
                ),
                box(b"ipma", full, struct.pack(">I", main), *links),
            ),
        )

    head = box(b"ftyp", b"heic", full, b"mif1heic")
    start = len(head) + len(meta(0)) + 8
    return head + meta(start) + box(b"mdat", coded, layout)


def test_a_heic_picture_of_tiles(tmp_path):
    heif = pytest.importorskip("pillow_heif")
    tile = io.BytesIO()
    colours = np.zeros((64, 64, 3), np.uint8)
    colours[:32] = 255, 0, 0
    heif.from_bytes("RGB", (64, 64), colours.tobytes()).save(tile, quality=90)
    (tmp_path / "a.heic").write_bytes(grid(tile.getvalue(), 2, 3, 150, 100))  # the last tiles are cut
    photograph = images.read_photograph(tmp_path / "a.heic")
    assert photograph.size == (150, 100) and photograph.note == ""
    red = photograph.pixels[0] - photograph.pixels[1]
    assert red[:30].min() > 0.9 and red[34:62].max() < 0.1 and red[66:94].min() > 0.9


def test_the_limit_is_the_same_for_every_format(tmp_path, monkeypatch):
    heif = pytest.importorskip("pillow_heif")
    files = {name: saved(name) for name in ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "AVIF")}
    files["JPEG XL"] = imagecodecs.jpegxl_encode(SCENE)
    heif.from_bytes("RGB", (40, 24), SCENE.tobytes()).save(tmp_path / "a")
    files["HEIC"] = (tmp_path / "a").read_bytes()
    for data in files.values():
        (tmp_path / "a").write_bytes(data)
        monkeypatch.setattr("demoe.core.samples.MAX_PIXELS", 960)
        assert images.read_photograph(tmp_path / "a").size == (40, 24)
        monkeypatch.setattr("demoe.core.samples.MAX_PIXELS", 959)
        with pytest.raises(ImageError, match="is 40x24 pixels; at most"):
            images.read_photograph(tmp_path / "a")
