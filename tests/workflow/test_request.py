"""What run_all.sh is asked for: what is refused, what Snakemake is called with, what is planned anew."""

from __future__ import annotations

import json
import os

import pytest
from projects import notebook  # first: it says where the following are

import plan  # isort: skip
import run  # isort: skip
import snakemake_logger_plugin_demoe  # isort: skip


@pytest.fixture
def root(home, monkeypatch):
    for name in ("DEMOE_PROFILE", "DEMOE_DATA_ROOT", plan.SHARP_IMAGES, plan.ANEW):
        monkeypatch.setenv(name, "")  # so that what a request sets is taken back
        monkeypatch.delenv(name)
    notebook(home, "01_one")
    return home


@pytest.fixture
def asked(monkeypatch) -> list[tuple[dict, list[str]]]:
    """Calls neither Snakemake nor PyTorch: (what is planned, further options) of each call."""
    calls = []

    def command(planned, more):
        calls.append((json.loads(planned.read_text()), more))
        return []

    monkeypatch.setattr(run, "command", command)
    monkeypatch.setattr(run, "snakemake", lambda call: 0)
    monkeypatch.setattr(plan, "networks", lambda profile, data_root: {})
    return calls


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--profile", "tiny"], "choose one of test, smoke, cpu, quick, paper, real"),
        (["--data-root", "/does/not/exist"], "/does/not/exist is not a folder"),
        (["--sharp-images", "/does/not/exist"], "/does/not/exist is not a folder"),
        (["--only", "01,07"], "no notebook 07; there are 01"),
        (["--only", ","], "there are 01"),
    ],
)
def test_wrong_requests_run_nothing(root, asked, arguments, words, capsys):
    assert run.main(arguments) == 2 and words in capsys.readouterr().err
    assert asked == [] and not (root / "results").exists()


def test_no_notebooks_is_an_error(home, capsys):
    assert run.main([]) == 2 and "no notebooks" in capsys.readouterr().err


def test_all_notebooks_are_looked_at_before_the_first_is_run(root, asked, capsys):
    notebook(root, "02_wrong").write_text("{}")
    assert run.main([]) == 1 and asked == []
    assert capsys.readouterr().err == "run_all.sh: 02_wrong.ipynb is not a Jupyter notebook.\n"


def test_only_selects_by_number(root, asked):
    for name in ("00_start", "04_four", "10_ten"):
        notebook(root, name)
    assert run.main(["--only", "4, 01"]) == 0 and asked[0][0]["selected"] == ["01_one", "04_four"]


def test_a_notebook_that_shows_all_claims_waits_for_the_others(root, asked):
    notebook(root, "14_all", "ledger.table(1)")
    assert run.main([]) == 0 and run.main(["--only", "14"]) == 0
    after = [{name: one["after"] for name, one in planned["notebooks"].items()} for planned, _ in asked]
    assert after == [{"01_one": [], "14_all": ["01_one"]}, {"01_one": [], "14_all": []}]


def test_scores_that_are_kept_do_not_count_as_networks(root, asked, capsys):
    seal = root / "results/smoke/runs/benchmark-tlc/SHA256SUMS"
    seal.parent.mkdir(parents=True)
    seal.touch()
    assert run.main([]) == 0 and "0 networks trained" in capsys.readouterr().out


def test_environment_variables_are_the_defaults_and_options_go_to_snakemake(root, asked, monkeypatch, capsys):
    monkeypatch.setenv("DEMOE_PROFILE", "test")
    assert run.main(["--", "--executor", "slurm", "--profile", "mine"]) == 0
    assert asked[0][0]["profile"] == "test" and asked[0][1] == ["--executor", "slurm", "--profile", "mine"]
    monkeypatch.setenv("DEMOE_DATA_ROOT", "/does/not/exist")
    assert run.main([]) == 2 and "/does/not/exist" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "there", "absent"),
    [
        ([], ["--cores", "all", "gpu=1"], ["--workflow-profile"]),
        (["--dry-run"], ["--cores", "all", "--dry-run"], ["--workflow-profile"]),
        (["-j3"], ["-j3"], ["--cores"]),
        (["--executor", "slurm", "--jobs", "39"], ["slurm", str(run.WORKFLOW / "profiles" / "slurm")], ["--cores"]),
        (
            ["--executor=slurm", "--jobs=39"],
            ["--executor=slurm", str(run.WORKFLOW / "profiles" / "slurm")],
            ["--cores"],
        ),
    ],
)
def test_where_jobs_run(home, more, there, absent):
    planned = home / "results/test/cache/plan.json"
    planned.parent.mkdir(parents=True)
    plan = {
        "selected": ["04_stages"],
        "networks": {"demoe-s0-12": {"experiment": "demoe"}, "baseline-s0-3": {"experiment": "b"}},
        "notebooks": {"00_start": {"networks": []}, "04_stages": {"networks": ["demoe-s0-12", "baseline-s0-3"]}},
    }
    planned.write_text(json.dumps(plan))
    command = run.command(planned, more)
    assert command[command.index("--prioritize") + 1] == "results/test/runs/demoe-s0-12/SHA256SUMS"
    assert set(there) <= set(command) and not set(absent) & set(command)
    planned.write_text(json.dumps(plan | {"selected": ["00_start"]}))  # what nothing asked for loads is not trained
    assert "--prioritize" not in run.command(planned, more)


@pytest.mark.parametrize("profile", ["real", "cpu"])
def test_what_comes_with_the_package_is_not_waited_for(profile):
    """Profile real starts from cpu's baseline, which it does not train."""
    found = plan.networks(profile, None)
    assert {start for one in found.values() for start in one["starts_from"]} <= set(found)
    assert [one["starts_from"] for one in found.values() if one["experiment"] == "baseline"] == [[]]


def test_second_run_is_refused(root, asked, capsys):
    with run.locked():
        assert run.main([]) == 2
    assert "another run is working" in capsys.readouterr().err and asked == []
    assert run.main([]) == 0


def test_fresh_forgets_one_profile_and_keeps_tables(root, asked):
    for profile in ("test", "smoke"):
        for name in ("runs/demoe/metrics.jsonl", "cache/notebooks/01_one.json", "tables/by_hand.csv"):
            file = root / "results" / profile / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text('{"seconds": 1, "files": []}')
    assert run.main(["--profile", "test", "--fresh"]) == 0
    assert not (root / "results/test/runs").exists() and not (root / "results/test/cache/notebooks").exists()
    assert (root / "results/smoke/runs/demoe/metrics.jsonl").exists()
    assert (root / "results/test/tables/by_hand.csv").exists()


def test_package_profile_data_weights_and_versions_are_what_a_notebook_depends_on(root, asked, monkeypatch, tmp_path):
    source, data = tmp_path / "package" / "module.py", tmp_path / "data"
    source.parent.mkdir()
    source.write_text("A = 1\n")
    (data / "sets").mkdir(parents=True)
    monkeypatch.setattr(plan, "PACKAGE", source.parent)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    known = []

    def identity(*arguments: str) -> str:
        assert run.main(["--profile", "test", *arguments]) == 0
        return asked[-1][0]["notebooks"]["01_one"]["identity"]

    def weights():
        (tmp_path / "torch/hub/checkpoints").mkdir(parents=True)
        (tmp_path / "torch/hub/checkpoints/vgg.pth").touch()

    changes = [
        lambda: None,
        lambda: source.write_text("A = 2\n"),
        lambda: monkeypatch.setattr(plan.provenance, "versions", lambda: {"torch": "9.9"}),
        weights,
        lambda: (root / "data.toml").write_text(f"root = {str(data)!r}\n"),
    ]
    for change in changes:
        change()
        assert identity() not in known and identity() == identity()
        known.append(identity())
    assert identity("--data-root", str(data)) not in known
    known.append(identity("--data-root", str(data)))
    assert identity("--sharp-images", str(data)) not in known
    known.append(identity("--sharp-images", str(data)))
    del os.environ["DEMOE_SHARP_IMAGES"]
    (root / "data.toml").write_text(f"sharp_images = {str(data)!r}\n")
    for change in (lambda: None, lambda: (data / "another.png").touch()):  # photographs that a file names
        change()
        assert identity() not in known
        known.append(identity())


def test_another_request_asks_anew_which_networks_there_are(root, asked, monkeypatch):
    listed = []
    monkeypatch.setattr(plan, "networks", lambda *given: listed.append(given) or {})
    for arguments, count in (((), 1), ((), 1), (("--anew",), 2), (("--anew",), 2)):
        os.environ.pop("DEMOE_ANEW", None)
        assert run.main(["--profile", "test", *arguments]) == 0 and len(listed) == count


def test_a_folder_of_photographs_is_the_same_for_jobs_that_run_elsewhere(root, asked, monkeypatch, tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for given in ("photos", "~/photos"):
        monkeypatch.setenv("DEMOE_SHARP_IMAGES", given)
        assert run.main(["--profile", "test"]) == 0
        assert os.environ["DEMOE_SHARP_IMAGES"] == str(tmp_path / "photos")
    monkeypatch.setenv("DEMOE_SHARP_IMAGES", "nowhere")
    assert run.main(["--profile", "test"]) == 2
    assert "$DEMOE_SHARP_IMAGES nowhere is not a folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("source", "variable"),
    [("photos.default_model()", "DEMOE_WEIGHTS"), ("from demoe.related import terms", "DEMOE_VIT_MAE")],
)
def test_weights_that_variables_name_are_part_of_what_a_notebook_that_uses_them_depends_on(
    root, asked, monkeypatch, source, variable
):
    """Those of the package are, too."""
    notebook(root, "00_start", source)

    def identities() -> tuple[str, str]:
        assert run.main(["--profile", "test"]) == 0
        return tuple(asked[-1][0]["notebooks"][name]["identity"] for name in ("00_start", "01_one"))

    (first, other), _ = identities(), monkeypatch.setenv(variable, "mine.safetensors")
    second, same = identities()
    assert first != second and same == other


@pytest.mark.parametrize("text", ["", "[1]", "{}", '{"seconds": 1, "files": ["results/test/tables/gone.csv"]}'])
def test_a_damaged_note_and_deleted_results_are_made_again(root, asked, text):
    record = root / "results/test/cache/notebooks/01_one.json"
    record.parent.mkdir(parents=True)
    record.write_text(text)
    assert run.main(["--profile", "test"]) == 0 and not record.exists()


def test_a_full_disk_is_one_sentence(root, monkeypatch, capsys):
    def full(*arguments):
        raise OSError(28, "No space left on device", "results/plan.json")

    monkeypatch.setattr(run, "write_plan", full)
    assert run.main(["--profile", "test"]) == 1
    assert capsys.readouterr().err == "run_all.sh: results/plan.json: No space left on device\n"


def test_data_that_cannot_be_used_are_one_sentence(root, capsys):
    (root / "bad.toml").write_text("root = 3 =\n")
    assert run.main(["--profile", "test", "--data-root", str(root / "bad.toml")]) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("run_all.sh: ") and "bad.toml" in said and "\n" not in said


@pytest.mark.parametrize(("seconds", "shown"), [(0.4, "0:00"), (59.6, "1:00"), (187, "3:07"), (3723, "1:02:03")])
def test_clock(seconds, shown):
    assert snakemake_logger_plugin_demoe.clock(seconds) == shown
