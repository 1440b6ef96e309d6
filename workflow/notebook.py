"""Runs one notebook and notes what it wrote: the job of the rule ``notebook``."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from demoe.app.notebooks import NotebookError, execute
from demoe.core.files import figures_dir, project_root, results_dir, write_text


def main() -> int:
    """Exit status: 0 done, 1 the notebook failed; the last line that is printed then says why."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notebook", type=Path)
    parser.add_argument("record", type=Path, help="where is written which tables and figures it made, and in what time")
    parser.add_argument("--profile", required=True)
    parser.add_argument("--data-root")
    args = parser.parse_args()
    root, began = project_root(), time.time()
    copy = results_dir(args.profile) / "notebooks" / args.notebook.name
    parameters = {"PROFILE": args.profile} | ({"DATA_ROOT": args.data_root} if args.data_root else {})
    try:
        execute(args.notebook.resolve(), copy, parameters, root)
        made = [copy, *products(args.notebook.name[:2], args.profile, began)]
        record = {"seconds": round(time.time() - began, 1), "files": [str(file.relative_to(root)) for file in made]}
        write_text(args.record, json.dumps(record, indent=1) + "\n")
    except (NotebookError, OSError) as error:
        print(f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else error)
        return 1
    return 0


def products(number: str, profile: str, since: float) -> list[Path]:
    """The tables and figures of a notebook, whose names begin with its number, that were written after ``since``."""
    folders = results_dir(profile) / "tables", figures_dir(profile)
    files = [file for folder in folders for file in sorted(folder.glob(f"{number}_*"))]
    return [file for file in files if file.stat().st_mtime >= since - 1]


if __name__ == "__main__":
    sys.exit(main())
