"""Maps of experts and comparisons: sizes, places, what is said in them; and the command that writes them."""

import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import shake
from PIL import Image

from benchmarks import cli as benchmarks_cli
from demoe.app import cli, contact_sheet, photos
from demoe.core import images
from demoe.core.tasks import COLOURS, EXPERTS
from demoe.inference.tiles import TileMap
from demoe.models import checkpoints
from demoe.models.demoe import DeMoE, DeMoEConfig
from demoe.models.nafnet import NAFNet, NAFNetConfig

SMALL = DeMoEConfig(width=2, encoder_blocks=(1, 1), middle_blocks=1, decoder_blocks=(1, 1))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return shake(DeMoE(SMALL))


def noise(*size):
    return torch.rand(3, *size, generator=torch.Generator().manual_seed(0))


def decisions(size=(300, 500), tile=256):
    """Two rows and three columns of tiles; each has another expert, but for the last."""
    router = torch.full((2, 3, 5), 0.1)
    for place, expert in enumerate((0, 1, 2, 3, 4, 4)):
        router[place // 3, place % 3, expert] = 0.6
    weights = torch.nn.functional.one_hot(router.argmax(2), 5).float()
    return TileMap([0, 128], [0, 128, 256], tile, size, router, weights)


def test_regions_cover_a_photograph_once():
    rows, columns = decisions().regions()
    assert rows == [(0, 192), (192, 300)] and columns == [(0, 192), (192, 320), (320, 500)]
    whole = TileMap([0], [0], 256, (30, 40), torch.ones(1, 1, 5), torch.ones(1, 1, 5))
    assert whole.regions() == ([(0, 30)], [(0, 40)])


def test_the_table_of_tiles():
    table = pd.read_csv(io.StringIO(contact_sheet.expert_table(decisions())))
    assert len(table) == 6 and (table["height"] * table["width"]).sum() == 300 * 500
    assert list(table["expert"]) == [EXPERTS[i] for i in (0, 1, 2, 3, 4, 4)]
    assert table[[f"router_{name}" for name in EXPERTS]].sum(axis=1).tolist() == pytest.approx([1] * 6)
    assert table[[f"weight_{name}" for name in EXPERTS]].sum(axis=1).tolist() == pytest.approx([1] * 6)
    assert table["normalised_entropy"].between(0.7, 0.8).all()


@pytest.mark.parametrize("size", [(300, 500), (3000, 5000)])
def test_the_map_is_tinted_tile_by_tile(size):
    given = (
        decisions(size)
        if size[0] == 300
        else TileMap([0, 1280], [0, 1280, 2560], 2560, size, decisions().router, decisions().weights)
    )
    picture = contact_sheet.expert_map(torch.zeros(3, *size), given)
    width, height = min(size[1], contact_sheet.MAP_SIDE), min(size[0], contact_sheet.MAP_SIDE * size[0] // size[1])
    assert picture.width >= width and picture.height > height
    rows, columns = given.regions()
    for place, expert in enumerate((0, 1, 2, 3, 4, 4)):
        (top, bottom), (left, right) = rows[place // 3], columns[place % 3]
        at = (round((left + right) / 2 * width / size[1]), round((top + bottom) / 2 * width / size[1]))
        colour = tuple(int(COLOURS[EXPERTS[expert]][i : i + 2], 16) for i in (1, 3, 5))
        assert np.abs(np.array(picture.getpixel(at)) - 0.45 * np.array(colour)).max() <= 1.5


def test_the_map_says_where_several_experts_took_part():
    given = decisions()
    alone = torch.nn.functional.one_hot(given.experts, len(EXPERTS)).float()
    both = alone.clone()
    both[0, 0] = torch.tensor([0.6, 0.4, 0, 0, 0])  # the first tile's strongest is the same
    pictures = [
        np.array(contact_sheet.expert_map(torch.zeros(3, 300, 500), replace(given, weights=w))) for w in (alone, both)
    ]
    differs = (pictures[0] != pictures[1]).any(axis=2)
    (rows, columns) = given.regions()
    (bottom, right) = rows[0][1], columns[0][1]
    assert differs[:bottom, :right].any() and not differs[:bottom, right:500].any() and differs[300:].any()


@pytest.mark.parametrize("size", [(40, 50), (1, 1), (1, 700), (500, 9), (400, 700)])
def test_a_comparison_has_seven_panels_at_any_size(model, size):
    photo = noise(*size)
    result = photos.deblur(photo, model=model)
    sheet = contact_sheet.comparison(photo, result, model)
    assert sheet.width == 4 * (contact_sheet.PANEL + contact_sheet.GAP) + contact_sheet.GAP <= 1280
    assert sheet.height < 4 * contact_sheet.PANEL + 200


def corner(i, height):
    """Left and top of a panel's picture, where pictures are of this height."""
    panel, gap, line = contact_sheet.PANEL, contact_sheet.GAP, contact_sheet.LINE
    return gap + i % 4 * (panel + gap), gap + 2 * line + i // 4 * (2 * line + height + gap)


def test_panels_show_what_they_say(model):
    photo = noise(40, 50)
    result = photos.deblur(photo, model=model, k=2)
    sheet = torch.from_numpy(np.array(contact_sheet.comparison(photo, result, model))).permute(2, 0, 1) / 255
    alone = [photos.deblur(photo, model=model, expert=name).image for name in EXPERTS]
    for i, expected in enumerate([photo, result.image, *alone]):
        left, top = corner(i, 40)
        assert (sheet[:, top : top + 40, left : left + 50] - expected).abs().max() < 0.51 / 255


def test_panels_of_a_gray_photograph_are_gray(model):
    photo = photos.as_photograph(noise(40, 50)[:1].permute(1, 2, 0).numpy())
    result = photos.deblur(photo, model=model)
    sheet = np.array(contact_sheet.comparison(photo.pixels, result, model)).astype(int)
    for i in range(7):
        left, top = corner(i, 40)
        panel = sheet[top : top + 40, left : left + 50]
        assert np.ptp(panel, axis=2).max() == 0 and panel.std() > 1
    colour = photos.deblur(photo.pixels, model=model).image
    assert (colour[0] - colour[1]).abs().max() > 2 / 255  # the network alone gives colours


def test_a_comparison_that_fails_does_not_take_the_result_with_it(tmp_path, model, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    checkpoints.save(model, tmp_path / "w.safetensors")
    for name in ("a.png", "b.png"):
        images.write_photograph(tmp_path / name, photos.as_photograph(noise(20, 30)))

    def no_memory(*given):
        raise MemoryError("not enough memory for 30x20 pixels: 3 MiB are left for the work")

    monkeypatch.setattr(contact_sheet, "comparison", no_memory)
    words = [
        "deblur",
        "a.png",
        "b.png",
        "-o",
        "out",
        "--weights",
        "w.safetensors",
        "--device",
        "cpu",
        "--compare",
        "--expert-map",
    ]
    assert cli.main(words) == 0
    out, err = capsys.readouterr()
    assert out.count("  warning: no comparison: not enough memory for 30x20 pixels: 3 MiB") == 2
    places = [out.index(words) for words in ("a.png -> ", "experts: ", "warning: no comparison", "b.png -> ")]
    assert places == sorted(places)
    assert err == "2 deblurred (2 with warnings), 0 failed, 0 other files skipped\n"
    endings = ["", ".experts.csv", ".experts.png"]
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        name + ending for name in ("a.png", "b.png") for ending in endings
    ]


def test_without_experts_there_are_two_panels():
    net = NAFNet(NAFNetConfig(width=2, encoder_blocks=(1,), middle_blocks=1, decoder_blocks=(1,)))
    photo = noise(20, 30)
    sheet = contact_sheet.comparison(photo, photos.deblur(photo, model=net), net)
    assert sheet.width == 2 * (contact_sheet.PANEL + contact_sheet.GAP) + contact_sheet.GAP


def test_the_command_writes_them_and_overwrites_nothing(tmp_path, model, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    checkpoints.save(model, tmp_path / "w.safetensors")
    images.write_photograph(tmp_path / "a.png", photos.as_photograph(noise(40, 300)))
    words = [
        "deblur",
        "a.png",
        "-o",
        "out",
        "--weights",
        "w.safetensors",
        "--device",
        "cpu",
        "--tile",
        "256",
        "--expert-map",
        "--compare",
    ]
    assert cli.main(words) == 0
    out = capsys.readouterr().out
    assert "tiles of 256" in out and "mean over tiles" in out and "out/a.png.compare.png" in out
    names = ["a.png", "a.png.compare.png", "a.png.experts.csv", "a.png.experts.png"]
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == names
    assert len(pd.read_csv(tmp_path / "out/a.png.experts.csv")) == 2
    with Image.open(tmp_path / "out/a.png.experts.png") as picture:
        picture.load()
    (tmp_path / "out/a.png").unlink()
    assert cli.main(words) == 1 and "a.png.experts.png exists already" in capsys.readouterr().err
    assert not (tmp_path / "out/a.png").exists()
    assert cli.main([*words, "--overwrite"]) == 0
    for bad in (["--route", "image"], ["--expert", "defocus"]):
        with pytest.raises(SystemExit):
            cli.main([*words, *bad])


def test_tiles_against_whole_from_the_command_line(tmp_path, model, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    checkpoints.save(model, tmp_path / "w.safetensors")
    images.write_photograph(tmp_path / "a.png", photos.as_photograph(noise(40, 420)))
    assert benchmarks_cli.main(["tiles", "a.png", "--tile", "256", "--weights", "w.safetensors"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("420x40, tiles of 256 against whole, in 8-bit levels") and "along a seam" in out
