import math

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import shake

from demoe.core.provenance import Stamp
from demoe.data.pairs import PairedSet
from demoe.evaluation import benchmark, comparison, statistics
from demoe.evaluation.methods import EQUAL, FOREIGN, INPUT, LONGER, UNTILED, Compared, Made, blurred_input, network
from demoe.models import complexity
from demoe.models.demoe import DeMoE, DeMoEConfig
from demoe.models.nafnet import NAFNet, NAFNetConfig

TINY = DeMoEConfig(width=4, encoder_blocks=(1,), middle_blocks=1, decoder_blocks=(1,))
MARK = Stamp("test", "synthetic", 0, "", "1234567", "a machine")


def pairs(name: str, height: int, width: int, count: int = 1) -> PairedSet:
    pixels = torch.randint(
        0, 256, (count, 2, 3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    return PairedSet(
        name,
        "synthetic",
        [f"{i:04d}_s{i}" for i in range(count)],
        lambda i, window: tuple(pixels[i]),
        lambda i: (height, width),
    )


def test_a_tiled_picture_says_so_and_a_small_one_is_seen_whole():
    model = shake(DeMoE(TINY))
    large, small = pairs("GoPro-syn", 40, 300), pairs("DPDD-syn", 40, 100)
    compared = {"tiled": network(model, tile=256), "whole": network(model)}
    scores = benchmark.score([large, small], compared, progress=False, mark=MARK)
    assert scores.how.tolist() == ["tiles of 256", "whole", "whole", "whole"]
    made = compared["tiled"](large.pair(0)[0][None], large)
    whole = compared["whole"](large.pair(0)[0][None], large)
    assert isinstance(made, Made) and made.image.shape == whole.shape
    assert 0 < (made.image - whole).abs().max() < 0.2  # tiles come close, and are something else
    torch.testing.assert_close(
        compared["tiled"](small.pair(0)[0][None], small),
        compared["whole"](small.pair(0)[0][None], small),
        rtol=0,
        atol=0,
    )


def test_a_network_that_cannot_be_tiled_says_so_where_it_would_have_been():
    model = torch.nn.Conv2d(3, 3, 1)
    sets = [pairs("GoPro-syn", 40, 300), pairs("DPDD-syn", 40, 100)]
    compared = {"tiled": network(model, tile=256), "whole": network(model)}
    scores = benchmark.score(sets, compared, progress=False)
    assert scores.how.tolist() == [UNTILED, "whole", "whole", "whole"]
    assert scores.psnr[0] == scores.psnr[1]  # it saw the same


def test_strips_of_a_large_picture_equal_the_plain_pass(monkeypatch):
    from demoe.evaluation import methods

    model, image = shake(DeMoE(TINY)), torch.rand(1, 3, 33, 47)
    plain = network(model, k=2)(image, pairs("GoPro-syn", 33, 47))
    monkeypatch.setattr(methods, "WHOLE", 100)
    torch.testing.assert_close(network(model, k=2)(image, pairs("GoPro-syn", 33, 47)), plain, rtol=1e-4, atol=1e-5)


def test_a_set_of_no_expert_has_no_manual_choice_and_no_way_of_seeing():
    scores = benchmark.score(
        [pairs("HIDE", 20, 20)], {"manual": network(shake(DeMoE(TINY)), manual=True)}, progress=False
    )
    assert scores.psnr.isna().all() and scores.how.tolist() == [""]


def entry(role: str, group: str, model: torch.nn.Module | None) -> Compared:
    return Compared(role, f"{role}!", group, "3 steps", "abc", blurred_input, model)


def test_methods_are_counted_with_their_k_and_gaps_stand_in_the_papers_order():
    demoe, naf = DeMoE(TINY).eval(), NAFNet(NAFNetConfig(4, (1,), 1, (1,)))
    entries = [
        entry("input", INPUT, None),
        entry("SFHFormer", EQUAL, naf),
        entry("DeMoE longer k=1", LONGER, demoe),
        entry("DeMoE longer k=5", LONGER, demoe),
    ]
    table = comparison.methods_table(entries, {"Restormer": "not installed"})
    assert table.role.tolist() == ["input", "Restormer", "SFHFormer", "DeMoE longer k=1", "DeMoE longer k=5"]
    rows = table.set_index("role")
    assert math.isnan(rows.params["input"]) and rows.missing["Restormer"] == "not installed"
    assert rows.macs["DeMoE longer k=5"] > 1.2 * rows.macs["DeMoE longer k=1"]
    assert rows.params["DeMoE longer k=5"] == rows.params["DeMoE longer k=1"]
    assert (rows.params["SFHFormer"], rows.macs["SFHFormer"]) == complexity.count(naf)
    times = comparison.runtimes({one.role: one.model for one in entries[2:]} | {"DeMoE": demoe}, 16, 1)
    assert times.network.tolist() == ["DeMoE longer k=1", "DeMoE longer k=5", "DeMoE"] and (times.runtime_ms > 0).all()
    assert times.runtime_ms[0] == times.runtime_ms[2] != times.runtime_ms[1]  # one network with one expert: timed once


def test_weights_may_be_called_anything():
    demoe = DeMoE(TINY).eval()
    entries = [entry(name, FOREIGN, demoe) for name in ("model_k=3.pth", "x k=5")] + [entry("DeMoE", EQUAL, demoe)]
    assert comparison.methods_table(entries, {}).macs.nunique() == 1  # each mixes one expert
    assert comparison.runtimes({one.role: demoe for one in entries}, 16, 1).runtime_ms.nunique() == 1


def scored(shift: dict[str, float], count: int = 8) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    base = 20 + rng.random((2, count))
    return pd.DataFrame(
        [
            {"set": name, "image": f"{i:04d}_s{i}", "method": f"{role}!", "psnr": base[j, i] + more + 0.01 * i}
            for j, name in enumerate(("GoPro-syn", "DPDD-syn"))
            for i in range(count)
            for role, more in shift.items()
        ]
    )


def test_differences_are_paired_and_only_between_those_that_are_there():
    scores = scored({"input": 0, "NAFNet": 0.4, "DeMoE": 0.5})
    methods = pd.DataFrame(
        {"role": ["input", "NAFNet", "DeMoE", "Restormer"], "method": ["input!", "NAFNet!", "DeMoE!", "Restormer!"]}
    )
    table = comparison.role_differences(scores, methods)
    assert {(one.first, one.second) for one in table.itertuples()} == {
        ("DeMoE", "NAFNet"),
        ("DeMoE", "input"),
        ("NAFNet", "input"),
    }
    row = table[(table["second"] == "NAFNet") & (table["set"] == "Average")].iloc[0]
    assert row["mean"] == pytest.approx(0.1) and row.low == pytest.approx(0.1) == row.high  # spread cancels in pairs
    assert "method" not in table and statistics.WITHOUT not in set(table["set"])  # there is no LOLBlur to leave out


def test_the_average_without_lolblur_is_that_of_the_other_sets():
    scores = scored({"input": 0, "NAFNet": 0.1})
    dark = scores[scores["set"] == "DPDD-syn"].assign(set="LOLBlur-syn")
    dark.loc[dark.method == "NAFNet!", "psnr"] += 5  # brighter
    methods = pd.DataFrame({"role": ["input", "NAFNet"], "method": ["input!", "NAFNet!"]})
    mean = comparison.role_differences(pd.concat([scores, dark], ignore_index=True), methods).set_index("set")["mean"]
    assert mean["Average"] == pytest.approx((0.1 + 0.1 + 5.1) / 3) and mean[statistics.WITHOUT] == pytest.approx(0.1)
    assert statistics.WITHOUT not in set(comparison.role_differences(dark, methods)["set"])  # nothing would be left


def test_the_picture_of_median_gain_by_hand():
    gains = {"a": 0.3, "b": -0.1, "c": 0.9, "d": 0.2}
    rows = [
        {"set": "S", "image": key, "method": method, "psnr": 20 + gain * (method == "y")}
        for key, gain in gains.items()
        for method in ("x", "y")
    ]
    assert comparison.median_gain(pd.DataFrame(rows), "S", "y", "x") == "d"  # of 0.2 and 0.3 the lower
    assert comparison.median_gain(pd.DataFrame(rows[:6]), "S", "y", "x") == "a"


@pytest.mark.parametrize("size", [(33, 47), (40, 24), (9, 60)])
def test_the_worst_crop_as_by_trying_all(size):
    torch.manual_seed(1)
    blurred, sharp = torch.rand(3, *size), torch.rand(3, *size)
    top, left, side = comparison.worst_crop(blurred, sharp)
    assert side == max(8, min(size) // 4)
    error = blurred.double() - sharp.double()
    tried = {
        (i, j): error[:, i : i + side, j : j + side].flatten(1).var(1, correction=0).sum().item()
        for i in range(size[0] - side + 1)
        for j in range(size[1] - side + 1)
    }
    assert (top, left) == max(tried, key=tried.get)
    assert comparison.worst_crop(blurred * 0.5 + 0.2, sharp * 0.5) == (top, left, side)  # brighter alone is not worse


def test_of_equal_crops_the_first():
    sharp = torch.rand(3, 40, 60, generator=torch.Generator().manual_seed(2))
    assert comparison.worst_crop(sharp * 0.7, sharp * 0.7) == (0, 0, 10)
    assert comparison.worst_crop(sharp + 0.1, sharp) == (0, 0, 10)  # equal but for rounding


def test_the_sums_of_section_5_and_the_cost_of_k():
    counted = comparison.ensemble().set_index("what").params
    assert round(counted["DeMoE-5, one for each set"] / 1e6, 1) == 50.4 and round(counted["DeMoE"] / 1e6, 2) == 20.15
    costs = comparison.cost_of_k(side=32)
    steps = costs.macs.diff().dropna()
    assert costs.k.tolist() == [1, 2, 3, 4, 5] and steps.nunique() == 1 and steps.iloc[0] > 0  # an expert each


def test_choices_of_two_networks_are_counted_where_they_differ():
    tiny = DeMoEConfig(width=2, encoder_blocks=(1,), middle_blocks=1, decoder_blocks=(1,))
    networks = dict.fromkeys(("one", "again"), shake(DeMoE(tiny)))
    routing = comparison.routings(networks, [pairs("GoPro-syn", 12, 12, 3)])
    assert routing.network.tolist() == ["one"] * 3 + ["again"] * 3
    assert comparison.changed_choices(routing, "one", "again") == (0, 3)
    other = routing.predicted.where(routing.network == "one", "another")
    other.iloc[3] = routing.predicted.iloc[0]
    assert comparison.changed_choices(routing.assign(predicted=other.to_numpy()), "one", "again") == (2, 3)


def test_sides_go_up_to_four_crops_and_not_beyond_the_picture():
    assert comparison.sides(64, 1000) == [64, 96, 128, 192, 256] and comparison.sides(64, 150) == [64, 96, 128, 150]
