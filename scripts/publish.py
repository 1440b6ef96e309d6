"""Copy what a profile's commands wrote here to where the repository shows it: python scripts/publish.py smoke.

``results/<profile>/`` and ``figures/<profile>/`` are anybody's own and stay out of git; what is committed lies in
``results/published/`` and ``figures/published/``, and nothing but this script writes there. What a notebook that was
executed here wrote takes the place of its published tables, timings, figures and claims; the others stay. So does what
scripts wrote that train several lengths or rates (``SWEEPS``). "bench" takes the benchmarks over. PNGs are made smaller
without loss; nothing is computed.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import nbformat
import oxipng
import pandas as pd
from PIL import Image

from demoe.core import provenance
from demoe.core.files import figures_dir, project_root, published_dir, published_figures_dir, results_dir, write_text
from demoe.core.profiles import PROFILES
from demoe.report import claims

sys.path.append(str(project_root() / "workflow"))  # whose scripts are no package
import html_report

BENCH = "bench"
SWEEPS = ("gain_by_hours", "learning_rates")
LEVEL = 2  # of oxipng, 0 to 6: about a second a figure, within two percent of the smallest
MARK = ("profile", "seed", "commit")
EARLIER = (
    '- "missing": not trained by the run that published this. Tables beside this file that show such a network are of '
    "an earlier run, whose commit stands in them.\n"
)
WRITTEN = (".csv", ".json", ".html", ".md", ".tex")


def publish(profile: str) -> list[Path]:
    """Replaces what is published of ``profile``; returns the folders.

    Raises ``ValueError``, and changes nothing, where the sources differ from their commit, where tables and figures of
    one notebook have different stamps or such as name no commit of this history, and where there is nothing to publish.
    """
    if not re.fullmatch(r"[0-9a-f]{8,}", provenance.commit()):
        raise ValueError(f"the sources differ from their commit ({provenance.commit()}): commit them first")
    fill = _bench if profile == BENCH else _profile
    homes = [published_dir(profile), published_figures_dir(profile)]
    with tempfile.TemporaryDirectory(prefix=".publish-", dir=project_root() / "results") as place:
        new = [Path(place, name) for name in ("results", "figures")]
        for home, folder in zip(homes, new, strict=True):
            shutil.copytree(home, folder) if home.is_dir() else folder.mkdir()
        fill(profile, *new)
        for home, folder in zip(homes, new, strict=True):  # each appears whole
            home.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                home.rename(Path(place, f"{folder.name}-before"))
            folder.rename(home)
    return homes


def _profile(profile: str, results: Path, figures: Path) -> None:
    own = results_dir(profile)
    executed = sorted((own / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    swept = [name for name in SWEEPS if (own / "tables" / f"{name}.csv").is_file()]
    if not executed and not swept:
        raise ValueError(f"no notebook has run in {own}: ./run_all.sh --profile {profile}")
    for name in swept:
        written = [file for suffix in WRITTEN if (file := own / "tables" / f"{name}{suffix}").is_file()]
        drawn = [file for file in [figures_dir(profile) / f"{name}.png"] if file.is_file()]
        _agree(name, [*written, *drawn], pd.DataFrame(columns=list(MARK)), profile)
        for file in written:
            _copy(file, results / file.relative_to(own))
        for file in drawn:
            _smaller(file, figures / file.name)
    if executed:
        _notebooks(profile, executed, results, figures)


def _notebooks(profile: str, executed: Sequence[Path], results: Path, figures: Path) -> None:
    own = results_dir(profile)
    rows = claims.read(profile)
    _known(claims.FILE, rows["commit"])
    for notebook in executed:
        if _failed(notebook):
            raise ValueError(f"{notebook.name} stopped with an error in {own}: mend it and run it again")
        number = notebook.name[:2]
        written = [*_files(own / "tables", number, WRITTEN), *_files(own / "timings", number, WRITTEN)]
        drawn = _files(figures_dir(profile), number, (".png",))
        _agree(notebook.name, [*written, *drawn], rows[rows.notebook == number], profile)
        for folder in (results / "tables", results / "timings", results / "notebooks", figures):
            for earlier in folder.glob(f"{number}_*"):
                earlier.unlink()
        for file in written:
            _copy(file, results / file.relative_to(own))
        for file in drawn:
            _smaller(file, figures / file.name)
        write_text(results / "notebooks" / notebook.name, smaller_pictures(notebook.read_text(encoding="utf-8")))
    write_text(results / "tables" / claims.FILE, rows.to_csv(index=False, lineterminator="\n"))
    if any(own.glob("runs/*/model.safetensors")):  # else it would say of published networks that none is trained
        for file in own.glob("STATUS*.md"):
            text = file.read_text(encoding="utf-8")
            write_text(results / file.name, text + EARLIER * ("| missing |" in text))
    write_text(results / "report.html", html_report.build(profile, results, figures))


def _failed(notebook: Path) -> bool:
    """Whether a cell of an executed notebook ended with an error: it is kept to be looked at, not to be published."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return any(output["output_type"] == "error" for cell in cells for output in cell.get("outputs", ()))


def _bench(group: str, results: Path, figures: Path) -> None:
    machines = [folder for folder in sorted(results_dir(group).glob("*")) if (folder / "report.md").is_file()]
    if not machines:
        raise ValueError(f"nothing was measured in {results_dir(group)}: python -m benchmarks all")
    for machine in machines:
        for file in sorted(machine.glob("*.csv")):
            _known(file.name, pd.read_csv(file, dtype=str)["commit"])
        shutil.rmtree(results / machine.name, ignore_errors=True)
        for file in [*machine.glob("*.csv"), machine / "report.md"]:
            _copy(file, results / machine.name / file.name)
        for file in figures_dir(group).glob(f"{machine.name}-*.png"):
            _smaller(file, figures / file.name)


def _files(folder: Path, number: str, suffixes: Sequence[str]) -> list[Path]:
    return sorted(file for file in folder.glob(f"{number}_*") if file.suffix in suffixes)


def _agree(notebook: str, files: Sequence[Path], rows: pd.DataFrame, profile: str) -> None:
    """Raises ``ValueError`` unless all that a notebook wrote has one profile, seed and commit, as ``_known`` says."""
    found: dict[tuple, str] = {tuple(row): claims.FILE for row in rows[list(MARK)].drop_duplicates().to_numpy()}
    for file in files:
        if (mark := stamp_of(file)) is not None:
            found.setdefault(mark, file.name)
    if len(found) > 1:
        told = "; ".join(f"{file}: {' '.join(mark)}" for mark, file in found.items())
        raise ValueError(f"what {notebook} wrote has several stamps ({told}): run it again")
    for mark in found:
        if mark[0] != profile:
            raise ValueError(f"what {notebook} wrote is of profile {mark[0]}, not {profile}: run it again")
        _known(notebook, [mark[2]])


def stamp_of(file: Path) -> tuple[str, ...] | None:
    """Profile, seed and commit that a table or a figure says of itself; None where it says nothing."""
    known = {}
    if file.suffix == ".png":
        with Image.open(file) as image:
            text = image.info.get("Description", "")
        known = dict(part.split(" ", 1) for part in text.split(" · ") if " " in part)
    elif file.suffix == ".json":
        record = json.loads(file.read_text(encoding="utf-8"))
        known = record if isinstance(record, dict) else {}
    elif file.suffix == ".csv":
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
        known = dict(table.iloc[0]) if len(table) else {}
    return tuple(str(known[name]) for name in MARK) if set(MARK) <= known.keys() else None


def _known(name: str, commits: Iterable[str]) -> None:
    """Raises ``ValueError`` for a commit that is not one of this history: nobody could check it out."""
    for commit in sorted(set(commits)):
        command = ["git", "-C", str(project_root()), "merge-base", "--is-ancestor", commit, "HEAD"]
        if not re.fullmatch("[0-9a-f]{7,}", commit) or subprocess.run(command, capture_output=True).returncode:
            raise ValueError(f"{name} was made by commit {commit}, which is no part of this history: run it again")


def _copy(file: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, target)


def _smaller(file: Path, target: Path) -> None:
    """The same picture with the same stamp, in fewer bytes."""
    oxipng.optimize(file, target, level=LEVEL)


def smaller_pictures(text: str) -> str:
    """A notebook, as text, with the PNGs of its outputs made smaller without loss."""
    notebook = nbformat.reads(text, 4)
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if (picture := output.get("data", {}).get("image/png")) is not None:
                smaller = oxipng.optimize_from_memory(base64.b64decode(picture), level=LEVEL)
                output.data["image/png"] = base64.b64encode(smaller).decode()
    return nbformat.writes(notebook) + "\n"


def main() -> int:
    """Exit status: 0 published, 1 refused."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("profile", choices=[*PROFILES, BENCH])
    try:
        for folder in publish(parser.parse_args().profile):
            print(folder.relative_to(project_root()))
    except ValueError as error:
        print(f"publish.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
