#!/usr/bin/env bash
# Gradio 6.31.0 writes a file into the folder of whoever derives a class from one of its components.
#
# Expected: importing a module with `class Photographs(gr.File)`, as its guide for own components does, changes nothing
# on disk but __pycache__.
# Seen: the metaclass of components writes page.pyi beside page.py: a copy of the module's text as it was at that import,
# with overloads for events put in. Nothing says so. It is no cache: a function that is added to page.py later is missing
# from the stub until the next import, and a type checker, which reads the stub and never the module, calls it an error.
# A checkout is dirty after one import, and a linter finds the unsorted imports of the stub.
#
# Output seen: the lines at the end of this file.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check gradio==6.31.0 mypy==2.4.1
mkdir "$folder/work"
cd "$folder/work"
export GRADIO_ANALYTICS_ENABLED=False
cat > page.py <<'PY'
import gradio as gr


class Photographs(gr.File):
    """Files with the names that they had."""
PY
{
    "$folder/env/bin/python" -c 'import gradio, page; print("gradio", gradio.__version__)'
    echo "files: $(find . -name 'page*' -not -path '*/__pycache__/*' | sort | xargs)"
    printf '\n\ndef added(number: int) -> int:\n    return number + 1\n' >> page.py
    printf 'from page import added\n\nprint(added(1))\n' > main.py
    "$folder/env/bin/mypy" --ignore-missing-imports --follow-imports silent main.py || true
    rm page.pyi
    echo "without the stub:"
    "$folder/env/bin/mypy" --ignore-missing-imports --follow-imports silent main.py || true
} | tee "$folder/output"
diff "$folder/output" - <<'OUT'
gradio 6.31.0
files: ./page.py ./page.pyi
main.py:1: error: Module "page" has no attribute "added"  [attr-defined]
Found 1 error in 1 file (checked 1 source file)
without the stub:
Success: no issues found in 1 source file
OUT
