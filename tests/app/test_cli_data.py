"""``demoe data`` as a person meets it: lines, exit statuses, files."""

import json

import pytest
from fixture_trees import picture, plant, put

from demoe.app import cli
from demoe.data.real import catalog


@pytest.fixture
def run(home, monkeypatch, capsys):
    """``run(words...)`` in an empty folder: (exit status, stdout, stderr)."""
    monkeypatch.chdir(home)
    monkeypatch.delenv("DEMOE_DATA_ROOT", raising=False)

    def call(*words):
        try:
            status = cli.main(["data", *map(str, words)])
        except SystemExit as error:
            status = error.code
        return status, *capsys.readouterr()

    return call


def test_check(run, home, monkeypatch):
    monkeypatch.setitem(catalog.get("RealDOF").counts, "test", 2)
    pairs = plant(home / "d", "RealDOF", [(f"source/{n}.png", f"target/{n}.png") for n in ("01", "02")])
    status, out, err = run("check", "--data-root", "d")
    assert status == 0 and err == ""
    assert "RealDOF      test  official source              2        2 exact           40x28" in out
    assert "HIDE         -     not found" in out and "looks like this" not in out
    pairs[0][0].write_bytes(b"")
    status, out, err = run("check", "realdof", "--data-root", "d")
    assert status == 1 and "1 file is empty (0 bytes) -> fetch them again" in out and "d/RealDOF/source/01.png" in out
    assert "HIDE" not in out


def test_check_of_nothing(run, home):
    status, out, err = run("check")
    assert status == 2 and out == "" and "use --data-root" in err
    put(home / "d/holiday/1.jpg", picture(1))
    status, out, err = run("check", "--data-root", "d")
    assert status == 2
    for one in catalog.DATASETS:
        assert f"{one.name} looks like this: {one.marker}" in out
    assert out.count("holiday/1.jpg") == len(catalog.DATASETS)
    status, out, err = run("check", "--data-root", "gone")
    assert status == 1 and "gone does not exist" in err
    status, out, err = run("check", "GoPor", "--data-root", "d")
    assert status == 2 and "unknown dataset 'GoPor' (did you mean 'GoPro'?): known are RealBlur" in err


def test_check_as_json(run, home):
    plant(home / "d", "RealDOF", [(f"source/{n}.png", f"target/{n}.png") for n in ("01", "02")])
    status, out, _ = run("check", "RealDOF", "--data-root", "d", "--json", "-", "--pairs")
    data = json.loads(out)
    assert status == data["exit_status"] == 1
    (entry,) = data["datasets"]
    assert [one["kind"] for one in entry["problems"] if one["level"] == "error"] == ["count"]
    assert [key for key, _, _ in entry["splits"][0]["all_pairs"]] == ["01", "02"]
    status, out, _ = run("check", "RealDOF", "--data-root", "d", "--json", "sub/report.json")
    assert status == 1 and out.startswith("dataset")
    assert json.loads((home / "sub/report.json").read_text())["exit_status"] == 1
    assert not list((home / "sub").glob("*.tmp"))


def test_a_toml_file_by_option_and_by_variable(run, home, monkeypatch):
    plant(home / "d/x", ".", [(f"source/{n}.png", f"target/{n}.png") for n in ("01", "02")])
    (home / "sets.toml").write_text('[datasets]\nRealDOF = "d/x"\n')
    for words in (("--data-root", "sets.toml"), ()):
        status, out, err = run("check", *words)
        assert status == 1 and "2       50 unexpected" in out and "GoPro        -     no root" in out
        monkeypatch.setenv("DEMOE_DATA_ROOT", "sets.toml")
    (home / "sets.toml").write_text('[datasets]\nRealDOG = "d/x"\n')
    status, out, err = run("check")
    assert status == 1 and err.startswith("demoe: sets.toml: unknown dataset 'RealDOG'")


def test_where(run, home):
    status, out, _ = run("where")
    assert status == 0 and max(map(len, out.splitlines())) <= 100
    for one in catalog.DATASETS:
        for text in (one.home, one.licence, one.download, one.marker):
            assert " ".join(text.split()) in " ".join(out.split())
    (home / "d").mkdir()
    status, out, _ = run("where", "lolv2", "--data-root", "d")
    assert status == 0 and out.startswith("LOLv2-real\n") and "looked for d" in out and "GoPro" not in out


def test_build_then_check(run, home):
    status, out, err = run("build", "made", "--sets", "RealDOF", "--split", "test", "--count", "2", "--size", "32")
    assert status == 0 and out == "made/RealDOF\n"
    status, out, err = run("check", "--data-root", "made")
    assert status == 0 and "synthetic" in out
    status, out, err = run("build", "made", "--sets", "RealDOG")
    assert status == 2 and "unknown dataset" in err
    status, out, err = run("build", "made", "--count", "many")
    assert status == 2 and "'many' is no whole number" in err


def test_every_built_set_is_reported_as_json(run, home):
    """Of every kind of set: the numbers behind the content checks are plain ones."""
    assert run("build", str(home / "made"), "--count", "2", "--size", "32", "--split", "test")[0] == 0
    status, out, _ = run("check", "--data-root", str(home / "made"), "--json", "-")
    report = json.loads(out)
    assert status == 0 and sum(one["found"] for one in report["datasets"]) >= 8


def test_statistics_of_cameras_beside_photographs(run, home):
    assert run("build", "made", "--sets", "GoPro", "--split", "test", "--count", "2", "--size", "48")[0] == 0
    status, out, _ = run(
        "statistics", "made", "--capture", "shared", "--count", "1", "--size", "40", "--csv", "all.csv"
    )
    assert status == 0 and "GoPro-syn, capture shared" in out and "blur" in out and "blockiness" in out
    assert len((home / "all.csv").read_text().splitlines()) == 1 + 5 + 6
    named = {line.split(",")[0] for line in (home / "all.csv").read_text().splitlines()[1:]}
    assert any(name.endswith("/blur") for name in named) and any(name.endswith("/sharp") for name in named)
    assert run("statistics", "nowhere", "--count", "1", "--size", "40")[0] == 1
