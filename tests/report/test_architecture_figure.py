"""Figures 3 and 6 (left) and the curves of a training: what they show is what there is, whatever its size."""

import re

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from demoe.models.demoe import DEMOE_PRESETS, DeMoE, DeMoEConfig
from demoe.report import figures
from demoe.report.architecture_figure import architecture


@pytest.mark.parametrize(
    "config",
    [DEMOE_PRESETS["demoe"], DeMoEConfig(width=24, encoder_blocks=(1, 3), decoder_blocks=(2, 1), moe_per_level=2)],
)
def test_the_boxes_hold_all_parameters_once(config):
    model = DeMoE(config)
    figure = architecture(model)
    texts = [text.get_text() for text in figure.axes[0].texts]
    counted = [float(number) for text in texts for number in re.findall(r"([0-9.]+) M$", text)]
    total = sum(p.numel() for p in model.parameters()) / 1e6
    assert sum(counted) == pytest.approx(total, abs=0.005 * len(counted))
    blocks = [text for text in texts if "NAFBlocks" in text]
    wanted = [*config.encoder_blocks, config.middle_blocks, *config.decoder_blocks]
    assert [int(text.split()[0]) for text in blocks] == wanted
    assert sum(text.startswith(("MoEBlock", f"{config.moe_per_level} MoEBlocks")) for text in texts) == 1 + len(
        config.decoder_blocks
    )
    widths = [int(re.search(r"NAFBlocks, (\d+)", text)[1]) for text in blocks]
    levels = [config.width * 2**i for i in range(len(config.encoder_blocks) + 1)]
    assert widths == [*levels, *levels[-2::-1]]
    plt.close(figure)


def test_the_plane_of_costs_has_the_ensemble_beside_its_nafnet():
    table = pd.DataFrame(
        {
            "row": ["NAFNet", "DeMoE k=1", "Restormer"],
            "params": [1e7, 2e7, None],
            "macs": [1.1e10, 1.1e10, None],
            "runtime_ms": [5.0, 6.0, None],
            "paper_macs_g": [11.02, 11.05, 141.24],
            "paper_runtime_ms": [8, 13.1, 33.2],
        }
    )
    figure = figures.cost_plane(table, 64, 5e7)
    for axis in figure.axes:
        names = [text.split(",")[0] for text in axis.get_legend_handles_labels()[1]]
        assert names == ["DeMoE-5", "NAFNet", "DeMoE k=1"]
        places = [tuple(one.get_offsets()[0]) for one in axis.collections]
        assert places[0] == places[1] != places[2]
    assert figure.legends[0].get_texts()[0].get_text() == "DeMoE-5, 50.0 M"
    plt.close(figure)


def test_a_network_without_a_log_leaves_its_panels_empty_and_says_so():
    columns = {"pixel": [0.2, 0.1], "accuracy": [0.2, 0.4], "grad_norm": [1, 2], "lr": [1, 0.1]}
    log = pd.DataFrame({"step": [0, 1], **columns})
    empty = pd.DataFrame({"step": [5999]})
    figure = figures.training_curves(empty, empty)
    assert [axis.texts[0].get_text() for axis in figure.axes] == ["no log comes with the package"] * 4
    figure = figures.training_curves(empty, log)
    assert [len(axis.texts) for axis in figure.axes] == [0, 1, 0, 0]
    assert [len(axis.lines) for axis in figures.training_curves(log, log).axes] == [4, 2, 4, 4]
    plt.close("all")
