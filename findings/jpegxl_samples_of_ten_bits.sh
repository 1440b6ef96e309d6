#!/usr/bin/env bash
# imagecodecs 2026.3.6 gives the samples of a JPEG XL of 10 or 12 bits unscaled, and nothing says how many bits they have.
#
# Expected: white is 65535, as libjxl's API fills a buffer of uint16 unless it is asked not to; or the depth can be asked
# for.
# Seen: jpegxl_decode returns uint16 in which white is 1023 or 4095: as a 16-bit picture it is nearly black. Of 16 bits
# white is 65535. Of a picture whose brightest sample is not white, the array does not tell the three apart; the depth is
# only in the stream's header.
#
# Output seen: the lines at the end of this file.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check numpy==2.4.6 imagecodecs==2026.3.6
"$folder/env/bin/python" - <<'PY' | tee "$folder/output"
import imagecodecs
import numpy as np

for bits in (10, 12, 16):
    white = np.full((16, 16, 3), 2**bits - 1, np.uint16)
    stream = imagecodecs.jpegxl_encode(white, lossless=True, bitspersample=bits)
    read = imagecodecs.jpegxl_decode(stream)
    print(f"{bits} bits: {read.dtype}, white is {read.max()}")
PY
diff "$folder/output" - <<'OUT'
10 bits: uint16, white is 1023
12 bits: uint16, white is 4095
16 bits: uint16, white is 65535
OUT
