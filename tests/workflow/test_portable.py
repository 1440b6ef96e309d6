"""The executed copy of a notebook names no folder of this machine, and is made in linear time."""

from __future__ import annotations

import time

import nbformat
import projects  # noqa: F401  first: it says where the next is
import pytest

from portable import WIDGET, portable  # isort: skip


def test_portable_replaces_whole_paths_only(tmp_path):
    content = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")])
    content.metadata.widgets = {"application/vnd.jupyter.widget-state+json": {}}
    content.metadata.papermill = {"input_path": "/srv/app/notebooks/a.ipynb", "duration": 1.0}
    text = {
        "/srv/app/results/x.csv": "results/x.csv",
        "at /srv/app": "at .",
        "/srv/application/x": "/srv/application/x",
        "/data/srv/app/x": "/data/srv/app/x",
        "\x1b[92m/srv/app/lib/y.py": "\x1b[92mlib/y.py",
        "'/srv/app/a':/srv/app/b": "'a':b",
        "/tmp/ipykernel_71/991.py:3: UserWarning": "<cell 1>:3: UserWarning",
        "file:///srv/app/z": "file://z",
    }
    picture = "/srv/app/AAAA"
    content.cells[0].outputs = [
        nbformat.v4.new_output("stream", text="\n".join(text)),
        nbformat.v4.new_output("display_data", data={"image/png": picture, "text/html": "<b>/srv/app/h</b>"}),
        nbformat.v4.new_output("display_data", data={WIDGET: {}, "text/plain": "0%"}),
        nbformat.v4.new_output("error", ename="E", evalue="/srv/app/e", traceback=["/srv/app/t"]),
    ]
    folders = {"/srv/app": "", "/": "never", "": "never"}
    result = nbformat.reads(portable(nbformat.writes(content), folders), as_version=4)
    stream, data, error = result.cells[0].outputs
    assert stream.text.split("\n") == list(text.values())
    assert data.data == {"image/png": picture, "text/html": "<b>h</b>"}
    assert error.evalue == "e" and error.traceback == ["t"]
    assert result.metadata == {"papermill": {"duration": 1.0}}


@pytest.mark.parametrize("word", ["A", "(ipykernel_", "ipykernel_1/", "/srv/app", " /srv/app/x", "\x1b[0"])
def test_paths_are_replaced_in_linear_time(word):
    """1 MB in one output: quadratic time would be minutes."""
    text = word * (10**6 // len(word))
    content = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")])
    content.cells[0].outputs = [nbformat.v4.new_output("display_data", data={"image/svg+xml": f"<svg>{text}</svg>"})]
    began = time.process_time()
    portable(nbformat.writes(content), {"/srv/app": "", "/srv/app/lib": "lib"})
    assert time.process_time() - began < 5


def test_an_executed_copy_keeps_pages_and_no_dead_widget():
    widget = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/plain": "x"}
    outputs = [
        nbformat.v4.new_output("display_data", {"text/html": "<b>h</b>", "text/plain": "x"}),
        nbformat.v4.new_output("display_data", widget),
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x", outputs=outputs)])
    (kept,) = nbformat.reads(portable(nbformat.writes(notebook), {}), 4).cells[0].outputs
    assert set(kept.data) == {"text/html", "text/plain"}
