import copy
import math
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import shake

from demoe.core import provenance
from demoe.core.files import Journal
from demoe.core.tasks import EXPERTS
from demoe.data.pairs import PairedSet
from demoe.evaluation import expert_choice, statistics
from demoe.evaluation.metrics import metric_q
from demoe.inference.restore import restore
from demoe.models.demoe import DeMoE, DeMoEConfig
from demoe.models.nafnet import NAFNet, NAFNetConfig

SIZES = {"width": 4, "encoder_blocks": (1,), "middle_blocks": 1, "decoder_blocks": (1,)}
MARK = provenance.Stamp("test", "synthetic", 0, commit="abc")
INSIDE, OUTSIDE, BLIND = "DPDD-syn", "RSBlur-syn", "Real-LOLBlur-syn"


def noisy_set(name: str, count: int = 2, truth: bool = True) -> PairedSet:
    generator = torch.Generator().manual_seed(len(name))
    pictures = torch.randint(0, 256, (count, 2, 3, 23, 17), generator=generator).byte()
    pictures[..., 8:, :] //= 4  # an edge, or there is no sharpness to measure
    return PairedSet(
        name,
        "synthetic",
        [f"{i:04d}_{'ab'[i % 2]}" for i in range(count)],
        lambda i, window: (pictures[i, 0], pictures[i, 1] if truth else None),
        lambda i: (23, 17),
    )


@pytest.fixture(scope="module")
def networks():
    torch.manual_seed(0)
    return shake(DeMoE(DeMoEConfig(**SIZES))), shake(NAFNet(NAFNetConfig(**SIZES)), 1)


def test_each_expert_is_what_restore_gives(networks):
    demoe, _ = networks
    image = torch.rand(1, 3, 23, 17, generator=torch.Generator().manual_seed(0))
    images = expert_choice.restore_each(demoe, image)
    for name in EXPERTS:
        assert torch.allclose(images[name], restore(demoe, image, expert=name).image, atol=1e-6)
    assert torch.allclose(images[expert_choice.SOFT], restore(demoe, image, k=5).image, atol=1e-6)
    assert images[expert_choice.EQUAL].shape == image.shape and not torch.equal(
        images[expert_choice.EQUAL], images[expert_choice.SOFT]
    )
    undecided = copy.deepcopy(demoe)
    torch.nn.init.zeros_(undecided.mlp_branch.classifier[-1].weight)
    torch.nn.init.zeros_(undecided.mlp_branch.classifier[-1].bias)
    assert torch.allclose(images[expert_choice.EQUAL], restore(undecided, image, k=5).image, atol=1e-6)
    assert list(images) == [*EXPERTS, expert_choice.SOFT, expert_choice.EQUAL]


def found_candidates(networks, sets, **more):
    return expert_choice.candidates(
        *networks, sets, {"networks": "x"}, MARK, progress=False, measured=("psnr", "niqe"), **more
    )


def test_candidates_are_measured_once_and_continued(networks, home, monkeypatch):
    sets = [noisy_set(INSIDE), noisy_set(BLIND, truth=False)]
    whole = found_candidates(networks, sets)
    files = sorted((home / "results" / "test" / "runs").glob("benchmark-routing-s0-*/scores.csv"))
    expected = [file.read_bytes() for file in files]
    assert len(files) == 2 and list(whole.method[:9]) == list(expert_choice.CANDIDATES) and len(whole) == 4 * 9
    assert whole[whole["set"] == BLIND].psnr.isna().all() and whole[whole["set"] == INSIDE].psnr.notna().all()
    assert "psnr: no ground truth" in whole.missing.iloc[-1]
    blurred, sharp = (side[None] for side in sets[0].pair(1))
    value = expert_choice.metrics.psnr(restore(networks[0], blurred, expert="low_light").image, sharp).item()
    assert whole.sharpness[9] == pytest.approx(metric_q(blurred).item(), abs=1e-5)  # the second picture's input
    row = whole[(whole.image == sets[0].keys[1]) & (whole["set"] == INSIDE) & (whole.method == "low_light")]
    assert row.psnr.item() == pytest.approx(value, abs=1e-5)

    def never(*_):
        raise AssertionError("restored again")

    with monkeypatch.context() as patch:
        patch.setattr(expert_choice, "restore_each", never)
        assert found_candidates(networks, sets).equals(whole)
    for file in files:
        file.unlink()
    append, seen = Journal.append, []

    def interrupted(self, rows):
        if len(seen) == 3:
            raise KeyboardInterrupt
        seen.append(len(rows))
        append(self, rows)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", interrupted)
        with pytest.raises(KeyboardInterrupt):
            found_candidates(networks, sets)
    each, again = expert_choice.restore_each, []
    monkeypatch.setattr(expert_choice, "restore_each", lambda *given: again.append(1) or each(*given))
    assert found_candidates(networks, sets).equals(whole) and [file.read_bytes() for file in files] == expected
    assert len(again) == 1


def test_damaged_candidates_are_set_aside_and_made_again(networks, home, capsys):
    sets = [noisy_set(INSIDE)]
    whole = found_candidates(networks, sets)
    file = next((home / "results" / "test" / "runs").glob("benchmark-routing-s0-*")) / "scores.csv"
    expected = file.read_bytes()
    file.write_bytes(expected.replace(b"1", b"2", 1))
    assert found_candidates(networks, sets).equals(whole) and file.read_bytes() == expected
    assert "is damaged" in capsys.readouterr().err and file.with_name("scores.csv.damaged").is_file()


def test_another_commit_with_the_same_code_measures_nothing_again(networks, home, monkeypatch):
    sets = [noisy_set(INSIDE)]
    whole = found_candidates(networks, sets)
    monkeypatch.setattr(expert_choice, "restore_each", None)
    later = provenance.Stamp("test", "synthetic", 0, commit="def")
    again = expert_choice.candidates(
        *networks, sets, {"networks": "x"}, later, progress=False, measured=("psnr", "niqe")
    )
    assert again.equals(whole)


def test_a_second_process_waits_and_loads_what_the_first_measured(networks, home, monkeypatch):
    sets = [noisy_set(INSIDE)]
    each, counted, inside = expert_choice.restore_each, [], threading.Event()

    def slow(*given):
        inside.set()
        counted.append(1)
        return each(*given)

    monkeypatch.setattr(expert_choice, "restore_each", slow)
    with ThreadPoolExecutor(2) as pool:  # a lock of files: two threads stand for two processes
        first = pool.submit(found_candidates, networks, sets)
        inside.wait(30)
        second = pool.submit(found_candidates, networks, sets)
        assert first.result().equals(second.result())
    assert len(counted) == 2  # each picture once


def test_every_set_gets_the_metrics_that_its_tables_print(networks, home):
    for name, expected in (
        (INSIDE, ("psnr", "ssim")),
        ("RealDOF", ("psnr", "ssim", "lpips_vgg")),
        (OUTSIDE, ("psnr", "ssim", "lpips_vgg")),
        (BLIND, expert_choice.MEASURED),
    ):
        assert expert_choice.needed(noisy_set(name)) == expected
    found = expert_choice.candidates(*networks, [noisy_set(INSIDE, 1)], {}, MARK, progress=False)
    assert {"psnr", "ssim"} <= set(found.columns) and not {"niqe", "lpips_vgg"} & set(found.columns)


def made(psnr: dict[str, list[list[float]]], sharpness: dict[str, list[list[float]]] | None = None) -> pd.DataFrame:
    """Candidates of sets: a list of pictures each, with the five experts' PSNR (or NaN)."""
    rows = []
    for name, pictures in psnr.items():
        for i, values in enumerate(pictures):
            known = dict(zip(EXPERTS, values, strict=True))
            known |= {
                "input": min(values),
                "baseline": np.mean(values),
                expert_choice.SOFT: np.mean(values) + 0.5,
                expert_choice.EQUAL: np.mean(values),
            }
            sharp = dict(zip(EXPERTS, (sharpness or {}).get(name, pictures)[i], strict=True))
            rows += [
                {
                    "set": name,
                    "image": f"{i:04d}_{chr(97 + i % 3)}",
                    "method": method,
                    "psnr": known[method],
                    "sharpness": sharp.get(method, 0.0),
                    "missing": "",
                }
                for method in expert_choice.CANDIDATES
            ]
    return pd.DataFrame(rows).fillna({"sharpness": 1.0})


def routed(candidates: pd.DataFrame, predicted: list[str], doubt=0.0, distance=0.0) -> pd.DataFrame:
    table = candidates[["set", "image"]].drop_duplicates().reset_index(drop=True)
    labels = {INSIDE: "defocus", OUTSIDE: "global_motion", BLIND: "low_light"}
    return table.assign(
        label=table["set"].map(labels), predicted=predicted, normalised_entropy=doubt, distance=distance
    )


LIMITS = {"normalised_entropy": 0.5, "distance": 0.5}
THREE = {
    INSIDE: [[30.0, 29, 28, 27, 26], [30, 31, 28, 27, 26], [33, 29, 28, 27, 26]],
    OUTSIDE: [[20.0, 24, 21, 20, 20], [20, 22, 25, 20, 20]],
    BLIND: [[math.nan] * 5],
}


def test_rules_choose_as_they_say():
    sharp = {BLIND: [[1.0, 2, 9, 2, 1]]}
    candidates = made(THREE, sharp)
    seen = routed(
        candidates,
        ["defocus", "low_light", "defocus", "local_motion", "local_motion", "global_motion"],
        doubt=[0.1, 0.5, 0.6, 0.2, 0.2, 0.7],
        distance=[0.1, 0.6, 0.1, 0.1, 0.5, 0.7],
    )
    chosen = expert_choice.choices(candidates, seen, LIMITS).reset_index(drop=True)
    assert chosen[expert_choice.ROUTER].tolist() == seen.predicted.tolist()
    assert chosen[expert_choice.ENTROPY].tolist() == [
        "defocus",
        "low_light",
        expert_choice.SOFT,
        "local_motion",
        "local_motion",
        expert_choice.SOFT,
    ]
    assert chosen[expert_choice.DISTANCE].tolist() == [
        "defocus",
        expert_choice.EQUAL,
        "defocus",
        "local_motion",
        "local_motion",
        expert_choice.EQUAL,
    ]
    assert chosen[expert_choice.SHARPEST].tolist() == [
        "defocus",
        "global_motion",
        "defocus",
        "global_motion",
        "local_motion",
        "local_motion",
    ]
    assert chosen[expert_choice.MANUAL].tolist() == ["defocus"] * 3 + ["global_motion"] * 2 + ["low_light"]
    assert chosen[expert_choice.FIXED].tolist() == ["defocus"] * 3 + ["global_motion"] * 2 + [""]
    assert chosen[expert_choice.ORACLE].tolist() == [
        "defocus",
        "global_motion",
        "defocus",
        "global_motion",
        "local_motion",
        "",
    ]


def scored(predicted=None, candidates=None) -> pd.DataFrame:
    candidates = made(THREE) if candidates is None else candidates
    predicted = predicted or ["local_motion"] * len(candidates[["set", "image"]].drop_duplicates())
    return expert_choice.score_choices(
        candidates, expert_choice.choices(candidates, routed(candidates, predicted), LIMITS)
    )


def test_scores_are_those_of_the_candidates_chosen():
    scores = scored()
    assert scores.method.tolist() == list(expert_choice.METHODS) * 6
    assert scores["set"].tolist() == [name for name, part in THREE.items() for _ in range(12 * len(part))]
    by = scores.pivot(index=["set", "image"], columns="method", values="psnr")
    assert by[expert_choice.ORACLE].loc[OUTSIDE].tolist() == [24, 25] and by[expert_choice.FIXED].loc[
        OUTSIDE
    ].tolist() == [24, 22]
    assert by[expert_choice.RANDOM].loc[OUTSIDE].tolist() == [21, 21.4] and by.loc[BLIND].isna().all().all()
    truth = by.drop(index=BLIND, level="set")
    experts = [
        one
        for one in expert_choice.METHODS
        if one not in (expert_choice.INPUT, expert_choice.BASELINE, expert_choice.SOFT, expert_choice.EQUAL)
    ]
    assert (truth[experts].le(truth[expert_choice.ORACLE], axis=0)).all().all()
    passes = scores.groupby("method")[["encoder", "decoder", "experts"]].first()
    assert passes.loc[expert_choice.ROUTER].tolist() == [1, 1, 1] and passes.loc[expert_choice.SOFT].tolist() == [
        1,
        1,
        5,
    ]
    assert passes.loc[expert_choice.SHARPEST].tolist() == [1, 5, 5] and passes.loc[expert_choice.INPUT].tolist() == [
        0,
        0,
        0,
    ]
    assert (
        scores[(scores["set"] == BLIND) & (scores.method == expert_choice.ORACLE)].missing == "nothing to choose by"
    ).all()


def test_gap_closed_in_closed_cases():
    scores = scored()
    for method, share in ((expert_choice.ROUTER, 0), (expert_choice.ORACLE, 1)):
        found = expert_choice.gap_closed(scores, method)
        assert found.share.tolist() == [share] * 3 and found.low.tolist() == [share] * 3
        assert found["set"].tolist() == [INSIDE, OUTSIDE, "Average"]
    fixed = expert_choice.gap_closed(scores, expert_choice.FIXED).set_index("set")
    assert fixed.loc[OUTSIDE, "share"] == pytest.approx(0.0) and fixed.loc[OUTSIDE, "gap"] == pytest.approx(1.5)
    inside, outside = (31 - 28, 94 / 3 - 28), (23 - 23, 24.5 - 23)
    assert fixed.loc["Average", "share"] == pytest.approx((inside[0] + outside[0]) / (inside[1] + outside[1]))
    assert expert_choice.gap_closed(scores[scores["set"] == BLIND], expert_choice.FIXED).empty


def test_gap_without_a_gap_has_no_share():
    same = expert_choice.gap_closed(scored(candidates=made({OUTSIDE: [[20.0] * 5, [21.0] * 5]})), expert_choice.SOFT)
    assert same.share.isna().all() and same.low.isna().all() and (same.gap == 0).all()


def test_gap_interval_equals_a_slow_bootstrap(monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 200)
    rng = np.random.default_rng(0)
    candidates = made({OUTSIDE: (25 + rng.normal(size=(7, 5))).tolist()})
    scores = scored(predicted=[EXPERTS[i] for i in rng.integers(0, 5, 7)], candidates=candidates)
    found = expert_choice.gap_closed(scores, expert_choice.MANUAL).iloc[0]
    table = scores.pivot(index="image", columns="method", values="psnr")
    scenes = pd.factorize(pd.Series([statistics.scene(OUTSIDE, key) for key in table.index]))[0]
    draws = np.random.default_rng([0, zlib.crc32(OUTSIDE.encode())]).integers(3, size=(200, 3))
    shares = []
    for draw in draws:
        pictures = np.concatenate([np.flatnonzero(scenes == one) for one in draw])
        mean = table.iloc[pictures].mean()
        shares.append(
            (mean[expert_choice.MANUAL] - mean[expert_choice.ROUTER])
            / (mean[expert_choice.ORACLE] - mean[expert_choice.ROUTER])
        )
    assert [found.low, found.high] == pytest.approx(np.percentile(shares, [2.5, 97.5]))


def test_compare_holds_gains_and_passes():
    scores = scored()
    table = expert_choice.compare_methods(scores, [INSIDE], [OUTSIDE, BLIND])
    by = table.set_index(["group", "quantity", "method", "set"])["mean"]
    assert by["outside", "gain", expert_choice.ORACLE, "Average"] == pytest.approx(1.5)  # Real-LOLBlur has no truth
    assert (
        by["inside", "gain", expert_choice.ROUTER, "Average"] == 0
        and by["outside", "psnr", expert_choice.ROUTER, OUTSIDE] == 23
    )
    assert (
        by["outside", "experts", expert_choice.SOFT, "Average"] == 5
        and by["inside", "share", expert_choice.ORACLE, INSIDE] == 1
    )
    assert BLIND not in set(table["set"])
    counts = table[table.quantity == "gain"].groupby(["group", "set"]).scenes.unique()
    assert counts["inside", INSIDE] == [3] and counts["outside", "Average"] == [2]
    both = expert_choice.compare_methods(scores, [INSIDE, OUTSIDE], [BLIND]).query("quantity == 'gain'")
    assert both[both["set"] == "Average"].scenes.eq(2).all() and both[both["set"] == INSIDE].scenes.eq(3).all()
    assert table.equals(expert_choice.compare_methods(scores, [INSIDE], [OUTSIDE, BLIND]))
    over = table[(table.quantity == "over input") & (table.method == expert_choice.ROUTER)].set_index("set")
    assert over.loc[OUTSIDE, "mean"] == pytest.approx(3.0) and over.loc[OUTSIDE, "changed"] == 2
    only_blind = expert_choice.compare_methods(scores, [INSIDE], [BLIND])
    assert set(only_blind[only_blind.group == "outside"].quantity) == {"encoder", "decoder", "experts"}


def test_a_gate_that_changes_few_pictures_is_counted():
    """The gate moves one picture of DPDD's three, and both of RSBlur's, which carry its gain; they are of one scene."""
    candidates = made(THREE).replace({"image": {"0001_b": "0001_a"}})
    distance = [0.9, 0.1, 0.1, 0.9, 0.9, 0.9]
    seen = routed(candidates, ["low_light"] * 6, distance=distance)
    scores = expert_choice.score_choices(candidates, expert_choice.choices(candidates, seen, LIMITS))
    table = expert_choice.compare_methods(scores, [], [INSIDE, OUTSIDE, BLIND])
    counts = table[table.quantity == "gain"].set_index(["method", "set"])[["pictures", "changed", "changed_scenes"]]
    assert counts.loc[(expert_choice.DISTANCE, INSIDE)].tolist() == [3, 1, 1]
    assert counts.loc[(expert_choice.DISTANCE, OUTSIDE)].tolist() == [2, 2, 1]
    assert counts.loc[(expert_choice.ENTROPY, OUTSIDE)].tolist() == [2, 0, 0]
    assert counts.loc[(expert_choice.RANDOM, INSIDE)].tolist()[:2] == [3, 3]
    assert counts.loc[(expert_choice.ENTROPY, "Average")].tolist() == [5, 0, 0]
    scenes = counts.loc[(expert_choice.MANUAL, "Average")]
    gains = table[(table.method == expert_choice.MANUAL) & (table.quantity == "gain")].set_index("set")["mean"].abs()
    carrying = gains.drop("Average").idxmax()
    assert scenes.tolist() == [5, 5, counts.loc[(expert_choice.MANUAL, carrying), "changed_scenes"]]
