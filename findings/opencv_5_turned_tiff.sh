#!/usr/bin/env bash
# OpenCV 5.0.0.93 (headless wheel) cannot read a TIFF that lies on its side, and turns the others even when told not to.
#
# Expected: IMREAD_UNCHANGED and IMREAD_IGNORE_ORIENTATION give a TIFF's stored pixels, whatever its tag Orientation
# says, as they do for JPEG; the other flags give the picture upright.
# Seen: with every flag, orientations 2 to 4 are applied, so "unchanged" is changed; for 5 to 8, what a scanner or a
# camera held upright writes, imread returns None (it logs that its buffer was allocated anew), unless the picture is
# square. JPEG, for comparison, is right: the flags decide. Pictures of 4x6 and 4x4 pixels, written by tifffile 2026.3.3.
#
# Output seen: the lines at the end of this file.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check \
    opencv-python-headless==5.0.0.93 numpy==2.4.6 tifffile==2026.3.3 pillow==13.0.0
cd "$folder"
OPENCV_LOG_LEVEL=SILENT "$folder/env/bin/python" - 2>/dev/null <<'PY' | tee "$folder/output"
import cv2
import numpy as np
import tifffile
from PIL import Image

FLAGS = {"unchanged": cv2.IMREAD_UNCHANGED, "ignore": cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION, "gray": 0}


def seen(name, stored):
    words = []
    for flag, value in FLAGS.items():
        read = cv2.imread(name, value)
        word = "none" if read is None else "turned"
        if read is not None and read.shape == stored.shape and abs(read.astype(int) - stored).max() < 12:
            word = "stored"
        words.append(f"{flag} {word}")
    return ", ".join(words)


for width in (6, 4):
    picture = (np.arange(4 * width, dtype=np.uint8) * 7).reshape(4, width)
    for orientation in range(1, 9):
        tag = [(274, "H", 1, orientation, True)]
        tifffile.imwrite("a.tif", picture, photometric="minisblack", extratags=tag)
        print(f"TIFF 4x{width}, orientation {orientation}:", seen("a.tif", picture))
exif = Image.Exif()
exif[274] = 6
picture = np.repeat(np.repeat((np.arange(24, dtype=np.uint8) * 10).reshape(4, 6), 8, 0), 8, 1)
Image.fromarray(picture).save("a.jpg", exif=exif, quality=98)
print("JPEG, orientation 6:", seen("a.jpg", picture))
PY
diff "$folder/output" - <<'OUT'
TIFF 4x6, orientation 1: unchanged stored, ignore stored, gray stored
TIFF 4x6, orientation 2: unchanged turned, ignore turned, gray turned
TIFF 4x6, orientation 3: unchanged turned, ignore turned, gray turned
TIFF 4x6, orientation 4: unchanged turned, ignore turned, gray turned
TIFF 4x6, orientation 5: unchanged none, ignore none, gray none
TIFF 4x6, orientation 6: unchanged none, ignore none, gray none
TIFF 4x6, orientation 7: unchanged none, ignore none, gray none
TIFF 4x6, orientation 8: unchanged none, ignore none, gray none
TIFF 4x4, orientation 1: unchanged stored, ignore stored, gray stored
TIFF 4x4, orientation 2: unchanged turned, ignore turned, gray turned
TIFF 4x4, orientation 3: unchanged turned, ignore turned, gray turned
TIFF 4x4, orientation 4: unchanged turned, ignore turned, gray turned
TIFF 4x4, orientation 5: unchanged turned, ignore turned, gray turned
TIFF 4x4, orientation 6: unchanged turned, ignore turned, gray turned
TIFF 4x4, orientation 7: unchanged turned, ignore turned, gray turned
TIFF 4x4, orientation 8: unchanged turned, ignore turned, gray turned
JPEG, orientation 6: unchanged stored, ignore stored, gray turned
OUT
