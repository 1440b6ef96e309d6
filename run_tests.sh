#!/usr/bin/env bash
# Every check: style, types, unit tests, then all notebooks in the test profile. Sets up an environment where none is active.
# Works from any folder, and without network once the environment is there.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: run_tests.sh [--help]

Runs ruff (lint and format), mypy over the public face, the unit tests, and the notebooks in the test profile (nbval). Exits
with 1 if any of them fails.
An active virtual or conda environment is used (and installed into, once); otherwise .venv/ is made.
TEXT
}

case ${1:-} in
    '') ;;
    -h | --help) usage; exit 0 ;;
    *) echo "run_tests.sh: unknown argument '$1'" >&2; usage >&2; exit 2 ;;
esac

# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/scripts/environment.sh"
cd "$ROOT"
# The tests see the defaults, not what the caller happens to have set.
unset DEMOE_HOME DEMOE_DATA_ROOT DEMOE_WEIGHTS DEMOE_COMMIT PYTEST_ADDOPTS
export DEMOE_PROFILE=test MPLBACKEND=Agg HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1

report=()
status=0
part() {
    local name=$1 started=$SECONDS outcome=passed
    shift
    echo "== $name"
    "$@" || { outcome=FAILED; status=1; }
    report+=("$(printf '%-12s %-7s %4d s' "$name" "$outcome" $((SECONDS - started)))")
}

# As many at a time as there are cores, one thread each, also in what they start: small networks gain nothing from more.
export OMP_NUM_THREADS=1
side_by_side=(-n auto --maxprocesses 8)

# shellcheck disable=SC2317
# Notebooks are checked in the environment's own kernel; figures are drawn inline there, as a reader would see them.
notebooks() {
    rm -rf results/test figures/test
    env -u MPLBACKEND "$PYTHON" -m pytest "${side_by_side[@]}" --dist loadfile --nbval-lax --nbval-current-env --nbval-cell-timeout=600 \
        --nbval-sanitize-with tests/nbval_sanitize.cfg --durations=10 notebooks/
}

part style "$PYTHON" -m ruff check .
part format "$PYTHON" -m ruff format --check .
part types "$PYTHON" -m mypy
part units "$PYTHON" -m pytest "${side_by_side[@]}" --dist worksteal --durations=10 tests/
part notebooks notebooks
echo
printf '%s\n' "${report[@]}"
exit "$status"
