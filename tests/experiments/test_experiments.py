import json
from dataclasses import replace

import pandas as pd
import pytest
import torch

from demoe import experiments
from demoe.app import cli
from demoe.core import profiles, provenance
from demoe.data import aio_blur
from demoe.data.setting import Setting
from demoe.evaluation import benchmark, methods, statistics
from demoe.experiments import runs
from demoe.report import tables

TINY = profiles.get("test", stage1_steps=3, stage2_steps=2, train_images=1, test_images=1, image_size=48)
SETTING = Setting(TINY, progress=False)


def obtained(name, setting=SETTING):
    return experiments.obtain(experiments.named(name, setting), setting)


def count_trainings(monkeypatch):
    calls = []
    real = runs.train
    monkeypatch.setattr(runs, "train", lambda *a, **k: calls.append(k["label"]) or real(*a, **k))
    return calls


def test_trained_once_loaded_afterwards(home, monkeypatch):
    calls = count_trainings(monkeypatch)
    first = obtained("demoe")
    assert len(calls) == 2  # the experiment asks for the baseline that it needs
    second = obtained("demoe")
    assert len(calls) == 2 and second.folder == first.folder
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name])
    assert not first.model.training and not (first.folder / "state").exists()
    saved = json.loads((first.folder / "config.json").read_text())
    assert provenance.config_hash(saved["config"]) == first.hash == saved["provenance"]["config"]
    assert list(second.metrics.columns) == ["step", "total", "pixel", "grad_norm", "lr"]


def test_another_configuration_never_takes_a_runs_place(home):
    folder = obtained("baseline").folder
    longer = profiles.get("test", stage1_steps=4, train_images=1, test_images=1, image_size=48)
    others = [obtained("baseline", SETTING.with_seed(1)), obtained("baseline", Setting(longer, progress=False))]
    assert len({folder, *(run.folder for run in others)}) == 3 and (folder / "model.safetensors").exists()


def test_stage_2_keeps_the_baselines_encoder_and_router(home):
    baseline, demoe = obtained("baseline").model, obtained("demoe").model
    theirs = baseline.state_dict()
    for name, value in demoe.state_dict().items():
        if name.startswith(("intro", "encoders", "downs", "mlp_branch")):
            assert torch.equal(value, theirs[name.replace("modules_list.", "")]), name
    assert not torch.equal(demoe.ending.weight, baseline.ending.weight)


def test_fresh_forgets_and_unknown_names_are_refused(home, monkeypatch):
    run = obtained("baseline")
    calls = count_trainings(monkeypatch)
    experiments.forget(run.spec, SETTING)
    assert not run.weights.exists()
    obtained("baseline")
    assert len(calls) == 1
    with pytest.raises(ValueError, match="unknown experiment 'x': choose one of baseline, demoe"):
        experiments.named("x", SETTING)


def test_the_same_seed_gives_the_same_bytes_of_every_table(tmp_path, monkeypatch):
    written = []
    for name in ("one", "two"):
        monkeypatch.setenv("DEMOE_HOME", str(tmp_path / name))
        run, base = obtained("demoe"), obtained("baseline")
        sets = aio_blur.aio_blur(SETTING, "test")
        mark = provenance.stamp("test", "synthetic", 0, run.hash)
        scores = benchmark.score(sets, methods.methods(base.model, run.model), progress=False)
        files = [
            tables.save(scores, "scores", mark),
            tables.save(statistics.summarise(scores), "summary", mark),
            tables.save(run.metrics, "log", mark, decimals=7),
        ]
        written.append([file.read_bytes() for file in files])
    assert written[0] == written[1]


def test_tables_carry_their_origin(home):
    mark = provenance.Stamp("test", "synthetic", 3, "abcd", "1234567", "a machine")
    file = tables.save(pd.DataFrame({"x": [1.234567891]}), "t", mark)
    row = pd.read_csv(file).iloc[0]
    assert (row.profile, row.data, row.seed, row.x) == ("test", "synthetic", 3, 1.23457)
    assert json.loads(file.with_suffix(".json").read_text())["hardware"] == "a machine"
    assert "seed 3" in mark.line() and "a machine" in mark.line()


def test_stamps_name_no_machine():
    import socket

    line = provenance.stamp("test", "synthetic", 0).line()
    assert socket.gethostname() not in line and "/" not in line.split("·")[-1]


def test_profiles_by_name_and_environment(monkeypatch):
    monkeypatch.setenv("DEMOE_PROFILE", "quick")
    assert profiles.get().name == "quick" and profiles.get("paper").patch == 384
    monkeypatch.delenv("DEMOE_PROFILE")
    assert profiles.get().name == "smoke"
    with pytest.raises(ValueError, match="unknown profile 'huge'"):
        profiles.get("huge")


def test_the_commands_train_and_evaluate_do_what_they_say(home, monkeypatch, capsys):
    """The real commands on a tiny profile: the table names input, baseline and DeMoE, the CSV has a row a picture."""
    monkeypatch.setitem(profiles.PROFILES, "test", TINY)
    assert cli.main(["evaluate", "--profile", "test"]) == 1
    assert "`demoe train --experiment demoe --profile test` trains it; or name a net" in capsys.readouterr().err
    assert not list(home.iterdir())
    assert cli.main(["train", "--profile", "test"]) == 0
    weights = capsys.readouterr().out.strip()
    assert weights.endswith("model.safetensors")
    assert cli.main(["evaluate", "--profile", "test", "--csv", str(home / "scores.csv")]) == 0
    shown = capsys.readouterr().out
    assert "synthetic data" in shown and "router accuracy" in shown and "Average" in shown
    scores = pd.read_csv(home / "scores.csv")
    assert set(scores.method) == {"input", "baseline", "DeMoE k=1", "DeMoE k=5", "DeMoE manual"}
    assert len(scores) == 5 * 5 and set(scores.data) == {"synthetic"} and {"seed", "commit"} <= set(scores.columns)
    assert cli.main(["evaluate", "--profile", "test", "--weights", weights]) == 0
    assert "baseline" not in capsys.readouterr().out  # a file's network has no baseline that we know


def test_a_term_of_ones_own_is_trained_with_and_named_by_the_spec(home):
    first = experiments.named("baseline", SETTING)
    spec = replace(first, name="own-loss", loss=(("charbonnier", 1.0), ("class", 0.5)))
    with pytest.raises(ValueError, match="own-loss: the loss has no term 'charbonnier': known are pixel, class"):
        experiments.obtain(spec, SETTING)
    terms = {"charbonnier": lambda output, batch: ((output.image - batch.sharp).square() + 1e-6).sqrt().mean()}
    log = experiments.obtain(spec, SETTING, terms=terms).metrics
    assert {"charbonnier", "class", "accuracy"} <= set(log) and "pixel" not in log
    assert log["total"].iloc[-1] == pytest.approx(log["charbonnier"].iloc[-1] + 0.5 * log["class"].iloc[-1], abs=1e-5)
