# shellcheck shell=bash
# Sourced by run_all.sh and run_tests.sh: leaves $PYTHON, an interpreter for which this package and everything it needs
# is installed. That is the active environment's, or the one of .venv/, which is made on the first run. A stamp in the
# environment says what was installed, so that later runs need neither pip nor the network.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

fail() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

recent_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

# Sets PYTHON. Not a base conda environment: nobody wants a hundred packages there.
choose_python() {
    local candidate
    for candidate in "${VIRTUAL_ENV:-}" "${CONDA_PREFIX:-}"; do
        if [ -z "$candidate" ] || [ ! -x "$candidate/bin/python" ]; then continue; fi
        if [ "$candidate" = "${CONDA_PREFIX:-}" ] && [ "${CONDA_DEFAULT_ENV:-base}" = base ]; then continue; fi
        PYTHON=$candidate/bin/python
        recent_enough "$PYTHON" || fail "the active environment $candidate has a Python older than 3.11: deactivate it."
        return
    done
    PYTHON=$ROOT/.venv/bin/python
    if recent_enough "$PYTHON"; then  # some tools make environments without pip
        if "$PYTHON" -m pip --version >/dev/null 2>&1 || "$PYTHON" -m ensurepip >/dev/null 2>&1; then return; fi
    fi
    for candidate in python3.13 python3.12 python3.11 python3; do
        if recent_enough "$candidate"; then
            echo "Making the environment .venv with $("$candidate" --version)"
            "$candidate" -m venv --clear "$ROOT/.venv" \
                || fail "$candidate could not make .venv: on Debian and Ubuntu, install the package python3-venv."
            return
        fi
    done
    fail "no Python 3.11 or later found (tried python3.13, python3.12, python3.11, python3): install one, or activate an environment that has it."
}

# What the installation depends on: the two files, and where the editable package lies.
fingerprint() {
    "$PYTHON" - "$ROOT" <<'PY'
import hashlib, pathlib, sys
root = pathlib.Path(sys.argv[1])
parts = [(root / name).read_bytes() for name in ("pyproject.toml", "constraints.txt")]
print(hashlib.sha256(b"\0".join([str(root).encode(), *parts])).hexdigest())
PY
}

install_package() {
    local prefix stamp wanted
    prefix=$("$PYTHON" -c 'import sys; print(sys.prefix)')
    stamp=$prefix/.demoe-installed
    wanted=$(fingerprint)
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then return; fi
    echo "Installing the package and its dependencies into $prefix (once; several minutes, mostly PyTorch)"
    local started=$SECONDS quiet=() index what=(-c constraints.txt -e ".[test,comparators,workflow]")
    if [ ! -t 1 ]; then quiet=(--quiet); fi
    # From the root: "-e ." and "-c constraints.txt" then hold in any folder, also in one with spaces in its name.
    # uv unpacks several times faster than pip, and takes pip's index. Where it cannot, pip tries. Then compiled, as
    # pip does it: otherwise the first start, and every one where Python writes no bytecode, takes twice as long.
    cd "$ROOT"
    index=${PIP_INDEX_URL:-$("$PYTHON" -m pip config get global.index-url 2>/dev/null || true)}
    if ! { "$PYTHON" -m pip install --quiet --disable-pip-version-check -c constraints.txt uv \
        && "$PYTHON" -m uv pip install ${quiet[@]+"${quiet[@]}"} --python "$PYTHON" ${index:+--default-index "$index"} "${what[@]}"; }; then
        "$PYTHON" -m pip install ${quiet[@]+"${quiet[@]}"} --disable-pip-version-check "${what[@]}" \
            || fail "the installation failed; the lines above say why. The same command tries again."
    fi
    "$PYTHON" -m compileall -q -j 0 "$prefix"/lib/python*/site-packages >/dev/null 2>&1 || true  # some are templates
    cd - >/dev/null
    echo "$wanted" >"$stamp"
    echo "Installed in $((SECONDS - started)) seconds"
}

choose_python
install_package
