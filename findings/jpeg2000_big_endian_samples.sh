#!/usr/bin/env bash
# A big-endian TIFF with JPEG 2000, written by tifffile 2026.3.3 with imagecodecs 2026.3.6 (NumPy 2.4.6), holds other pixels.
#
# Expected: tifffile.imwrite(byteorder=">", compression="jpeg2000") and imread give the picture back, as with Deflate, LZW
# and Zstandard, or an error, as with LERC and JPEG XL, whose encoders refuse an array of type ">u2".
# Seen: imagecodecs.jpeg2k_encode takes an array of type ">u2" as if it were in the machine's order. The file is written
# without a word, and every 16-bit sample has its two bytes exchanged: 7 becomes 1792. The reader is right: it reads a
# correct stream in a big-endian TIFF correctly, so files that were written this way stay wrong.
#
# Output seen:
#   encoder, big-endian array: equal False, bytes exchanged True
#   file written by tifffile: equal False, bytes exchanged True
#   other compressions, big-endian: deflate equal, lzw equal, zstd equal, lerc refused, jpegxl refused
#   a correct stream in a big-endian TIFF: equal True
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check numpy==2.4.6 tifffile==2026.3.3 imagecodecs==2026.3.6
"$folder/env/bin/python" - <<'PY' | tee "$folder/output"
import io

import imagecodecs
import numpy as np
import tifffile

picture = (np.arange(64 * 64, dtype=np.uint16) * 7 % 4096).reshape(64, 64)


def compare(what, read):
    equal, exchanged = np.array_equal(read, picture), np.array_equal(read.byteswap(), picture)
    print(f"{what}: equal {equal}, bytes exchanged {exchanged}")


def through_file(compression):
    file = io.BytesIO()
    tifffile.imwrite(file, picture, byteorder=">", compression=compression, photometric="minisblack")
    return tifffile.imread(io.BytesIO(file.getvalue())).astype(np.uint16)


compare("encoder, big-endian array", imagecodecs.jpeg2k_decode(imagecodecs.jpeg2k_encode(picture.astype(">u2"), level=0)))
compare("file written by tifffile", through_file("jpeg2000"))
words = []
for name in ("deflate", "lzw", "zstd", "lerc", "jpegxl"):
    try:
        words.append(f"{name} {'equal' if np.array_equal(through_file(name), picture) else 'wrong'}")
    except ValueError:
        words.append(f"{name} refused")
print("other compressions, big-endian:", ", ".join(words))
stream, file = imagecodecs.jpeg2k_encode(picture, level=0, codecformat="j2k"), io.BytesIO()
with tifffile.TiffWriter(file, byteorder=">") as writer:
    writer.write(
        iter([stream]), shape=picture.shape, dtype="uint16", compression="jpeg2000", photometric="minisblack"
    )
print("a correct stream in a big-endian TIFF: equal", np.array_equal(tifffile.imread(io.BytesIO(file.getvalue())), picture))
PY
diff "$folder/output" - <<'OUT'
encoder, big-endian array: equal False, bytes exchanged True
file written by tifffile: equal False, bytes exchanged True
other compressions, big-endian: deflate equal, lzw equal, zstd equal, lerc refused, jpegxl refused
a correct stream in a big-endian TIFF: equal True
OUT
