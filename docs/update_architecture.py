"""Write the parts of docs/architecture.md that follow from the code: python docs/update_architecture.py.

The picture of the rooms comes from the walls in tests/test_rooms.py, the line of a file from the first sentence of its
docstring.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "architecture.md"


def may_import() -> dict[str, list[str]]:
    """Room -> the rooms that it may import, in the order of the walls."""
    tree = ast.parse((ROOT / "tests" / "test_rooms.py").read_text(encoding="utf-8"))
    (walls,) = (node.value for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "MAY_IMPORT")
    return {room: rooms.split() for room, rooms in ast.literal_eval(walls).items()}


def picture(walls: dict[str, list[str]]) -> str:
    """The rooms as a Mermaid diagram; arrows that follow from two others are left out."""
    lines = ["```mermaid", "flowchart BT"]
    for room, rooms in walls.items():
        implied = {other for through in rooms for other in walls[through]}
        lines += [f"    {room} --> {other}" for other in rooms if other not in implied]
    return "\n".join([*lines, "```"])


def files(folder: Path) -> str:
    """A list of the Python files in a folder, each with the first sentence of its docstring."""
    lines = []
    for file in sorted(folder.rglob("*.py")):
        text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
        if file.name != "__main__.py" and (file.name != "__init__.py" or len(text.splitlines()) > 1):
            first = re.split(r"(?<=\.)\s+(?=[A-Z`])", " ".join(text.split("\n\n")[0].split()))[0]
            lines.append(f"- `{file.relative_to(folder)}`: {first.rstrip('.:')}")
    return "\n".join(lines)


def page() -> str:
    """The page with its generated parts made anew, each between ``<!-- NAME -->`` and ``<!-- end of NAME -->``."""
    walls = may_import()
    parts = {"picture": picture(walls), "benchmarks": files(ROOT / "benchmarks")}
    parts |= {room: files(ROOT / "lib" / "demoe" / room) for room in walls}
    text = PAGE.read_text(encoding="utf-8")
    for name, part in parts.items():
        new = f"<!-- {name} -->\n{part}\n<!-- end of {name} -->"
        text = re.sub(rf"<!-- {name} -->.*?<!-- end of {name} -->", lambda _, new=new: new, text, flags=re.DOTALL)
    return text


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
