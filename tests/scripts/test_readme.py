"""The README's numbers are those that its script makes of the published tables."""

from pathlib import Path

from demoe.core.profiles import PROFILES
from scripts import update_readme

README = Path(__file__).resolve().parents[2] / "README.md"


def test_its_sections_of_numbers_are_those_of_the_tables(monkeypatch):
    monkeypatch.setenv("DEMOE_HOME", str(README.parent))
    monkeypatch.setattr(update_readme, "README", README)
    same = update_readme.page() == README.read_text(encoding="utf-8")
    assert same, "run PYTHONPATH=. python scripts/update_readme.py"


def test_its_table_of_profiles_is_that_of_the_code():
    """Steps, seeds and what is left out, as they are in ``profiles.toml``."""
    lines = README.read_text(encoding="utf-8").splitlines()
    rows = [line.strip()[1:-1].split("|") for line in lines if line.startswith("|")]
    cells = {row[0].strip(): [cell.strip() for cell in row[1:]] for row in rows}
    known = [PROFILES[name] for name in ("test", "smoke", "cpu", "quick", "paper")]
    assert [int(cell.split()[0]) for cell in cells["trainings of an ablation"]] == [one.ablation_seeds for one in known]
    told = cells["not trained, since nothing would follow"]
    for cell, one in zip(told, known, strict=True):
        comparators = sum(name.startswith("comparator-") for name in one.leaves_out)
        counted = f"{comparators} comparators, {len(one.leaves_out) - comparators} others" if one.leaves_out else ""
        assert cell == counted, one.name
    steps = [
        cell.replace(" ", "").split(";")
        for cell in cells["steps of a task-specific network; of an ablation or comparator"]
    ]
    for (first, *rest), one in zip(steps, known, strict=True):
        assert (int(first), int((rest or [first])[0])) == (one.specialist_steps, one.ablation_steps), one.name
    for cell, one in zip(cells["steps of stage 1, 2"], known, strict=True):
        assert [int(part) for part in cell.partition("(")[0].replace(" ", "").split(",")] == [
            one.stage1_steps,
            one.stage2_steps,
        ]
    for cell, one in zip(cells["width, crop, batch"], known, strict=True):
        assert [int(part) for part in cell.split(",")] == [one.width, one.patch, one.batch], one.name
