"""The whole way from measuring to the report, with a tiny network."""

import os
import signal
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks import growth, inference, machine, memory, report, run, targets, training
from benchmarks.options import Case, Options
from demoe.core import provenance
from demoe.models.demoe import DeMoEConfig

CASES = (
    Case("256x256", 1, 32, 48, ks=(1, 2), nafnet="all"),
    Case("8x256x256 mixed", 6, 16, 16, mixed=True, nafnet="optimized"),
    Case("16x256x256", 2, 16, 16, gpu_only=True),
)
TINY = Options(
    threads=1,
    width=4,
    rounds=1,
    peers=False,  # exporting takes a while
    progress=False,
    cases=CASES,
    growth=(Case("128x128", 1, 16, 16),),
    large=Case("12 MP", 1, 48, 64),
    patches=(16,),
    experts=(2, 3),
)


@pytest.fixture(scope="module")
def measured():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "compiling_pays", lambda *_: False)  # it takes a minute
        jobs = {"inference": inference.measure, "training": training.measure} | run.ONCE["growth"]
        here = {name: jobs[name](TINY) for name in ("inference", "training", "sizes", "experts")}
    return {name: run.stamped(table, TINY) for name, table in here.items()}


def test_every_side_restores_every_case(measured):
    table = measured["inference"]
    assert set(table.case) == {"256x256", "8x256x256 mixed"}  # the other needs a GPU
    sides = table.groupby(["case", "network", "k"]).side.agg(set)
    alone = ("8x256x256 mixed", "NAFNet", 1)
    assert all({"plain", "ours", "optimized"} <= found for key, found in sides.items() if key != alone)
    assert sides[alone] == {"optimized"}
    assert table[table.ratio.isna()].case.eq(alone[0]).all() and table.ratio.isna().any()
    assert ("256x256", "NAFNet", 1) in sides.index and ("256x256", "DeMoE", 2) in sides.index
    assert (table.ms > 0).all() and (table.low <= table.ms).all() and (table.ms <= table.high).all()
    exact = table[table.precision == "float32"]
    assert (exact.error < 1e-5).all() and (table.error < 0.05).all() and (table.psnr_db > 30).all()
    assert (table[table.side == "plain"].ratio == 1).all()
    compared = table[(table.network == "DeMoE") & (table.case == "256x256") & (table.k == 1)]
    assert (compared.over_nafnet > 0).all()
    assert {"channels", "device", "hardware", "threads", "torch", "commit"} <= set(table)


def test_a_slower_side_has_a_ratio_below_one(monkeypatch):
    def slowly(calls, rounds, **settings):
        return {name: [2.0 if "ours" in name else 1.0] * 3 for name in calls}

    monkeypatch.setattr(inference, "interleaved", slowly)
    table = inference.measure(TINY)
    assert set(table[table.side == "ours"].ratio) == {0.5} and set(table[table.side == "plain"].ratio) == {1.0}
    assert set(table[(table.side == "ours") & (table.network == "DeMoE")].over_nafnet.dropna()) == {1.0}


def test_training_steps_have_the_same_gradient_and_checkpointing_keeps_less(measured):
    table = measured["training"]
    table = table[table.network == "DeMoE"].set_index(["side", "precision", "checkpointed"])
    assert table.gradient_error["plain", "float32", False] == 0
    assert table.gradient_error["ours", "float32", False] < 1e-5
    assert table.gradient_error["ours", "float32", True] < 1e-5
    saved = table.saved_bytes
    assert table.gradient_error["unfused", "float32", False] < 1e-5
    assert saved["ours", "float32", True] < 0.5 * saved["ours", "float32", False] < saved["plain", "float32", False]
    assert (table.images_per_second * table.ms).tolist() == pytest.approx([4000] * len(table))


def test_what_is_compiled_is_also_measured_without(monkeypatch):
    monkeypatch.setattr(training, "has_bfloat16", lambda device: True)
    monkeypatch.setattr(training, "compiling_pays", lambda device, precision, steps: precision == "bfloat16")
    ways = training.ways("cpu")
    compiled = [way for way in ways if way.compiled("cpu")]
    assert [(way.network, way.precision) for way in compiled] == [("DeMoE", "bfloat16"), ("NAFNet", "bfloat16")]
    assert [way.precision for way in ways if way.side == "eager"] == ["bfloat16"] and len(ways) == len(set(ways))


def test_training_at_larger_patches_leaves_out_what_does_not_fit(monkeypatch):
    monkeypatch.setattr(training, "ways", lambda device: [training.Way(side="plain"), training.Way(checkpointed=True)])
    table = training.measure(replace(TINY, patches=(16,))).set_index("side")
    kept = table.saved_bytes["plain"]
    monkeypatch.setattr(training, "budget", lambda limit, device: 4 * kept)
    table = training.measure(replace(TINY, patches=(16, 32))).set_index(["patch", "side"])
    assert set(table.index) == {(16, "plain"), (16, "ours"), (32, "ours")}
    assert table.ratio.notna().tolist() == table.gradient_error.notna().tolist() == [True, True, False]


def test_a_step_of_both_sides_is_the_same_step():
    batch = training._batch(16, TINY)
    weights = []
    for way in (training.Way(side="plain"), training.Way()):
        model = training._network(way, TINY)
        before = model.intro.weight.detach().clone()
        torch.manual_seed(0)
        training._step(model, batch, way, "cpu")()
        weights.append(model.intro.weight.detach())
        assert not torch.equal(before, weights[-1])
    assert (weights[0] - weights[1]).abs().max() < 1e-6


def test_peak_memory_sees_a_large_allocation():
    before = memory._reset(TINY)
    block = torch.ones(64 << 18)  # 64 MiB
    assert memory._peak(TINY) - before > 0.9 * block.nbytes
    row = memory.measure(TINY, TINY.large, ("plain", "float32")).iloc[0]
    assert row.ms > 0 and row.extra_bytes >= 0 and (row.height, row.width) == (48, 64)


def test_memory_is_measured_with_and_without_the_large_picture_on_the_plain_side():
    def plain_and_large(full):
        plans = memory.plans(Options(cases=CASES, full=full))
        return any(side[0] == "plain" and case.name == "12 MP" for _, case, side in plans)

    assert not plain_and_large(False) and plain_and_large(True)


def test_floors_are_near_the_counter_and_grow_as_they_should():
    config = DeMoEConfig()
    work = machine.counted(config, 256, 256)
    assert work["operations"] == pytest.approx(21.7e9, rel=0.02)  # as counted for the published network
    assert machine.counted(config, 512, 512)["operations"] == 4 * work["operations"]
    assert 1.5 < work["bytes"] / machine.counted(config, 256, 256, 2)["bytes"] <= 2
    assert machine.floor_seconds(config, 256, 256, 1e12, 1e15) == pytest.approx(work["operations"] / 1e12)
    assert machine.floor_seconds(config, 256, 256, 1e18, 1e9) == pytest.approx(work["bytes"] / 1e9)


def test_hours_are_of_steps_of_this_width_on_this_machine(measured, home):
    file = TINY.folder / "training.csv"
    assert growth.hours(TINY).empty  # nothing measured yet
    file.parent.mkdir(parents=True, exist_ok=True)
    table = measured["training"].assign(hardware=provenance.hardware(), channels=TINY.width, allocator=TINY.allocator)
    table.to_csv(file, index=False)
    assert growth.hours(TINY).equals(growth.training_hours(pd.read_csv(file), TINY.device))
    assert growth.hours(replace(TINY, width=TINY.width + 1)).empty
    table.assign(hardware="another machine").to_csv(file, index=False)
    assert growth.hours(TINY).empty


def test_hours_say_how_they_came_about(measured):
    table = growth.training_hours(measured["training"], "cpu")
    assert table.hours.gt(0).all() and table.how.str.startswith("computed").all()  # crops of 16 pixels, or a floor
    here = growth.training_hours(measured["training"].assign(patch=384), "cuda")
    card = here[here.on.str.contains("float32")].set_index("gpus").hours
    assert list(card.index) == [1, 4, 8, 64] and card[1] == pytest.approx(64 * card[64])
    assert set(here[here.gpus == 1].how) == {"measured"} and here[here.gpus == 4].how.str.contains("perfect").all()
    alone = measured["training"].query("network == 'NAFNet'").assign(patch=384)  # the other did not fit into memory
    assert growth.training_hours(pd.concat([measured["training"], alone]), "cpu").equals(table)
    rates = measured["training"].query("side == 'ours' and not checkpointed and precision == 'float32'")
    rates = rates.set_index("network").images_per_second
    expected = 250_400 * 32 * (1 / rates["DeMoE"] + 1 / rates["NAFNet"]) / 3600
    assert here[here.on.str.contains("float32") & (here.gpus == 1)].hours.iloc[0] == pytest.approx(expected)


def claims(ms_of_ours, tmp_path, width=32):
    """The verdicts of a CPU on which the plain side takes 100 ms and ours this many."""
    rows = [
        {
            "case": "256x256",
            "batch": 1,
            "height": 256,
            "width": 256,
            "network": network,
            "k": 1,
            "side": side,
            "precision": "float32",
            "allocator": "raised",
            "ms": ms,
            "ratio": 100 / ms,
            "over_nafnet": 1.01,
        }
        for network in ("DeMoE", "NAFNet")
        for side, ms in (("plain", 100.0), ("optimized", ms_of_ours))
    ]
    peaks = pd.DataFrame({"quantity": ["flops_float32", "bytes"], "per_second": [1e12, 2e10]})
    for name, table in (("inference", pd.DataFrame(rows)), ("machine", peaks)):
        run.stamped(table, Options(width=width)).to_csv(tmp_path / f"{name}.csv", index=False)
    return report.read(tmp_path)


def test_the_verdict_follows_the_numbers(tmp_path):
    good, bad = (report.verdicts(claims(ms, tmp_path), "cpu") for ms in (25.0, 80.0))
    assert "| 4.00x | met |" in good and "Not met" not in good
    assert "| 1.25x | **not met** |" in bad and "Not met" in bad and "ours takes 80 ms" in bad
    assert "1.01x" in good  # DeMoE over NAFNet
    assert "32 channels" not in good and "32 channels" in report.verdicts(claims(50.0, tmp_path, width=8), "cpu")
    assert targets.table({}, "cpu").empty and "Nothing" in report.verdicts({}, "cpu")


def test_a_training_step_is_held_against_its_operations_at_the_peak(tmp_path):
    """Three times the forward ones, of which every expert has its own."""
    tables = claims(25.0, tmp_path)
    step = {"patch": 128, "batch": 4, "network": "DeMoE", "precision": "float32", "checkpointed": False}
    rows = [step | {"side": "plain", "ms": 1000.0, "ratio": 1.0}, step | {"side": "ours", "ms": 500.0, "ratio": 2.0}]
    tables["training"] = pd.DataFrame(rows).assign(allocator="raised", channels=32, saved_bytes=1.0, gradient_error=0.0)
    sentence = (
        targets.table(tables, "cpu")
        .set_index("target")
        .limit["training step 4x128x128, float32, T: plain time over ours"]
    )
    one = DeMoEConfig(encoder_blocks=(), middle_blocks=1, decoder_blocks=(), moe_per_level=5)
    assert machine.counted(one, 8, 8)["operations"] == 2 * 64 * (6 * (6 * 32**2 + 18 * 32) + 54 * 32)
    work = 12 * machine.counted(replace(DeMoEConfig(), moe_per_level=5), 128, 128)["operations"]
    assert f"{work / 1e9:.0f} G operations" in sentence and f"{500 / (work / 1e9):.1f} times that" in sentence


def test_what_is_missed_comes_with_a_reason(tmp_path):
    tables = claims(80.0, tmp_path)
    tables["inference"] = tables["inference"].assign(over_nafnet=1.2, low=79.0, high=81.0)
    memory_rows = [
        {
            "case": case,
            "height": 3000,
            "width": 4000,
            "side": side,
            "precision": "float32",
            "allocator": "raised",
            "extra_bytes": 5e9,
        }
        for case in ("1280x720", "12 MP")
        for side in ("plain", "optimized")
    ]
    tables["memory"] = run.stamped(pd.DataFrame(memory_rows), Options())
    missed = targets.table(tables, "cpu").query("not met")
    assert len(missed) == 4 and missed.limit.ne("").all()
    assert "decoder waits for" in missed.limit.iloc[-1] and "ours takes 80 ms" in missed.limit.iloc[0]


def measured_value(name, tables):
    """What the first target with this column comes to."""
    return targets.value(targets.TARGETS[targets.TARGETS.column == name].iloc[0], tables)


def test_the_worst_row_decides_about_exactness_and_fresh_data_is_paid_for():
    rows = pd.DataFrame(
        {
            "side": "optimized",
            "precision": ["float32", "float32", "float32", "bfloat16", "bfloat16"],
            "error": [2e-7, 3e-5, 0.0, 3e-3, 4e-3],
            "psnr_db": [139, 120, np.inf, 56, 48],
        }
    )
    assert measured_value("error", {"inference": rows}) == 3e-5
    assert measured_value("psnr_db", {"inference": rows}) == 48
    for broken in (np.nan, -np.inf):
        worse = {"inference": pd.concat([rows, rows[3:4].assign(psnr_db=broken)])}
        assert measured_value("psnr_db", worse) == -np.inf
    lost = {"inference": pd.concat([rows, rows[:1].assign(error=np.nan, psnr_db=np.nan)])}
    assert measured_value("error", lost) == np.inf
    loading = pd.DataFrame(
        {
            "data": ["kept pairs (synthetic)", "synthesised anew on the cuda"],
            "ms_per_step": [110.0, 125.0],
            "waiting": [0.1, 0.0],
        }
    )
    assert targets.cost_of_data(loading) == pytest.approx(1 - 99 / 125)
    assert targets.cost_of_data(loading[:1]) is None


def test_missing_a_ceiling_is_told_from_missing_a_floor():
    row = {"what": "gathered DeMoE, compiled", "precision": "float32", "launches": 360, "waits": 1}
    found = targets.table({"gpu-count": pd.DataFrame([row])}, "cpu").set_index("bound")
    assert found.met.tolist() == [True, False] and set(found.index) == {"at most"}
    for ratio, met in ((2.59, False), (2.6, True)):
        assert (claimed(ratio).met == met).all()


def claimed(ratio):
    row = {"case": "256x256", "network": "DeMoE", "k": 1, "side": "optimized", "precision": "float32"}
    return targets.table(
        {"inference": pd.DataFrame([row | {"allocator": "raised", "ms": 100.0, "ratio": ratio}])}, "cpu"
    )


def test_every_target_names_columns_and_rows_that_are_measured(measured):
    for _, target in targets.TARGETS[targets.TARGETS.table.isin(list(measured))].iterrows():
        table = measured[target.table].assign(allocator="raised")
        assert target.column in table and set(targets.row_of(target)) <= set(table)
        assert "=" in target.over or not target.over
        assert target.limit in ("", "speed", "step") or " " in target.limit


def test_report_and_figures_are_made_of_the_tables(measured, home):
    folder = TINY.folder
    folder.mkdir(parents=True)
    for name, table in measured.items():
        table.assign(allocator="raised").to_csv(folder / f"{name}.csv", index=False)
    files = report.write(folder, "cpu")
    text = (folder / "report.md").read_text()
    assert provenance.hardware() in text and "## Training steps" in text and "nan" not in text.lower().split("|")
    assert [file.name for file in files] == ["report.md", "cpu-time.png", "cpu-growth.png"]
    assert all(file.stat().st_size > 5000 for file in files[1:])


def test_without_tables_the_report_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match="python -m benchmarks"):
        report.read(tmp_path)


def test_a_measuring_process_hands_back_its_table(home):
    (file,) = run.run(["plain"], TINY, tell=lambda line: None)
    assert file == home / "results/bench/cpu/plain.csv" and len(pd.read_csv(file)) == 4
    with pytest.raises(ValueError, match="unknown benchmark"):
        run.run(["nonsense"], TINY)


def test_a_failing_measurement_is_an_error():
    with pytest.raises(RuntimeError, match="benchmark training failed: "):
        run.elsewhere("training", TINY, growth.training_hours)  # which wants more than options
    with pytest.raises(RuntimeError, match=r"benchmark memory failed \(it was killed: too little memory\?\)"):
        run.elsewhere("memory", TINY, _killed)


def _killed(options):
    os.kill(os.getpid(), signal.SIGKILL)


def test_both_allocators_on_a_cpu_and_none_on_a_gpu():
    assert [setting.allocator for setting in run.settings(TINY)] == ["raised", "default"]
    assert [setting.allocator for setting in run.settings(Options(device="cuda"))] == ["default"]
    assert all(case.ks == (1,) for case in run.settings(TINY)[1].cases)
