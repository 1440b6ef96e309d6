import pytest

from benchmarks import cli, report, run


@pytest.fixture
def asked(monkeypatch, home):
    """What the command asked for, instead of minutes of measuring."""
    calls = []
    monkeypatch.setattr(run, "run", lambda parts, options, tell: calls.append((parts, options)) or [])
    monkeypatch.setattr(report, "write", lambda folder, device: [folder / "report.md"])
    monkeypatch.setattr(report, "read", lambda folder: {})
    return calls


def test_alone_it_says_what_there_is_and_how_long_everything_takes(asked, capsys):
    with pytest.raises(SystemExit) as error:
        cli.main(["--device", "cpu"])
    assert error.value.code == 2 and not asked
    assert "half an hour" in capsys.readouterr().err


def test_all_measures_everything_in_its_default_size(asked, home, capsys):
    assert cli.main(["all", "--device", "cpu"]) == 0
    ((parts, options),) = asked
    assert parts == run.ALL and "gpu-count" not in parts and options.width == 32 and options.patches == (128,)
    assert not options.full and str(home / "results/bench/cpu/report.md") in capsys.readouterr().out


@pytest.mark.parametrize("words", (["--full", "--threads", "3", "training"], ["training", "--full", "--threads", "3"]))
def test_options_hold_before_and_after_the_part(asked, words):
    assert cli.main(["--device", "cpu", *words]) == 0
    ((parts, options),) = asked
    assert parts == ("training",) and options.full and options.threads == 3 and options.patches == (128, 192, 384)


def test_the_report_alone_measures_nothing(asked):
    assert cli.main(["report", "--device", "cpu"]) == 0 and not asked


@pytest.mark.parametrize(
    "words", (["all", "--rounds", "0"], ["--width", "0", "all"], ["all", "--threads", "-1"], ["nonsense"])
)
def test_senseless_commands_are_refused(asked, words, capsys):
    with pytest.raises(SystemExit) as error:
        cli.main([*words])
    assert error.value.code == 2 and not asked


def test_a_part_that_fails_is_one_sentence(monkeypatch, home, capsys):
    def failing(*_):
        raise RuntimeError("the benchmark memory failed with exit status 1")

    monkeypatch.setattr(run, "run", failing)
    assert cli.main(["memory", "--device", "cpu"]) == 1
    assert capsys.readouterr().err.strip() == "demoe: the benchmark memory failed with exit status 1"
