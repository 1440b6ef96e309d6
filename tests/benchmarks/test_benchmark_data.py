import pytest

from benchmarks import data as bench
from demoe.blur.sets import SETS
from demoe.core import profiles
from demoe.data.setting import Setting

TINY = profiles.get("test", image_size=32, patch=16, batch=2, train_images=1)


def test_every_way_of_loading_is_timed_on_the_same_steps(home, monkeypatch):
    monkeypatch.setattr(bench, "WARM_UP", 1)
    table = bench.loading(Setting.of(TINY, progress=False), steps=2)
    assert len(table) >= 2 and (table.steps == 2).all() and table.data.is_unique
    assert (table.ms_per_step > 0).all() and table.waiting.between(0, 1).all()
    product = table.images_per_second * table.ms_per_step / 1000
    assert product.sub(TINY.batch).abs().max() < 1e-6


def test_every_case_is_timed_in_turns(monkeypatch):
    monkeypatch.setattr(bench, "POOL", 1)
    made = []
    monkeypatch.setattr(
        bench,
        "synthesize_batch",
        lambda name, split, indices, **kwargs: made.append((name, tuple(indices), kwargs["size"], kwargs["device"])),
    )
    table = bench.patches_per_second(("GoPro", "LOLv2-real"), 24, batch=3, rounds=2, devices=["cpu"], progress=False)
    assert [name for name, *_ in made] == ["GoPro", "LOLv2-real", "LOLv2-real", "GoPro", "GoPro", "LOLv2-real"]
    assert [indices for _, indices, _, _ in made[::2]] == [(0, 1, 2), (3, 4, 5), (6, 7, 8)]
    assert {(size, device) for _, _, size, device in made} == {(24, "cpu")}
    assert list(table.set) == ["GoPro", "LOLv2-real"] and set(table.device) == {"cpu"}
    assert (table.low <= table.patches_per_second).all() and (table.patches_per_second <= table.high).all()
    assert table.ms_per_patch.tolist() == pytest.approx((1000 / table.patches_per_second).tolist())


def test_every_set_is_timed(monkeypatch):
    monkeypatch.setattr(bench, "POOL", 1)
    table = bench.patches_per_second(size=16, batch=2, rounds=1, devices=["cpu"], progress=False)
    assert tuple(table.set) == SETS and (table.patches_per_second > 0).all() and (table.batch == 2).all()
