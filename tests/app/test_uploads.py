"""Photographs that came through a page: files as ``demoe deblur`` writes them; a sentence for what is no photograph."""

import zipfile
from dataclasses import replace
from urllib.parse import unquote

import numpy as np
import pytest
import torch
from conftest import shake
from PIL import Image

from demoe.app import cli, slider, uploads
from demoe.app.doubt import UNSURE
from demoe.app.photos import deblur
from demoe.app.uploads import ALL, ONE, archive, opinion, restored
from demoe.core import images
from demoe.core.images import Photograph
from demoe.core.metadata import Metadata
from demoe.core.tasks import EXPERTS
from demoe.models import checkpoints
from demoe.models.demoe import DeMoE, DeMoEConfig


@pytest.fixture(scope="module")
def model():
    return shake(DeMoE(DeMoEConfig(width=4)))


@pytest.fixture
def files(tmp_path):
    """A JPEG with EXIF, a 16-bit TIFF, a text file, a JPEG that is none, and a JPEG of the first one's name."""
    torch.manual_seed(0)
    folder = tmp_path / "in"
    (folder / "other").mkdir(parents=True)
    exif = Image.Exif()
    exif[271] = "A maker"
    noise = np.random.default_rng(0).integers(0, 256, (40, 52, 3), np.uint8)
    Image.fromarray(noise).save(folder / "a_b.jpg", exif=exif, dpi=(300, 300))
    images.write_photograph(folder / "deep.tif", Photograph(torch.rand(3, 33, 20), bit_depth=16))
    (folder / "notes.txt").write_text("hello")
    (folder / "broken.jpg").write_text("hello")
    Image.fromarray(noise[::-1]).save(folder / "other" / "A_B.jpg")
    return [folder / name for name in ("a_b.jpg", "notes.txt", "deep.tif", "broken.jpg", "other/A_B.jpg")]


def test_results_are_the_files_that_the_command_writes_and_the_others_are_named(files, model, tmp_path):
    checkpoints.save(model, tmp_path / "model.safetensors")
    good = [str(file) for file in files if file.suffix != ".txt" and file.stem != "broken"]
    weights = ["--weights", str(tmp_path / "model.safetensors"), "--expert", "defocus"]
    assert cli.main(["deblur", *good, "-o", str(tmp_path / "command"), *weights]) == 0
    folder = tmp_path / "page"
    out = list(restored([(file, file.name) for file in files], folder, model, "defocus"))
    done, refused = [one for one in out if not isinstance(one, str)], [one for one in out if isinstance(one, str)]
    assert [one.file.name for one in done] == ["a_b.jpg", "deep.tif", "A_B-2.jpg"]
    for one in done:
        assert one.file.read_bytes() == (tmp_path / "command" / one.file.name).read_bytes()
    assert refused[0].startswith("notes.txt is no photograph: ") and refused[1].startswith("broken.jpg is not a PNG")
    assert [type(one) for one in out[1:4:2]] == [str, str] and str(tmp_path) not in "".join(refused)
    with zipfile.ZipFile(archive(done)) as packed:
        assert {name: packed.read(name) for name in packed.namelist()} == {
            one.file.name: one.file.read_bytes() for one in done
        }


def test_a_large_photograph_is_shown_smaller_and_whole_for_whoever_looks_closer(model, tmp_path, monkeypatch):
    monkeypatch.setattr(slider, "SHOWN", 40)
    monkeypatch.setattr(slider.encoded, "__defaults__", (40,))
    images.write_photograph(tmp_path / "large.png", Photograph(torch.rand(3, 50, 80)))
    (one,) = restored([(tmp_path / "large.png", "large.png")], tmp_path / "out", model, ONE)

    def picture(address):
        return Image.open(unquote(address.removeprefix("/gradio_api/file=")))

    assert one.shown["reduced"] and (one.shown["width"], one.shown["height"]) == (80, 50)
    assert picture(one.shown["after"]).size == (40, 25)
    whole, result = (np.asarray(Image.open(file)) for file in (picture(one.shown["whole"]["after"]).filename, one.file))
    assert np.array_equal(whole, result) and whole.shape == (50, 80, 3)


def test_what_is_shown_keeps_the_colours_of_the_profile():
    profile = Image.new("RGB", (1, 1)).info.get("icc_profile") or b"any bytes"
    for gray, kept in ((False, profile), (True, None)):
        data, kind = slider.encoded(Photograph(torch.rand(3, 9, 9), gray=gray, metadata=Metadata(profile)))
        assert kind == "image/png" and (b"iCCP" in data) == (kept is not None)


def test_the_router_is_put_in_words(model):
    result = deblur(torch.rand(3, 24, 24), model=model)

    def said(choice=ONE, **fields):
        return opinion(replace(result, **{"guarded": None} | fields), choice)

    sure = said(router={"defocus": 0.97, "low_light": 0.03}, entropy=0.1, weights={"defocus": 1.0}, warnings=())
    assert "The router is sure: defocus (97%). Used: the expert for defocus." in sure and "Warning" not in sure
    two = {"global_motion": 0.7, "low_light": 0.3}
    assert "thinks of camera shake (70%), then of shake in low light (30%)" in said(router=two, entropy=0.4)
    warnings = ("the router is unsure (entropy 0.90 of 1, above 0.6): try --expert, or --k 5", "nearly unchanged")
    unsure = said(router=two, entropy=UNSURE + 0.01, warnings=warnings)
    assert "The router is unsure: camera shake (70%)" in unsure and "--" not in unsure
    assert "**Warning:** nearly unchanged" in unsure and "or all five mixed" in unsure
    guarded = ("the router is unsure: all but low_light took part, each by the router's share", "nearly unchanged")
    four = dict.fromkeys(EXPERTS[:4], 0.25)
    mixed = said(router=two, entropy=0.9, weights=four, warnings=guarded, guarded="unsure")
    assert "all five mixed" not in mixed and "Used: mixed, the experts for defocus, camera shake" in mixed
    assert "Used as you chose: the expert for low" not in unsure
    assert "Used as you chose: the expert for defocus" in said("defocus", weights={"defocus": 1.0})
    assert "all experts, mixed" in said(ALL, weights=dict.fromkeys(EXPERTS, 0.2))
    assert "router" not in said(router={}, weights={}, entropy=None, warnings=()).removesuffix(uploads.ADVICE)
    assert "Of the file: a comment not kept." in said(note="a comment not kept")
