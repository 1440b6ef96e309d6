#!/usr/bin/env bash
# PyTorch 2.15.0's header ATen/cpu/vec/vec.h, meant to let one source serve all processors, declares different functions
# for different instruction sets.
#
# Expected: a C++ source of at::vec::Vectorized that compiles with CPU_CAPABILITY AVX2 compiles with AVX512.
# Seen: vec_reduce_all of one Vectorized is in functional.h. vec256_convert.h includes that header and vec512_convert.h
# does not, so a source that includes vec.h alone compiles without vector instructions and for AVX2, and for AVX-512 is
# told that there is no matching function: the only one by that name there is vec_n.h's, of VectorizedN. Code that is
# compiled at first use, and written on a machine with AVX2, fails on the newer machines of others. With functional.h
# included all three compile.
#
# Output seen, by g++ 12.2: the lines at the end of this file. Needs g++ for x86-64; the processor does not matter.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --no-deps --no-compile --target "$folder/site" torch==2.15.0
include=$folder/site/torch/include
declare -A flags=([DEFAULT]="" [AVX2]="-mavx2 -mfma -mf16c" [AVX512]="-mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx2 -mfma -mf16c")

cat >"$folder/body" <<'CPP'
#include <ATen/cpu/vec/vec.h>
using Vec = at::vec::Vectorized<float>;
float sum(const Vec& v) {
  return at::vec::vec_reduce_all<float>([](const Vec& a, const Vec& b) { return a + b; }, v);
}
CPP

for first in "" "#include <ATen/cpu/vec/functional.h>"; do
    { echo "$first"; cat "$folder/body"; } >"$folder/sum.cpp"
    for set in DEFAULT AVX2 AVX512; do
        # shellcheck disable=SC2086
        if g++ -std=c++20 -fsyntax-only -w "-DCPU_CAPABILITY=$set" "-DCPU_CAPABILITY_$set" ${flags[$set]} \
            -I"$include" -I"$include/torch/csrc/api/include" "$folder/sum.cpp" 2>"$folder/errors"; then
            echo "$set: compiles"
        else
            echo "$set: $(grep -m1 -o 'no matching function for call to .vec_reduce_all' "$folder/errors" | tr -d '‘')"
        fi
    done
done | tee "$folder/output"
diff "$folder/output" - <<'OUT'
DEFAULT: compiles
AVX2: compiles
AVX512: no matching function for call to vec_reduce_all
DEFAULT: compiles
AVX2: compiles
AVX512: compiles
OUT
