"""The notebook's window: what its traits do, what it answers the browser, and the copy for pages without a kernel.

How it looks and feels is tested in a browser, in ``tests/browser``.
"""

import base64
import io
import re
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from conftest import shake
from PIL import Image

from demoe.app.explorer import Explorer
from demoe.app.photos import eight_bit
from demoe.app.slider import SHOWN
from demoe.core import images
from demoe.core.images import Photograph
from demoe.models.demoe import DeMoE, DeMoEConfig
from demoe.models.nafnet import NAFNet, NAFNetConfig


@pytest.fixture(scope="module")
def model():
    return shake(DeMoE(DeMoEConfig(width=4)))  # its router is unsure of everything


@pytest.fixture
def explorer(model):
    torch.manual_seed(0)
    dark = {"first": torch.rand(3, 37, 50) / 8, "second": torch.rand(3, 20, 31) / 8}  # the guard takes none for bright
    made = Explorer(model, dark)
    made.send = Mock()
    return made


def ask(explorer, kind, *buffers, **more):
    """The answer to a message of the browser: what it says, and its buffers."""
    explorer._asked(explorer, {"kind": kind, "number": 7} | more, [memoryview(buffer) for buffer in buffers])
    answer, sent = explorer.send.call_args.args
    assert answer.pop("number") == 7
    return answer, sent


def decoded(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_the_choices_restore_what_they_say(explorer):
    assert explorer.expert == "" and explorer.result.image.shape == (3, 37, 50)
    automatic, version = explorer.result.image, explorer.version
    assert len([share for share in explorer.result.weights.values() if share > 0]) == 5
    explorer.k = 2
    assert len([share for share in explorer.result.weights.values() if share > 0]) == 2
    assert not torch.equal(explorer.result.image, automatic) and explorer.version > version
    explorer.k, explorer.expert = 1, "defocus"
    assert explorer.result.weights["defocus"] == 1 and "used: defocus 100%" in explorer.said[0]
    explorer.photograph = "second"
    assert explorer.result.image.shape == (3, 20, 31)
    with pytest.raises(ValueError, match="no photograph 'third' is here: choose one of first, second"):
        explorer.photograph = "third"


def test_the_browser_gets_both_pictures_as_they_are(explorer):
    answer, sent = ask(explorer, "pictures")
    assert answer == {"types": ("image/png",) * 2, "width": 50, "height": 37, "reduced": False}
    for data, pixels in zip(sent, (explorer.pictures["first"].pixels, explorer.result.image), strict=True):
        assert np.array_equal(decoded(data), eight_bit(pixels))


def test_a_large_picture_is_sent_smaller_and_whole_when_asked_for(model):
    explorer = Explorer(model, {"large": torch.rand(3, 40, SHOWN + 61)})
    explorer.send = Mock()
    assert explorer.result.image.shape == (3, 40, SHOWN + 61)
    answer, sent = ask(explorer, "pictures")
    assert answer["reduced"] and answer["width"] == SHOWN + 61
    assert {decoded(data).shape[1] for data in sent} == {SHOWN}
    _, whole = ask(explorer, "full")
    assert [decoded(data).shape for data in whole] == [(40, SHOWN + 61, 3)] * 2
    assert np.array_equal(decoded(whole[1]), eight_bit(explorer.result.image))


def test_what_is_saved_is_the_file_that_would_be_written(model, tmp_path):
    pixels = torch.rand(3, 24, 30)
    images.write_photograph(tmp_path / "deep.tif", Photograph(pixels, bit_depth=16))
    explorer = Explorer(model, {"photos/deep.tif": tmp_path / "deep.tif", "a/..": pixels})
    explorer.send = Mock()
    answer, (data,) = ask(explorer, "file")
    images.write_photograph(tmp_path / "written.tif", explorer.result.photograph)
    assert answer == {"name": "deep.tif"} and data == (tmp_path / "written.tif").read_bytes()
    explorer.photograph = "a/.."  # the name of no file
    answer, (data,) = ask(explorer, "file")
    assert answer == {"name": "photograph.png"} and decoded(data).shape == (24, 30, 3)


def test_an_uploaded_photograph_comes_in_pieces_and_a_foreign_file_is_refused_in_a_sentence(explorer):
    stream = io.BytesIO()
    Image.new("RGB", (45, 22), (10, 200, 90)).save(stream, "PNG")
    head, tail = stream.getvalue()[:40], stream.getvalue()[40:]
    assert ask(explorer, "upload", head, name="../mine.png", last=False) == ({}, [])
    assert explorer.photograph == "first"
    ask(explorer, "upload", tail, name="../mine.png", last=True)
    assert explorer.photograph == "mine.png" and explorer.result.image.shape == (3, 22, 45)
    ask(explorer, "upload", b"<b>hello", name="notes.png", last=True)
    assert explorer.said[0].startswith("notes.png is not a PNG") and "/tmp" not in explorer.said[0]
    assert "notes.png" not in explorer.photographs and explorer.photograph == "mine.png"


def test_a_second_upload_of_the_same_name_is_another_photograph(explorer):
    for side in (20, 30):
        stream = io.BytesIO()
        Image.new("RGB", (side, 24)).save(stream, "PNG")
        ask(explorer, "upload", stream.getvalue(), name="..", last=True)
        assert explorer.result.image.shape == (3, 24, side)
    assert explorer.photographs[-2:] == ["..", ".. (2)"]


def test_what_fails_shows_the_photograph_as_it_came(explorer, monkeypatch):
    monkeypatch.setattr("demoe.app.explorer.deblur", Mock(side_effect=RuntimeError("too <hot>")))
    explorer.photograph = "second"
    assert explorer.result is None and explorer.said[0] == "too <hot>"
    _, sent = ask(explorer, "pictures")
    assert sent[0] == sent[1]
    assert "too &lt;hot&gt;" in explorer.page()
    assert Explorer(explorer.model, {"only": torch.rand(3, 20, 20)}).result is None  # from the start


def test_the_cell_shows_a_copy_with_its_pictures_and_then_the_window(explorer, monkeypatch):
    shown = []
    monkeypatch.setattr("demoe.app.explorer.display", lambda what, raw=False: shown.append(what))
    explorer._ipython_display_()
    copy, window = shown[0].data, shown[1]
    assert "application/vnd.jupyter.widget-view+json" in window and f'id="{explorer.still}"' in copy
    pictures = [base64.b64decode(data) for data in re.findall(r'src="data:image/png;base64,([^"]+)"', copy)]
    assert np.array_equal(decoded(pictures[1]), eight_bit(explorer.result.image)) and len(pictures) == 2


def test_warnings_name_no_options_of_the_command(explorer):
    assert any("--expert" in warning for warning in explorer.result.warnings)
    assert any("the router is unsure" in line for line in explorer.said) and "--" not in " ".join(explorer.said)


def test_networks_without_experts_are_fine_and_no_photograph_is_not(model):
    plain = Explorer(shake(NAFNet(NAFNetConfig(width=4))), {"</script>": torch.rand(3, 20, 20)})
    assert "without experts" in plain.said[0] and plain.page().count("</script>") == 1
    with pytest.raises(ValueError, match="at least one photograph"):
        Explorer(model, {})
