"""The table of targets, and that the sets meet them on what is bundled."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from demoe.blur import sources
from demoe.blur.sets import SETS, synthesize
from demoe.evaluation import blur_strength
from demoe.evaluation.metrics import psnr

FEW = partial(sources.sharp_canvas, pool=5)  # dead-leaves scenes take a while to paint
COLUMNS = [
    "set",
    "pictures",
    "split",
    "count",
    "target_psnr",
    "psnr",
    "difference",
    "tolerance",
    "within",
    "target_ssim",
    "ssim",
    "psnr_sd",
    "target_source",
]


def test_every_set_has_a_target_and_says_where_from():
    assert set(blur_strength.TARGETS) == set(SETS)
    told = {word for target in blur_strength.TARGETS.values() for word in target.source.split("; ")}
    assert told == {"measured", "SSIM published", "published", "bound", "none"}
    assert [name for name, target in blur_strength.TARGETS.items() if target.source == "none"] == ["Real-LOLBlur"]


def test_the_table_is_made_of_single_samples():
    from demoe.blur.job import Options

    canvas = partial(sources.sharp_canvas, dead_leaves=0.0)
    table = blur_strength.calibrate(
        5, (40, 52), names=["GoPro", "LOLv2-real"], splits=("val",), canvases={"photos": canvas}, progress=False
    )
    assert list(table.columns) == COLUMNS and list(table.set) == ["GoPro", "LOLv2-real"]
    made = [synthesize("GoPro", "val", i, size=(40, 52), options=Options(canvas=canvas)) for i in range(5)]
    scores = [psnr(pair.blurred[None], pair.sharp[None]).item() for pair in made]
    row = table.iloc[0]
    assert row.psnr == pytest.approx(np.mean(scores)) and row.psnr_sd == pytest.approx(np.std(scores, ddof=1))
    assert row.difference == pytest.approx(np.mean(scores) - 25.64) and row.within == (abs(row.difference) <= 1.5)
    assert (row.pictures, row.split, row["count"]) == ("photos", "val", 5)


def test_sets_at_hand_are_measured_alike():
    from demoe.blur.job import Options
    from demoe.data.synthetic import synthetic

    canvas = partial(sources.sharp_canvas, dead_leaves=0.0)
    sets = [
        synthetic(name, "test", 3, 48, options=Options(canvas=canvas), source="photos", progress=False)
        for name in ("GoPro", "Real-LOLBlur")
    ]
    table = blur_strength.input_quality(sets, progress=False)
    expected = blur_strength.calibrate(
        3, 48, names=["GoPro"], splits=("test",), canvases={"synthetic": canvas}, progress=False
    )
    assert list(table.columns) == COLUMNS and list(table.set) == ["GoPro"]  # the other has no sharp pictures
    assert table.psnr[0] == pytest.approx(expected.psnr[0], abs=1e-4) and table.pictures[0] == "synthetic"


@pytest.mark.parametrize("split", ["train", "test"])
def test_input_psnr_is_that_of_the_real_set(split):
    """20 samples a set, known to about 1 dB; with 160 all are within 1.5 dB, on other photographs as well."""
    table = blur_strength.calibrate(20, 160, splits=(split,), canvases={"bundled": FEW}, progress=False)
    assert len(table) == len(SETS)
    for row in table.itertuples():
        assert row.psnr == pytest.approx(row.target_psnr, abs=3.0), row.set
        if row.target_ssim is not None and not np.isnan(row.target_ssim):
            assert row.ssim == pytest.approx(row.target_ssim, abs=0.15), row.set
    assert table.difference.abs().mean() < 1.2
