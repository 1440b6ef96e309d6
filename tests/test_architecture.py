"""docs/architecture.md says what the code is: the walls, the files, and every file that it names."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "docs"))
import update_architecture  # noqa: E402

PAGES = ("docs/architecture.md", "CONTRIBUTING.md")


def test_the_page_is_up_to_date():
    same = update_architecture.page() == update_architecture.PAGE.read_text(encoding="utf-8")
    assert same, "run python docs/update_architecture.py"


def test_the_table_has_the_walls():
    rows = re.findall(r"^\| `(\w+)/` \|.*\| ([^|]*) \|$", update_architecture.PAGE.read_text(), re.MULTILINE)
    table = {room: [] if rooms == "nothing" else rooms.split(", ") for room, rooms in rows}
    assert table == update_architecture.may_import()


def test_files_that_the_pages_name_are_there():
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        named = re.findall(r"`((?:[\w.-]+/)+[\w.-]+\.\w+)`", text)
        package = ROOT / "lib" / "demoe"
        rooms = [ROOT, package, package / "data", package / "related"]
        assert named and not [name for name in named if not any((room / name).is_file() for room in rooms)], page
