import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from demoe.evaluation import similarity_controls
from demoe.evaluation.weight_similarity import HIGH, KINDS
from demoe.report import similarity_figures as drawn

PAIRS = [("GoPro-syn", "DPDD-syn"), ("GoPro-syn", "LOLBlur-syn"), ("DPDD-syn", "LOLBlur-syn")]
LEVELS = ("intro", "encoder 1", "middle", "decoder 1", "ending")


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [
        {
            "first": a,
            "second": b,
            "kind": kind,
            "level": level,
            "value": rng.uniform(-0.2, 1),
            "measure": "pearson",
            "comparison": similarity_controls.BLURS,
        }
        for a, b in PAIRS
        for kind in KINDS
        for level in LEVELS
    ]
    made = pd.DataFrame(rows)
    made.loc[(made.kind == "LayerNorm") & (made.level == "middle"), "value"] = np.nan
    return made


def heights(axis) -> list[float]:
    return [bar.get_height() for bar in axis.patches if bar.get_width() == 0.85]


def test_a_bar_a_layer_a_row_a_pair_a_column_a_kind():
    data = table()
    figure = drawn.layer_grid(data, "Pearson's r")
    axes = np.array(figure.axes).reshape(len(PAIRS), len(KINDS))
    for i, (first, second) in enumerate(PAIRS):
        for j, kind in enumerate(KINDS):
            here = data[(data["first"] == first) & (data["second"] == second) & (data.kind == kind)].value.fillna(0)
            assert np.allclose(heights(axes[i, j]), here)
            lines = [line.get_ydata()[0] for line in axes[i, j].lines]
            assert HIGH in lines and axes[i, j].get_ylim()[0] < data.value.min()
    assert [axis.get_xlabel() for axis in axes[-1]] == [drawn.PLURAL[kind] for kind in KINDS]
    assert axes[1, 0].get_ylabel() == "GoPro-syn\nLOLBlur-syn"
    without = drawn.layer_grid(data, "CKA", line=False)
    assert all(line.get_ydata()[0] != HIGH for axis in without.axes for line in axis.lines)


def test_figure_2_has_a_panel_a_pair_and_lolblur_last():
    figure = drawn.pair_panels(table().sample(frac=1, random_state=1).sort_values("first", kind="stable"), columns=2)
    titles = [axis.get_title() for axis in figure.axes if axis.get_title()]
    assert len(titles) == 3 and "LOLBlur" not in titles[0] and all("LOLBlur" in title for title in titles[1:])
    colours = [axis.patches[0].get_facecolor() for axis in figure.axes[:3]]
    assert colours[0] != colours[1] == colours[2]


def test_boxes_of_every_comparison_and_a_word_where_there_are_none():
    data = pd.concat([table(), table().assign(comparison=similarity_controls.UNTRAINED)])
    data.loc[(data.comparison == similarity_controls.UNTRAINED) & (data.kind == "LayerNorm"), "value"] = np.nan
    figure = drawn.comparison_boxes(data, "pearson", "Pearson's r")
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == [
        similarity_controls.BLURS,
        similarity_controls.UNTRAINED,
    ]
    words = [[text.get_text() for text in axis.texts] for axis in figure.axes]
    assert words == [[], [], ["constant\nbefore training"], []]
    means = [line.get_xdata()[0] for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert means[0] == pytest.approx(table()[table().kind == KINDS[0]].value.mean())
