"""The scores of two folders of pictures."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch

from demoe.app import cli
from demoe.app.cli_evaluate import evaluate_folders
from demoe.core import images
from demoe.evaluation.metrics import psnr_8bit


@pytest.fixture
def folders(tmp_path):
    torch.manual_seed(0)
    for name in ("a/1.png", "a/2.png", "3.png"):
        picture = torch.rand(3, 14, 17)
        images.write_photograph(tmp_path / "gt" / name, images.Photograph(picture))
        images.write_photograph((tmp_path / "pred" / name).with_suffix(".bmp"), images.Photograph(picture * 0.9))
    return tmp_path / "pred", tmp_path / "gt"


def test_every_picture_and_the_means(folders, tmp_path, capsys):
    assert evaluate_folders(*folders, csv=tmp_path / "out.csv", progress=False) == 0
    rows = pd.read_csv(tmp_path / "out.csv")
    assert rows.image.tolist() == ["3", "a/1", "a/2"]
    sides = [images.read_photograph(f).pixels[None] for f in (folders[0] / "a/1.bmp", folders[1] / "a/1.png")]
    assert rows.psnr[1] == pytest.approx(psnr_8bit(*sides).item(), abs=1e-4)
    shown = capsys.readouterr().out
    assert "PSNR (dB)" in shown and f"{rows.psnr.mean():.3f}" in shown
    first = (tmp_path / "out.csv").read_bytes()
    evaluate_folders(*folders, csv=tmp_path / "out.csv", progress=False)
    assert (tmp_path / "out.csv").read_bytes() == first


def test_a_folder_given_as_a_dot_has_its_name_in_the_table(folders, tmp_path, monkeypatch):
    monkeypatch.chdir(folders[0])
    assert evaluate_folders(Path(), folders[1], csv=tmp_path / "out.csv", progress=False) == 0
    rows = pd.read_csv(tmp_path / "out.csv")
    assert set(rows.method) == {"pred"} and set(rows["set"]) == {"gt"}


def test_a_missing_metric_is_said(folders, capsys):
    assert evaluate_folders(*folders, ["psnr", "lpips_alex"], progress=False) == 1  # a script must not miss it
    shown, complained = capsys.readouterr()
    assert complained == "demoe: nothing was scored by lpips_alex\n"
    assert "missing" in shown and "lpips_alex: picture under 31x31 pixels (3 pictures)" in shown
    assert "nan" not in shown.lower()


def test_means_for_scripts(folders, capsys):
    assert cli.main(["evaluate", *map(str, folders), "--json", "--metrics", "psnr,ssim"]) == 0
    psnr, ssim = json.loads(capsys.readouterr().out)
    assert (psnr["metric"], psnr["images"], psnr["missing"], ssim["metric"]) == ("psnr", 3, 0, "ssim")
    assert psnr["low"] is None or psnr["low"] <= psnr["mean"] <= psnr["high"]
    with pytest.raises(SystemExit, match="2"):
        cli.main(["evaluate", *map(str, folders), "--metrics", "psnr,sism"])
    said = capsys.readouterr().err
    assert said.startswith("usage: demoe evaluate") and "unknown: sism (did you mean 'ssim'?)" in said


def test_errors(folders, tmp_path):
    prediction, sharp = folders
    with pytest.raises(ValueError, match="unknown: blurriness"):
        evaluate_folders(prediction, sharp, ["blurriness"])
    with pytest.raises(FileNotFoundError, match="nowhere"):
        evaluate_folders(tmp_path / "nowhere", sharp)
    images.write_photograph(prediction / "a/2.bmp", images.Photograph(torch.rand(3, 14, 18)))
    with pytest.raises(ValueError, match="different sizes: 18x14 and 17x14"):
        evaluate_folders(prediction, sharp, progress=False)
    (prediction / "a/2.bmp").unlink()
    with pytest.raises(ValueError, match=r"a/2 in .* has no partner"):
        evaluate_folders(prediction, sharp)
