"""The one home of a kept result, and the CSV that grows: continued, sealed, set aside, never by two at once."""

import csv
import os

import pytest

from demoe.core import files

NAMES = ("a.csv", "b.csv")


def make(folder, missing):
    for name in missing:
        files.write_text(folder / name, f"{name}\n")


def test_what_is_kept_is_made_once_and_again_where_it_is_damaged(tmp_path, capsys):
    folder = tmp_path / "run"
    asked = []
    for harm in ((), (), ("a.csv",), NAMES):
        for name in harm:
            (folder / name).write_text("else\n")
        with files.kept(folder, NAMES, remedy="b is better") as missing:
            asked.append(missing)
            assert not (missing and (folder / files.SUMS).exists())
            make(folder, missing)
        assert files.is_kept(folder, NAMES)
    assert asked == [list(NAMES), [], list(NAMES), list(NAMES)]  # one without the other is of no use
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3 and said[0].endswith("a.csv.damaged, and b is better.")
    assert (folder / "a.csv.damaged-2").read_text() == "else\n" and (folder / "a.csv").read_text() == "a.csv\n"


def test_what_is_interrupted_is_continued_and_not_sealed_before_its_end(tmp_path):
    with pytest.raises(KeyboardInterrupt), files.kept(tmp_path, NAMES) as missing:
        make(tmp_path, missing[:1])
        raise KeyboardInterrupt
    assert not files.is_kept(tmp_path, NAMES) and not (tmp_path / files.SUMS).exists()
    with files.kept(tmp_path, NAMES) as missing:
        assert missing == ["b.csv"]
        make(tmp_path, missing)
    (tmp_path / "b.csv").unlink()
    assert not files.is_kept(tmp_path, NAMES) and files.damaged(tmp_path) == ["b.csv"]
    files.clear(tmp_path)
    with files.kept(tmp_path, NAMES) as missing:
        assert missing == list(NAMES) and not (tmp_path / "a.csv").exists()
        make(tmp_path, missing)


def test_a_making_again_that_is_interrupted_is_not_sealed_with_what_was_there_before(tmp_path):
    with files.kept(tmp_path, NAMES) as missing:
        make(tmp_path, missing)
    (tmp_path / "b.csv").write_text("else\n")
    with pytest.raises(KeyboardInterrupt), files.kept(tmp_path, NAMES) as missing:
        (tmp_path / "b.csv").write_text("the first of many rows\n")
        raise KeyboardInterrupt
    assert (tmp_path / "a.csv.earlier").read_text() == "a.csv\n" and not files.is_kept(tmp_path, NAMES)
    with files.kept(tmp_path, NAMES) as missing:
        assert missing == ["a.csv"]  # what is made last is missing: the making goes on
        make(tmp_path, NAMES)
    assert files.is_kept(tmp_path, NAMES) and (tmp_path / "b.csv").read_text() == "b.csv\n"


def test_only_what_a_process_left_that_is_gone_is_swept(tmp_path):
    left = [tmp_path / f".name.{process}{files.PARTIAL}" for process in (2**22 + 1, os.getpid(), 10**20, "²", "word")]
    for file in left:
        file.touch()
    files.sweep(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(left[1:])  # no process has so large a number as the first


def test_one_process_at_a_time(tmp_path):
    with files.kept(tmp_path, NAMES) as missing:
        with pytest.raises(ValueError, match="busy"), files.alone(tmp_path / ".lock", "busy", wait=False):
            pass
        make(tmp_path, missing)


def rows(*texts):
    return [dict(zip("xy", text, strict=True)) for text in texts]


def test_rows_of_something_else_are_not_continued(tmp_path):
    file = tmp_path / "a.csv.partial"
    for identity, there in (("one", 0), ("one", 2), ("two", 0)):
        journal = files.Journal(file, "xy", identity, group=2)
        assert len(journal.rows) == there
        journal.append(rows(("1", "a,b"), ("2", "")))
    journal.append(rows(("3", "half a group")))
    assert files.Journal(file, "xy", "two", group=2).rows == rows(("1", "a,b"), ("2", ""))
    journal = files.Journal(file, "xy", "two", group=2, fresh=True)
    journal.append(rows(("4", 'd\n"e"')))
    journal.finish(tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == 'x,y\n4,"d ""e"""\n' and not file.exists()


def test_wherever_a_journal_is_torn_whole_rows_are_left(tmp_path):
    file, every = tmp_path / "a.csv", rows(("1", "a"), ("22", "b,\u2028c"), ("3", '"'))
    files.Journal(file, "xy").append(every)
    whole = file.read_bytes()
    for end in range(len(whole) + 1):
        file.write_bytes(whole[:end])
        journal = files.Journal(file, "xy")
        assert journal.rows == every[: max(0, whole[:end].count(b"\n") - 1)]
        journal.append(every[len(journal.rows) :])
        assert file.read_bytes() == whole
    assert list(csv.DictReader(file.open(encoding="utf-8", newline=""))) == every
