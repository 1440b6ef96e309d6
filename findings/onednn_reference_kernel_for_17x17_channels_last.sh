#!/usr/bin/env bash
# The weight gradient of a 17x17 convolution on few channels, on a CPU, PyTorch 2.15.0 (oneDNN inside): channels-last
# memory, which speeds most networks up, makes it twenty to forty times slower.
#
# Expected: the two memory formats take similar times, as they do for every kernel up to 15x15, channels-last mostly less.
# Seen: for 17x17 and more, and 16 channels or fewer, oneDNN has no implementation of the weight gradient for
# channels-last maps but its reference loops ("ref:any"); for contiguous maps it is "x64:gemm:jit". With 24 channels
# it is not the reference for either. 8 crops of 32x32, one thread, an AVX-512 processor, ms for contiguous and
# channels-last: 8 channels 15x15 21 and 13, 17x17 26 and 522; 16 channels 17x17 56 and 2241; 24 channels 17x17 92
# and 69. Held to AVX2 (ONEDNN_MAX_CPU_ISA) the same. The gradient of the input is not concerned: 4 ms and 3 ms. Networks
# that look at far pixels through a large kernel on a part of their channels train in a format that makes one small
# layer take most of the step; nothing warns. ONEDNN_VERBOSE=1 tells.
#
# Output seen: the lines at the end of this file (implementations; times are not compared). Needs an x86-64 processor.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check torch==2.15.0 numpy==2.3.5 2>/dev/null
cat >"$folder/gradient.py" <<'PY'
import sys
import torch
import torch.nn.functional as F

channels, kernel, layout = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
x = torch.randn(8, channels, 32, 32)
if layout == "channels_last":
    x = x.contiguous(memory_format=torch.channels_last)
weight = torch.randn(channels, channels, kernel, kernel, requires_grad=True)
F.conv2d(x, weight, padding=kernel // 2).sum().backward()
PY
for case in "8 15" "8 17" "16 17" "24 17"; do
    for layout in contiguous channels_last; do
        # shellcheck disable=SC2086
        name=$(ONEDNN_VERBOSE=1 OMP_NUM_THREADS=1 "$folder/env/bin/python" "$folder/gradient.py" $case $layout |
            grep 'exec,cpu,convolution,.*,backward_weights' | cut -d, -f7)
        case $name in *ref*) name=reference ;; *) name=fast ;; esac
        echo "$case $layout $name"
    done
done | tee "$folder/output"
diff "$folder/output" - <<'OUT'
8 15 contiguous fast
8 15 channels_last fast
8 17 contiguous fast
8 17 channels_last reference
16 17 contiguous fast
16 17 channels_last reference
24 17 contiguous fast
24 17 channels_last fast
OUT
