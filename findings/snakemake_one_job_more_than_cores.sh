#!/usr/bin/env bash
# Snakemake 9.15.0 runs one job more at a time than --cores allows, once a first job has ended.
#
# Expected: with --cores 1, two jobs of one thread run one after the other.
# Seen: six jobs wait for a seventh. When that has ended, two of them start together under --cores 1 and three under
# --cores 2, and so on to the end: "Provided cores: 1" stands above "Execute 2 jobs". Jobs that nothing keeps waiting at
# the start are held to the cores. On a machine with that many cores each job takes longer, jobs that need its memory
# alone do not have it, and times measured in them are wrong. 9.27.1 keeps to the cores.
#
# Output seen: the lines at the end of this file: the most jobs that ran at the same time.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/Snakefile" <<'SMK'
rule all:
    input: expand("job{i}", i=range(6))

rule first:
    output: "first"
    shell: "touch {output}"

rule job:
    input: "first"
    output: "job{i}"
    shell: "date +%s.%N >{output}; sleep 2; date +%s.%N >>{output}"
SMK
for version in 9.15.0 9.27.1; do
    python3 -m venv "$folder/$version"
    "$folder/$version/bin/pip" install --quiet --disable-pip-version-check "snakemake==$version"
    for cores in 1 2; do
        mkdir "$folder/run"
        (cd "$folder/run" && "$folder/$version/bin/snakemake" --snakefile ../Snakefile --cores "$cores" >/dev/null 2>&1)
        echo "$version --cores $cores: $(python3 - "$folder"/run/job* <<'PY'
import sys

spans = [tuple(map(float, open(file).read().split())) for file in sys.argv[1:]]
print(max(sum(begin <= moment < end for begin, end in spans) for moment, _ in spans))
PY
        ) at a time"
        rm -r "$folder/run"
    done
done | tee "$folder/output"
diff "$folder/output" - <<'OUT'
9.15.0 --cores 1: 2 at a time
9.15.0 --cores 2: 3 at a time
9.27.1 --cores 1: 1 at a time
9.27.1 --cores 2: 2 at a time
OUT
