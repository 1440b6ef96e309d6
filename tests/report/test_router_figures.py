import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import shake

from demoe.core.tasks import EXPERTS
from demoe.data.pairs import PairedSet
from demoe.evaluation import expert_choice, router
from demoe.models.demoe import DeMoE, DeMoEConfig
from demoe.report import figures, router_figures

GROUPS = {"inside": ["DPDD-syn", "GoPro-syn"], "outside": ["RSBlur-syn"]}
LABELS = {"DPDD-syn": "defocus", "GoPro-syn": "synth_global_motion", "RSBlur-syn": "global_motion"}


@pytest.fixture
def seen():
    rng = np.random.default_rng(0)
    rows = []
    for names in GROUPS.values():
        for name in names:
            for i, weights in enumerate(rng.dirichlet(np.ones(5), 4)):
                predicted = EXPERTS[int(weights.argmax())]
                rows.append(
                    {
                        "set": name,
                        "image": f"{i}",
                        "label": LABELS[name],
                        "predicted": predicted,
                        "correct": predicted == LABELS[name],
                        "normalised_entropy": 1.0,
                        "distance": 0.2 + 0.1 * i,
                    }
                    | dict(zip(EXPERTS, weights, strict=True))
                )
    yield pd.DataFrame(rows).astype({"correct": "boolean"})
    plt.close("all")


def test_the_routers_confusion_sums_to_one(seen):
    for by, rows in (("set", list(LABELS)), ("label", list(LABELS.values()))):
        table = figures.choices(seen, by).loc[rows]
        assert list(table.columns) == list(EXPERTS) and table.sum(axis=1).to_numpy() == pytest.approx(np.ones(3))


def test_heat_maps_print_the_numbers_that_they_colour(seen):
    figure = router_figures.heat_maps(seen, GROUPS)
    average = seen[seen["set"] == "DPDD-syn"][list(EXPERTS)].mean()
    above, below = figure.axes[0], figure.axes[2]
    assert [text.get_text() for text in above.texts][:5] == [f"{value:.2f}" for value in average]
    shares = figures.choices(seen, "set").loc["DPDD-syn"]
    assert [text.get_text() for text in below.texts][:5] == [f"{value:.2f}" for value in shares]
    frames = [patch.get_xy() for patch in above.patches]
    assert frames == [(0.03, 0.04), (3.03, 1.04)]  # the blur's own expert: defocus, synth_global_motion


def test_reliability_and_signs_have_a_panel_each(seen):
    figure = router_figures.reliability(*router.calibration({"in": seen, "out": seen}, 2.0))
    assert [axis.get_title() for axis in figure.axes[:2]] == ["in", "out"]
    figure = router_figures.signs(seen, {"normalised_entropy": 0.9, "distance": 0.4}, GROUPS)
    assert "0 to 1" in figure.axes[0].get_xlabel() and len(figure.axes[1].collections) == 3
    keys = " ".join(text.get_text() for text in figure.legends[0].get_texts())
    assert all(word in keys for word in ("in distribution", "out of distribution", "median", "limit"))


def test_examples_show_sharp_pictures_only_where_there_are_some():
    pictures = torch.randint(0, 256, (2, 3, 19, 27), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    sets = [
        PairedSet(name, "synthetic", ["0_a"], lambda i, window, sharp=sharp: (pictures[0], sharp), lambda i: (19, 27))
        for name, sharp in (("RSBlur-syn", pictures[1]), ("Real-LOLBlur-syn", None))
    ]
    model = shake(DeMoE(DeMoEConfig(width=4, encoder_blocks=(1,), middle_blocks=1, decoder_blocks=(1,))))
    shown = {pairs.name: ["0_a"] for pairs in sets}
    figure = router_figures.examples(expert_choice.examples(model, {"NAFNet": model}, sets, shown))
    titles = [axis.get_title() for axis in figure.axes]
    assert titles[4] == "sharp" and "dB" in titles[0] and "global_motion" in titles[3]
    assert all(axis.child_axes for axis in figure.axes if axis.get_title())  # each has its enlarged square
    assert titles[5] == "input" and "low_light" in titles[8] and titles[9] == ""
    plt.close(figure)


def test_the_busiest_square_is_that_with_the_edge():
    image = torch.full((3, 40, 30), 0.5)
    image[:, 21, 12] = 1.0
    top, left, side = router_figures.busiest(image)
    assert side == 6 and top <= 21 < top + side and left <= 12 < left + side


def test_only_dark_pictures_are_brightened():
    dark = torch.full((3, 10, 10), 0.05)
    dark[:, 0] = 1.0  # lamps
    assert router_figures.brightening(dark) == pytest.approx(router_figures.SHOWN / 0.05, abs=0.05)
    assert router_figures.brightening(torch.full((3, 4, 4), 0.4)) == 1.0


def test_worth_has_a_dot_for_every_way_of_choosing():
    rows = [
        {
            "method": name,
            "group": group,
            "set": "Average",
            "quantity": "gain",
            "mean": 0.1,
            "low": 0.0,
            "high": 0.2,
            "pictures": 48,
            "changed": 4 if name == expert_choice.DISTANCE else 48,
        }
        for name in expert_choice.METHODS
        for group in ("inside", "outside")
    ]
    figure = router_figures.worth(pd.DataFrame(rows))
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert (
        "oracle *" in names
        and expert_choice.ENTROPY in names
        and expert_choice.ROUTER not in names
        and expert_choice.INPUT in names
    )
    assert [text.get_text() for text in figure.axes[0].texts] == ["4 of 48"]
    plt.close(figure)


def test_pictures_are_shown_by_rule():
    confidences = [0.9, 0.3, 0.5, 0.7]
    rows = [
        {"set": "RSBlur-syn", "image": f"p{i}"} | dict.fromkeys(EXPERTS, 0.01) | {"defocus": c}
        for i, c in enumerate(confidences)
    ]
    assert router_figures.shown_pictures(pd.DataFrame(rows), "RSBlur-syn") == ["p2", "p1"]
    assert router_figures.shown_pictures(pd.DataFrame(rows[:1]), "RSBlur-syn") == ["p0"]
