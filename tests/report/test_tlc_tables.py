import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from demoe.core import provenance
from demoe.core.paper import DEMOE, DEMOE_EXPERTS, DEMOE_PARTIAL, DEMOE_TLC, NAFNET, NAFNET_TLC
from demoe.core.tasks import PAPER_ORDER
from demoe.data.pairs import PairedSet
from demoe.evaluation import comparison
from demoe.report import layouts, tables, tlc_report

ROWS = (NAFNET, NAFNET_TLC, DEMOE, DEMOE_TLC, DEMOE_PARTIAL, DEMOE_EXPERTS)
MARK = provenance.Stamp("test", "synthetic", 0, commit="0abc")


def scores() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = []
    for name in PAPER_ORDER:
        for i in range(3):
            base = 25 + rng.normal()
            for j, method in enumerate(("input", *ROWS)):
                rows.append(
                    {
                        "set": f"{name}-syn",
                        "image": f"{i:04d}_s{i}",
                        "method": method,
                        "psnr": base + 0.1 * j,
                        "ssim": 0.8 + 0.01 * j,
                        "lpips_vgg": math.nan,
                        "missing": "lpips_vgg: weights missing",
                    }
                )
    return pd.DataFrame(rows)


@pytest.fixture
def written(home):
    table = scores()
    tables.save(table, "09_scores", MARK)
    tables.save(comparison.network_gains(table, tlc_report.COMPARED), "09_gains", MARK)
    names = layouts.write_all("test")[0]
    assert names == [name for name in layouts.TABLES if name.startswith("09")]
    return {name: layouts.TABLES[name](lambda csv: tables.read(csv, "test")) for name in names}


def test_the_published_gains():
    gains = tlc_report.paper_gains().set_index(["network", "set", "metric"]).gain
    assert gains[DEMOE_TLC, "LOLBlur", "psnr"] == -0.71 and gains[DEMOE_TLC, "Average", "psnr"] == -0.09
    assert gains[NAFNET_TLC, "GoPro", "psnr"] == 0.39 and gains[DEMOE_PARTIAL, "LOLBlur", "psnr"] == -0.52
    assert gains[DEMOE_TLC, "DPDD", "lpips_vgg"] == -0.008
    assert len(gains) == 3 * 6 * 3 and gains.notna().all()


def test_table_6_shows_both_and_marks_the_best(written):
    table = written["09_table_6"]
    assert list(table.index.get_level_values(1)[:7]) == ["input", *ROWS] and len(table) == 3 * 7
    assert table.loc[("PSNR (dB) ↑", DEMOE_TLC), ("LOLBlur", "paper (real)")] == "26.13"
    assert table.loc[("PSNR (dB) ↑", DEMOE), ("LOLBlur", "paper (real)")] == "**26.84**"
    ours = table["GoPro-syn", "here"]
    assert ours["SSIM ↑", DEMOE_EXPERTS] == "**0.860**" and ours["SSIM ↑", "input"] == "0.800"
    assert (ours["LPIPS VGG ↓"] == "–").all()
    assert table.loc[("LPIPS VGG ↓", DEMOE_EXPERTS), ("GoPro", "paper (real)")] == "–"
    assert table.loc[("LPIPS VGG ↓", DEMOE_TLC), ("GoPro", "paper (real)")] == "**0.170**"


def test_gains_stand_beside_the_published_ones(written):
    table = written["09_gains"]
    assert len(table) == len(tlc_report.COMPARED) * 7  # five sets, their average, that without LOLBlur
    row = table.loc[DEMOE_TLC, "LOLBlur-syn"]
    assert row["PSNR (dB) ↑", "here"].startswith("+0.100") and row["PSNR (dB) ↑", "paper (real)"] == "-0.71"
    assert row["LPIPS VGG ↓", "here"] == "–" and row["pictures", "here"] == "3"
    assert table.loc[DEMOE_EXPERTS, "Average"]["PSNR (dB) ↑", "paper (real)"] == "–"


def test_signs():
    assert [tables.number(value, 2, True, "missing") for value in (0.125, -0.3, -0.001, 0, math.nan)] == [
        "+0.12",
        "-0.30",
        "0.00",
        "0.00",
        "missing",
    ]


def test_figures_draw_what_they_are_given():
    gains = comparison.network_gains(scores(), tlc_report.COMPARED)
    figure = tlc_report.gain_figure(gains)
    below = figure.axes[len(tlc_report.COMPARED) + 1]  # DeMoE with full TLC
    assert [bar.get_height() for bar in below.patches] == pytest.approx([0.1] * 7)
    above = figure.axes[1].patches
    assert [bar.get_height() for bar in above] == pytest.approx([0.04, -0.29, 0.14, -0.71, 0.36, -0.09])  # no seventh
    sizes = pd.concat([gains.assign(side=side) for side in (64, 96, 256)]).query("metric == 'psnr'")
    figure = tlc_report.size_figure(sizes, {NAFNET_TLC: 144, DEMOE_TLC: 96})
    assert len(figure.axes) == 2 and len(figure.axes[0].lines) == 7  # five sets, their average, the window
    plt.close("all")


def test_the_published_gains_as_the_paper_tells_them():
    table = tlc_report.paper_psnr()
    assert list(table) == [*PAPER_ORDER, "Average"]
    assert table.loc[DEMOE_TLC, "LOLBlur"] == "-0.71" and table.loc[DEMOE_TLC, "Average"] == "-0.09"
    assert sorted(tlc_report.partial_is_full()) == ["DPDD", "GoPro", "RealBlur"]


def test_windows_are_counted_by_part_and_size():
    windows = {f"encoders.0.{i}": (24, 24) for i in range(2)} | {"encoders.1.0": (12, 12)}
    windows |= {f"middle_blks.modules_list.{i}.experts.{j}": (6, 6) for i in range(2) for j in range(5)}
    table = tlc_report.windows_by_part(windows).set_index("part")
    assert table.loc["middle_blks", "blocks"] == 10 and table.loc["middle_blks", "window"] == (6, 6)
    assert table.blocks.sum() == len(windows)


def test_pictures_are_as_large_as_the_longer_side_of_the_largest():
    pairs = PairedSet("GoPro-syn", "synthetic", ["a", "b"], lambda i, window: None, lambda i: ((20, 30), (25, 17))[i])
    assert tlc_report.picture_sizes([pairs]).loc["GoPro-syn"].tolist() == [2, 30]
