"""The README's numbers are those that its script makes of the published tables."""

from pathlib import Path

from scripts import update_readme

README = Path(__file__).resolve().parents[2] / "README.md"


def test_its_sections_of_numbers_are_those_of_the_tables(monkeypatch):
    monkeypatch.setenv("DEMOE_HOME", str(README.parent))
    monkeypatch.setattr(update_readme, "README", README)
    same = update_readme.page() == README.read_text(encoding="utf-8")
    assert same, "run PYTHONPATH=. python scripts/update_readme.py"
