"""The notebook's window: what its controls do, and what is left of it where widgets do not run."""

import io
from datetime import datetime
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from conftest import shake
from PIL import Image

from demoe.app.explorer import AUTOMATIC, SHOWN, Explorer
from demoe.models.demoe import DeMoE, DeMoEConfig
from demoe.models.nafnet import NAFNet, NAFNetConfig


@pytest.fixture(scope="module")
def model():
    return shake(DeMoE(DeMoEConfig(width=4)))


@pytest.fixture
def explorer(model):
    torch.manual_seed(0)
    return Explorer(model, {"first": torch.rand(3, 37, 50), "second": torch.rand(3, 20, 31)})


def shown(explorer):
    return np.asarray(Image.open(io.BytesIO(explorer.picture.value)))


def test_the_controls_restore_what_they_say(explorer, model):
    assert explorer.expert.value == AUTOMATIC and explorer.result.image.shape == (3, 37, 50)
    automatic = explorer.result.image
    explorer.k.value = 5
    assert len([share for share in explorer.result.weights.values() if share > 0]) == 5
    assert not torch.equal(explorer.result.image, automatic)
    explorer.expert.value = "defocus"
    assert explorer.result.weights["defocus"] == 1 and explorer.k.disabled
    assert "used: defocus 100%" in explorer.message.value
    explorer.photograph.value = "second"
    assert explorer.result.image.shape == (3, 20, 31) and "31 x 20 pixels" in explorer.message.value


def test_the_edge_parts_before_from_after(explorer):
    explorer.edge.value = 1.0
    before = shown(explorer)
    explorer.edge.value = 0.0
    after = shown(explorer)
    explorer.edge.value = 0.5
    both = shown(explorer)
    half = both.shape[1] // 2
    assert np.array_equal(both[:, : half - 2], before[:, : half - 2])
    assert np.array_equal(both[:, half + 2 :], after[:, half + 2 :])
    assert not np.array_equal(before[:, 4:-4], after[:, 4:-4])


def test_an_uploaded_photograph_is_restored_and_a_foreign_file_is_refused_in_a_sentence(explorer):
    stream = io.BytesIO()
    Image.new("RGB", (45, 22), (10, 200, 90)).save(stream, "PNG")
    explorer.upload.value = (
        {
            "name": "../mine.png",
            "content": memoryview(stream.getvalue()),
            "type": "image/png",
            "size": 9,
            "last_modified": datetime.now(),
        },
    )
    assert explorer.photograph.value == "mine.png" and explorer.result.image.shape == (3, 22, 45)
    explorer.upload.value = (
        {
            "name": "notes.png",
            "content": memoryview(b"<b>hello"),
            "type": "image/png",
            "size": 8,
            "last_modified": datetime.now(),
        },
    )
    assert explorer.message.value.startswith("notes.png is not a PNG") and "/tmp" not in explorer.message.value
    assert "notes.png" not in explorer.pictures and explorer.photograph.value == "mine.png"


def test_a_second_upload_of_the_same_name_is_another_photograph(explorer):
    for side in (20, 30):
        stream = io.BytesIO()
        Image.new("RGB", (side, 24)).save(stream, "PNG")
        explorer.upload.value = (
            {
                "name": "..",
                "content": memoryview(stream.getvalue()),
                "type": "image/png",
                "size": 9,
                "last_modified": datetime.now(),
            },
        )
        assert explorer.result.image.shape == (3, 24, side)
    assert list(explorer.pictures)[-2:] == ["..", ".. (2)"]


def test_what_fails_shows_the_photograph_as_it_came(explorer, monkeypatch):
    explorer.photograph.value = "first"
    failing = Mock(side_effect=RuntimeError("too <hot>"))
    monkeypatch.setattr("demoe.app.explorer.deblur", failing)
    explorer.photograph.value = "second"
    assert explorer.result is None and explorer.message.value.startswith("too &lt;hot&gt;")
    explorer.edge.value = 0.0
    after = shown(explorer)
    explorer.edge.value = 1.0
    assert np.array_equal(after[:, 4:-4], shown(explorer)[:, 4:-4])
    assert Explorer(explorer.model, {"only": torch.rand(3, 20, 20)}).result is None  # from the start


def test_large_pictures_are_computed_whole_and_shown_smaller(model):
    explorer = Explorer(model, {"large": torch.rand(3, 40, SHOWN + 61)})
    assert explorer.result.image.shape == (3, 40, SHOWN + 61) and shown(explorer).shape[1] == SHOWN
    assert "shown smaller" in explorer.message.value


def test_a_still_picture_takes_its_place_and_networks_without_experts_are_fine(explorer):
    bundle = explorer._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert Image.open(io.BytesIO(bundle["image/png"])).width > 2 * 50
    plain = Explorer(shake(NAFNet(NAFNetConfig(width=4))), {"<b>": torch.rand(3, 20, 20)})
    assert "without experts" in plain.message.value
    with pytest.raises(ValueError, match="at least one photograph"):
        Explorer(plain.model, {})
