"""The one reader: size, window and whole agree however a file is written, and what a result does not keep is told."""

import io
import struct
import subprocess
import sys
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile
import torch
from orientations import UPRIGHT
from PIL import Image

from demoe.core import images
from demoe.core.encoding import png_chunk
from demoe.core.images import ImageError
from demoe.data.real import pixels

ROWS, COLUMNS = np.indices((24, 40))
RAMP = np.stack([ROWS * 6, COLUMNS * 5, (ROWS + COLUMNS) * 3], -1) / 195
SCENE = (RAMP * 255).astype(np.uint8)  # (24,40,3)
XMP = b'<x xmlns:tiff="http://ns.adobe.com/tiff/1.0/"><r tiff:Orientation="%d"/></x>'


def check(path, expected, tolerance=1e-5):
    """``expected``: (H,W,3) in [0,1], upright."""
    photograph = images.read_photograph(path)
    whole, size, header = pixels.read_pixels(path, bits=16), pixels.size(path), pixels.header(path)
    assert size == expected.shape[:2] == header.size[::-1] == photograph.size[::-1] == whole.shape[1:]
    assert not header.fault and torch.equal(pixels.read_pixels(path, (3, 5, 9, 11), 16), whole[:, 3:12, 5:16])
    assert np.abs(photograph.pixels.permute(1, 2, 0).numpy() - expected).max() <= tolerance
    assert (whole / 65535 - photograph.pixels).abs().max() < 1e-5


def compressed(samples, kind, bits):
    """A strip as other programs write it; None where the kind has no such samples."""
    if kind == "none":
        return imagecodecs.packints_encode(samples.reshape(24, -1), 12) if bits == 12 else samples.tobytes()
    if kind == "lzw":
        return None if bits == 12 else imagecodecs.lzw_encode(samples.tobytes())
    if kind == "jpeg2000":
        return imagecodecs.jpeg2k_encode(samples, level=0, bitspersample=bits)
    if kind == "jpegxl":
        return imagecodecs.jpegxl_encode(samples, lossless=True, bitspersample=bits)
    options = {"level": 99, "colorspace": "RGB", "outcolorspace": "RGB"}
    return imagecodecs.jpeg8_encode(samples, bitspersample=bits, **options) if bits < 16 else None


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("kind", ["none", "lzw", "jpeg", "jpeg2000", "jpegxl"])
def test_tiff(tmp_path, order, big, bits, kind):
    samples = (RAMP * (2**bits - 1)).round().astype(np.uint8 if bits == 8 else np.uint16)
    stored = samples.astype(samples.dtype.newbyteorder(order)) if kind in ("none", "lzw") and bits != 12 else samples
    strip = compressed(stored, kind, bits)
    if strip is None:
        return
    for orientation, turn in UPRIGHT.items():
        with tifffile.TiffWriter(tmp_path / "a.tif", byteorder=order, bigtiff=big) as writer:
            writer.write(
                iter([strip]),
                shape=samples.shape,
                dtype=samples.dtype.newbyteorder(order),
                photometric="rgb",
                compression=None if kind == "none" else kind,
                bitspersample=bits,
                rowsperstrip=24,
                extratags=[(274, "H", 1, orientation, True)],
            )
        check(tmp_path / "a.tif", turn(samples / (2**bits - 1)), 0.02 if kind == "jpeg" else 1e-5)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("order", "<>")
def test_floating_tiff(tmp_path, dtype, order):
    values = RAMP.astype(dtype)
    for kind in (None, "lzw"):
        tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", byteorder=order, compression=kind)
        check(tmp_path / "a.tif", values.astype(np.float64))


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_orientation_wherever_it_stands(tmp_path, orientation):
    expected, picture, tags = UPRIGHT[orientation](SCENE / 255), Image.fromarray(SCENE), Image.Exif()
    tags[0x0112] = orientation
    options = {"png": {}, "jpg": {"quality": 98, "subsampling": 0}, "webp": {"lossless": True}}
    for suffix, more in options.items():
        tolerance = 0.06 if suffix == "jpg" else 1e-5
        picture.save(tmp_path / f"a.{suffix}", exif=tags.tobytes(), **more)
        check(tmp_path / f"a.{suffix}", expected, tolerance)
        if suffix != "png":
            picture.save(tmp_path / f"x.{suffix}", xmp=XMP % orientation, **more)
            check(tmp_path / f"x.{suffix}", expected, tolerance)
    data = (tmp_path / "a.png").read_bytes()
    at = data.index(b"eXIf") - 4
    end = at + 12 + int.from_bytes(data[at : at + 4], "big")
    (tmp_path / "behind.png").write_bytes(data[:at] + data[end:-12] + data[at:end] + data[-12:])
    check(tmp_path / "behind.png", expected)
    xmp = XMP % orientation
    tifffile.imwrite(tmp_path / "x.tif", SCENE, photometric="rgb", extratags=[(700, "B", len(xmp), xmp, True)])
    check(tmp_path / "x.tif", expected)


def test_deep_and_lossless_jpeg_avif_and_jpeg_xl(tmp_path):
    twelve, sixteen = (RAMP * 4095).astype(np.uint16), (RAMP * 65535).astype(np.uint16)
    (tmp_path / "12.jpg").write_bytes(imagecodecs.jpeg8_encode(twelve, bitspersample=12, level=99))
    check(tmp_path / "12.jpg", twelve / 4095, 0.02)
    assert "12 bits a sample" in images.read_photograph(tmp_path / "12.jpg").note
    (tmp_path / "lossless.jpg").write_bytes(imagecodecs.jpeg8_encode(SCENE, lossless=True))
    check(tmp_path / "lossless.jpg", SCENE / 255)
    (tmp_path / "a.jxl").write_bytes(imagecodecs.jpegxl_encode(sixteen, lossless=True))
    check(tmp_path / "a.jxl", sixteen / 65535)
    (tmp_path / "a.avif").write_bytes(imagecodecs.avif_encode(twelve >> 2, bitspersample=10, level=100))
    check(tmp_path / "a.avif", (twelve >> 2) / 1023, 0.02)


def test_jpeg_xl_of_hostile_size_is_refused(tmp_path):
    (tmp_path / "a.jxl").write_bytes(
        b"\xff\x0a" + (0b0 | 3 << 1 | (2**29) << 3 | 1 << 33).to_bytes(8, "little") + bytes(40)
    )
    with pytest.raises(ImageError, match="536870913x536870913 pixels; at most 200 million"):
        images.read_photograph(tmp_path / "a.jxl")


def test_the_largest_page_or_a_refusal(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(SCENE[::4, ::4].copy(), photometric="rgb", subfiletype=1)
        writer.write(SCENE, photometric="rgb")
    check(tmp_path / "a.tif", SCENE / 255)
    assert images.read_photograph(tmp_path / "a.tif").note == "largest of 2 pages"
    tifffile.imwrite(tmp_path / "raw.tif", SCENE[..., 0], photometric="cfa", extratags=[(33421, "H", 2, (2, 2), True)])
    with pytest.raises(ImageError, match=r"raw\.tif is a camera's raw file: develop it first"):
        images.read_photograph(tmp_path / "raw.tif")


@pytest.mark.parametrize(
    ("extra", "kinds", "alpha", "note"),
    [
        (1, ["unspecified"], False, "extra channel not kept"),
        (3, ["unspecified"] * 3, False, "extra channels not kept"),
        (2, ["unassalpha", "unspecified"], True, "extra channel not kept"),
        (1, ["unassalpha"], True, ""),
    ],
)
def test_extra_channels_are_no_alpha(tmp_path, extra, kinds, alpha, note):
    samples = np.dstack([SCENE, SCENE])[..., : 3 + extra]
    tifffile.imwrite(tmp_path / "a.tif", samples, photometric="rgb", extrasamples=kinds)
    photograph = images.read_photograph(tmp_path / "a.tif")
    assert (photograph.alpha is not None) == alpha and photograph.note == note


PACKET = b'<x><d xmlns:dc="http://purl.org/dc/elements/1.1/" dc:title="t" %s</d></x>'


@pytest.mark.parametrize(
    ("packet", "words", "gone"),
    [
        (b'xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0">', "gain map", b"Version"),
        (b'xmlns:G="http://ns.google.com/photos/1.0/camera/" G:MicroVideo="1">', "motion video", b"MicroVideo"),
        (b'xmlns:D="http://ns.google.com/photos/1.0/depthmap/"><D:Near>1</D:Near>', "depth map", b"Near"),
    ],
)
def test_xmp_does_not_announce_what_is_not_there(tmp_path, packet, words, gone):
    Image.fromarray(SCENE).save(tmp_path / "a.jpg", xmp=PACKET % packet)
    photograph = images.read_photograph(tmp_path / "a.jpg")
    assert photograph.note == f"its {words} not kept"
    assert gone not in photograph.metadata.xmp and b'dc:title="t"' in photograph.metadata.xmp


def test_exif_has_the_size_of_the_turned_picture(tmp_path):
    tags = Image.Exif()
    tags[0x0112], tags[0x0100], tags[0x0101] = 6, 40, 24
    tags.get_ifd(0x8769).update({0xA002: 40, 0xA003: 24})
    Image.fromarray(SCENE).save(tmp_path / "a.jpg", exif=tags.tobytes())
    kept = Image.Exif()
    kept.load(images.read_photograph(tmp_path / "a.jpg").metadata.exif)
    inner = kept.get_ifd(0x8769)
    assert (kept[0x0100], kept[0x0101]) == (inner[0xA002], inner[0xA003]) == (24, 40)


def test_damaged_and_large_chunks_do_not_spoil_a_png(tmp_path, capfd):
    plain = imagecodecs.png_encode(SCENE)
    chunks = {
        b"\0\0\0\4tEXtabcd\0\0\0\0": "damaged tEXt not kept",
        png_chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(80 << 20))): "its text not kept",
        png_chunk(b"fdAT", bytes(20 << 20)): "",
        png_chunk(b"iCCP", b"n\0\0" + zlib.compress(bytes(80 << 20))): "damaged metadata not kept",
        png_chunk(b"caBX", b"jumdc2pa\x00\x11\x00\x10\x80\x00\x00\xaa\x008\x9bq"): "content credentials not kept",
        png_chunk(b"acTL", struct.pack(">II", 4, 0)): "first of 4 frames",
    }
    for chunk, note in chunks.items():
        (tmp_path / "a.png").write_bytes(plain[:33] + chunk + plain[33:])
        assert images.read_photograph(tmp_path / "a.png").note == note
        check(tmp_path / "a.png", SCENE / 255)
    assert capfd.readouterr() == ("", "")


def test_what_is_not_read_is_told_by_its_name(tmp_path):
    jpeg = io.BytesIO()
    Image.fromarray(SCENE).save(jpeg, "JPEG")
    contents = {
        b"GIF89a": "is a GIF image",
        b"8BPS": "is a Photoshop document",
        b"\0\0\0\x18ftypmp42": "is a video",
        b"II*\0\x10\0\0\0CR\2\0": "is a camera's raw file",
        b"version https://git-lfs.github.com/spec/v1": "is the pointer of a Git LFS file",
        b"<!DOCTYPE html><html>": "is a web page",
        imagecodecs.jpeg2k_encode(SCENE): "is a JPEG 2000 image",
        b"words": "is not a PNG, JPEG",
        jpeg.getvalue()[:-2]: "is damaged or incomplete: the end of the JPEG is missing",
        imagecodecs.png_encode(SCENE)[:-12]: "is damaged or incomplete: the end of the PNG is missing",
    }
    for content, words in contents.items():
        (tmp_path / "a.png").write_bytes(content)
        for read in (images.read_photograph, pixels.size, pixels.read_pixels):
            with pytest.raises(ValueError, match=f"a.png {words}"):
                read(tmp_path / "a.png")


def test_every_suffix_of_a_photograph(tmp_path):
    for name in ("a.jfif", "a.JPE", "a.hif", "a.avif", "a.jxl"):
        (tmp_path / name).touch()
    assert len(images.list_photographs(tmp_path)) == 5
    assert (
        images.result_name(tmp_path / "a.jfif").name == "a.jfif"
        and images.result_name(tmp_path / "a.HIF").name == "a.png"
    )


def test_two_hundred_megapixels_are_read(tmp_path):
    """In a process of its own, because it needs gigabytes; by size alone, which decides."""
    code = f"""from PIL import Image
Image.MAX_IMAGE_PIXELS = None
Image.new("1", (16320, 12240)).save(r"{tmp_path}/a.png")
Image.new("1", (16320, 12260)).save(r"{tmp_path}/b.png")"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert pixels.size(tmp_path / "a.png") == (12240, 16320)
    with pytest.raises(ValueError, match="16320x12260 pixels; at most 200 million"):
        pixels.size(tmp_path / "b.png")


WORDS_IN_XMP = b'<x xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><r:Description %s/></x>'
GOOGLE = b"http://ns.google.com/photos/1.0/"


@pytest.mark.parametrize(
    "words, note, gone",
    [
        (b'xmlns:p="%spanorama/" p:ProjectionType="sphere"' % GOOGLE, "", b""),
        (b'xmlns:c="%scamera/" c:BurstID="7"' % GOOGLE, "", b""),
        (b'xmlns:a="%saudio/" a:Data="AAAA"' % GOOGLE, "its sound not kept", b"AAAA"),
        (b'xmlns:i="%simage/" i:Data="AAAA"' % GOOGLE, "its second picture not kept", b"AAAA"),
        (b'xmlns:o="http://ns.oplus.com/photos/1.0/" o:OLivePhotoVersion="2"', "its motion video not kept", b"OLive"),
        (b'xmlns:n="http://ns.adobe.com/xmp/note/" n:HasExtendedXMP="AB"', "extended XMP not kept", b"HasExt"),
        (b'xmlns:d="http://purl.org/dc/terms/" d:provenance="https://a.b/c"', "content credentials not kept", b"a.b"),
        (b'xmlns:d="http://purl.org/dc/terms/" d:provenance="from my aunt"', "", b""),
        (b'xmlns:t="http://ns.adobe.com/xap/1.0/" t:Thumbnails="AAAA"', "", b"AAAA"),
    ],
)
def test_xmp_loses_what_is_not_there_and_nothing_else(tmp_path, words, note, gone):
    packet = WORDS_IN_XMP % words
    Image.fromarray(SCENE).save(tmp_path / "a.jpg", xmp=packet)
    photograph = images.read_photograph(tmp_path / "a.jpg")
    assert photograph.note == note and (photograph.metadata.xmp == packet if not gone else True)
    assert not gone or gone not in photograph.metadata.xmp


def test_xmp_that_is_deep_or_announces_at_its_root(tmp_path):
    deep = b"<x>" * 9000 + b"</x>" * 9000
    root = b'<x xmlns:h="http://ns.adobe.com/hdr-gain-map/1.0/"><y h:Version="1"/></x>'
    for packet, kept, note in ((deep, deep, ""), (root, b"<x><y/></x>", "its gain map not kept")):
        Image.fromarray(SCENE).save(tmp_path / "a.jpg", xmp=packet)
        photograph = images.read_photograph(tmp_path / "a.jpg")
        assert photograph.metadata.xmp == kept and photograph.note == note


def test_xmp_has_the_size_of_the_turned_picture(tmp_path):
    packet = (
        b'<x xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:exif="http://ns.adobe.com/exif/1.0/">'
        b'<r tiff:Orientation="6" tiff:ImageWidth="40" exif:PixelYDimension="24">'
        b"<tiff:ImageLength>24</tiff:ImageLength></r></x>"
    )
    Image.fromarray(SCENE).save(tmp_path / "a.jpg", xmp=packet)
    kept = images.read_photograph(tmp_path / "a.jpg").metadata.xmp
    for words in (b'ImageWidth="24"', b'PixelYDimension="40"', b"<tiff:ImageLength>40<", b'Orientation="1"'):
        assert words in kept


def test_what_stands_beside_a_picture_without_xmp(tmp_path):
    Image.fromarray(SCENE).save(tmp_path / "a.jpg")
    data = (tmp_path / "a.jpg").read_bytes()
    iso = b"urn:iso:std:iso:ts:21496:-1\0"
    for more, note in {
        (data, b"\0\0\0\x18ftypmp42" + bytes(90)): "its motion video not kept",
        (data[:2] + b"\xff\xe2" + struct.pack(">H", len(iso) + 2) + iso + data[2:], b""): "its gain map not kept",
        (data[:13] + b"\0\0\2\0\1" + data[18:], b""): "the shape of its pixels not kept",
    }.items():
        (tmp_path / "a.jpg").write_bytes(b"".join(more))
        assert images.read_photograph(tmp_path / "a.jpg").note == note


def test_colours_that_only_numbers_describe(tmp_path):
    Image.fromarray(SCENE).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    for red, note in {64000: "", 64001: "", 68000: "its primaries (cHRM) not kept"}.items():
        body = struct.pack(">8I", 31270, 32900, red, 33000, 30000, 60000, 15000, 6000)
        (tmp_path / "a.png").write_bytes(data[:33] + png_chunk(b"cHRM", body) + data[33:])
        assert images.read_photograph(tmp_path / "a.png").note == note
    for primaries, transfer, note in ((1, 13, ""), (12, 13, "the colours of Display P3 not kept")):
        encoded = imagecodecs.avif_encode(SCENE, level=90, primaries=primaries, transfer=transfer, matrix=1)
        (tmp_path / "a.avif").write_bytes(encoded)
        assert images.read_photograph(tmp_path / "a.avif").note == note
        heif = pytest.importorskip("pillow_heif").from_bytes("RGB", (40, 24), SCENE.tobytes())
        numbers = {"color_primaries": primaries, "transfer_characteristics": transfer, "matrix_coefficients": 6}
        heif.save(tmp_path / "a.heic", full_range_flag=1, **numbers)
        assert images.read_photograph(tmp_path / "a.heic").note == note


def test_an_animated_jpeg_xl_is_told(tmp_path):
    (tmp_path / "a.jxl").write_bytes(imagecodecs.jpegxl_encode(np.stack([SCENE, SCENE[::-1]])))
    assert images.read_photograph(tmp_path / "a.jxl").note == "colours taken for sRGB, first of 2 frames"


def with_tags(path, *tags, **more):
    options = {"photometric": "rgb", "metadata": None, "software": False}
    extra = [(code, kind, len(value) if kind in "BHd" else 0, value, True) for code, kind, value in tags]
    tifffile.imwrite(path, SCENE, extratags=extra, **options | more)
    return path


@pytest.mark.parametrize(
    "tag, note",
    [
        ((37724, "B", b"Adobe Photoshop Document Data Block"), "its layers not kept"),
        ((34377, "B", b"8BIM\x04\x04\0\0\0\0\0\x02\x1c\x02"), "IPTC data not kept"),
        ((33922, "d", (0.0,) * 6), "its georeference not kept"),
    ],
)
def test_what_a_tiff_says_of_more_than_its_pixels(tmp_path, tag, note):
    assert images.read_photograph(with_tags(tmp_path / "a.tif", tag)).note == note


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", "<>")
def test_texts_of_a_tiff_are_kept_wherever_its_picture_stands(tmp_path, big, order):
    preview = {"photometric": "rgb", "metadata": None, "software": False, "subfiletype": 1}
    own = [(315, "s", 0, "Ann", True), (274, "H", 1, 6, True)]
    for below in (True, False):  # the picture is a page below the preview, which is told about there; or one of its own
        with tifffile.TiffWriter(tmp_path / "a.tif", bigtiff=big, byteorder=order) as writer:
            writer.write(SCENE[::4, ::4].copy(), subifds=int(below), extratags=own if below else [], **preview)
            writer.write(SCENE, extratags=[] if below else own, **preview | {"subfiletype": 0})
        check(tmp_path / "a.tif", UPRIGHT[6](SCENE / 255))
        photograph = images.read_photograph(tmp_path / "a.tif")
        if "EXIF not kept" in photograph.note and (big, order) == (True, ">"):  # what Pillow does not read
            continue
        images.write_photograph(tmp_path / "b.tif", photograph)
        with Image.open(tmp_path / "b.tif") as result:
            assert result.getexif()[315] == "Ann"


def test_a_result_is_not_called_the_stack_that_it_comes_from(tmp_path):
    stack = np.stack([SCENE[..., 0]] * 5)
    tifffile.imwrite(tmp_path / "a.tif", stack, imagej=True)
    tifffile.imwrite(tmp_path / "b.tif", stack, photometric="minisblack")
    tifffile.imwrite(tmp_path / "c.ome.tif", stack, photometric="minisblack", ome=True)
    for name in ("a.tif", "b.tif", "c.ome.tif"):
        photograph = images.read_photograph(tmp_path / name)
        images.write_photograph(tmp_path / "out.tif", photograph)
        assert photograph.note == "first of 5 frames"
        with tifffile.TiffFile(tmp_path / "out.tif") as result:
            assert result.series[0].shape == (24, 40) and "ImageDescription" not in result.pages[0].tags


def test_tiffs_that_are_not_read_are_not_called_damaged(tmp_path):
    def patched(tag, *values):
        with_tags(tmp_path / "a.tif")
        with tifffile.TiffFile(tmp_path / "a.tif") as file:
            at = file.pages[0].tags[tag].valueoffset
        data = bytearray((tmp_path / "a.tif").read_bytes())
        struct.pack_into(f"<{len(values)}H", data, at, *values)
        (tmp_path / "a.tif").write_bytes(data)
        with pytest.raises(ImageError) as error:
            images.read_photograph(tmp_path / "a.tif")
        return str(error.value)

    assert "of a kind that is not read: <COMPRESSION.NIKON_NEF: 34713> not supported" in patched(259, 34713)
    assert "of a kind that is not read: (5, 6, 5) bits" in patched(258, 5, 6, 5)
    with_tags(tmp_path / "b.tif", (33421, "H", (2, 2)), (33422, "B", b"\0\1\1\2"))
    with pytest.raises(ImageError, match="a camera's raw file"):
        images.read_photograph(tmp_path / "b.tif")
