"""What every figure has in common: a width that fits a page, its stamp and words in the file, scales that are told."""

import sys
import types

import IPython.display
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from demoe.core import provenance
from demoe.report import figures

MARK = provenance.Stamp("test", "synthetic", 0, "", "1234567", "a machine")


def wide():
    figure, axes = plt.subplots(1, 2, figsize=(19, 4))
    for axis, title in zip(axes, ("left", "right"), strict=True):
        axis.plot([0, 1], label="a line")
        axis.set(title=title, xlabel="steps\nof ten", ylabel="PSNR (dB)")
    figures.legend(figure)
    return figure


def test_a_figure_fits_a_page_and_says_in_its_file_what_it_shows(home):
    with Image.open(figures.save(wide(), "09_wide", MARK)) as image:
        assert image.width <= (figures.WIDTH + 0.3) * plt.rcParams["savefig.dpi"] and image.height < image.width / 3
        assert image.info["Title"] == "09_wide; a line; left; PSNR (dB); steps of ten; right"
        assert "commit 1234567" in image.info["Description"]
    plt.close("all")


def test_a_notebook_shows_each_figure_once_with_its_words(home, monkeypatch):
    shown = []
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    monkeypatch.setattr(IPython.display, "display", shown.append)
    file = figures.save(wide(), "09_wide", MARK)
    assert not plt.get_fignums() and len(shown) == 1  # a figure left open would be shown again by the kernel
    data, metadata = shown[0]._repr_png_()
    assert metadata["alt"].startswith("09_wide; a line") and 850 < metadata["width"] < 950
    assert len(data) > file.stat().st_size  # in base 64


def test_gains_have_a_panel_for_what_brightness_decides():
    names = ("GoPro-syn", "LOLBlur-syn", "DPDD-syn", "Average")
    rows = [
        {"first": method, "second": "input", "set": name, "metric": "psnr", "mean": 1.0 + i, "low": 0.5, "high": 3.0}
        for i, method in enumerate(("baseline", "DeMoE k=1", "DeMoE k=5", "DeMoE manual"))
        for name in names
    ]
    axes = figures.gains(pd.DataFrame(rows)).axes
    labels = [[label.get_text() for label in axis.get_xticklabels()] for axis in axes]
    assert labels == [["GoPro-syn", "DPDD-syn"], ["LOLBlur-syn", "Average"]]
    places = np.array([container.lines[0].get_xdata() for container in axes[0].containers])
    assert len(places) == 4 and np.abs(places.mean(0) - [0, 1]).max() < 1e-9 and np.ptp(places[:, 0]) < 0.6
    plt.close("all")


@pytest.mark.parametrize(("reach", "told"), [(10, "10 times finer"), (0.25, "4 times coarser"), (1.5, "")])
def test_scales_that_differ_are_told(reach, told):
    _, axes = plt.subplots(1, 2)
    axes[0].set(xlim=(0, 1), xlabel="dB")
    axes[1].set(xlim=(0, reach))
    figures.scales_differ(axes[0].xaxis, axes[1].xaxis)
    label = axes[0].get_xlabel()
    assert told in label if told else label == "dB"
    plt.close("all")
