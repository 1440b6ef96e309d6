import pytest

from benchmarks import timing


def test_calls_take_turns_and_do_equal_work():
    made = []
    taken = timing.interleaved(
        {name: lambda name=name: made.append(name) for name in "abc"}, 4, repeats=2, progress=False
    )
    rounds = ["".join(made[i : i + 6]) for i in range(0, len(made), 6)]
    assert rounds == ["aabbcc", "bbccaa", "ccaabb", "aabbcc", "bbccaa"]  # the first warms up
    assert {name: len(seconds) for name, seconds in taken.items()} == dict.fromkeys("abc", 4)


def test_a_time_limit_ends_rounds_but_leaves_enough(monkeypatch):
    clock = iter(range(10_000))
    monkeypatch.setattr(timing.time, "perf_counter", lambda: float(next(clock)))
    taken = timing.interleaved({"a": int, "b": int}, 50, seconds=0, progress=False)
    assert {len(seconds) for seconds in taken.values()} == {timing.MIN_ROUNDS}
    assert {len(s) for s in timing.interleaved({"a": int}, 2, seconds=0, progress=False).values()} == {2}
    assert taken["a"] == [1.0] * timing.MIN_ROUNDS


def test_medians_and_ratios_are_of_rounds():
    assert timing.summary([0.003, 0.001, 0.002]) == pytest.approx({"rounds": 3, "ms": 2, "low": 1, "high": 3})
    # A slow round slows both: ratios round by round say so, the ratio of medians would not.
    assert timing.ratio([2.0, 20.0, 3.0], [1.0, 10.0, 1.0]) == 2.0


def test_the_processors_time_is_kept_beside_the_clocks():
    cpu = {}
    taken = timing.interleaved({"a": int, "b": lambda: sum(range(10_000))}, 3, progress=False, cpu=cpu)
    assert {name: len(seconds) for name, seconds in cpu.items()} == {name: len(taken[name]) for name in "ab"}
    assert timing.spent({"a": [0.004, 0.002], "b": [0.002, 0.001]}, "b", "a") == pytest.approx(
        {"cpu_ms": 1.5, "cpu_ratio": 2.0}
    )
