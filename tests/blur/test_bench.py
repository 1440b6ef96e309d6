"""The benchmark measures what it says; how fast is not its test's business."""

from __future__ import annotations

import pytest

from demoe.blur import bench


def test_every_case_is_timed_in_turns(monkeypatch):
    monkeypatch.setattr(bench, "POOL", 1)
    made = []
    monkeypatch.setattr(bench, "synthesize_batch", lambda name, split, indices, **kwargs: made.append(
        (name, tuple(indices), kwargs["size"], kwargs["device"])))
    table = bench.patches_per_second(
        ("GoPro", "LOLv2-real"), 24, batch=3, rounds=2, devices=["cpu"], progress=False
    )
    assert [name for name, *_ in made] == ["GoPro", "LOLv2-real", "LOLv2-real", "GoPro", "GoPro", "LOLv2-real"]
    assert [indices for _, indices, _, _ in made[::2]] == [(0, 1, 2), (3, 4, 5), (6, 7, 8)]
    assert {(size, device) for _, _, size, device in made} == {(24, "cpu")}
    assert list(table.set) == ["GoPro", "LOLv2-real"] and set(table.device) == {"cpu"}
    assert (table.low <= table.patches_per_second).all() and (table.patches_per_second <= table.high).all()
    assert table.ms_per_patch.tolist() == pytest.approx((1000 / table.patches_per_second).tolist())


def test_it_runs(monkeypatch):
    monkeypatch.setattr(bench, "POOL", 1)
    table = bench.patches_per_second(("LOLv2-real",), 16, batch=2, rounds=1, devices=["cpu"], progress=False)
    assert (table.patches_per_second > 0).all() and (table.batch == 2).all()
