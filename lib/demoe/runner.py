"""Run the notebooks in order, once: what is up to date is skipped, what fails stops the run. Called by run_all.sh.

A notebook is up to date when its executed copy, and every table, figure and trained network that it wrote, are as they
were written, and it was run from the same notebook, package, profile, data and library versions.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from tqdm import tqdm

from . import provenance
from .notebooks import NotebookError, check, execute
from .paths import alone, checksum, figures_dir, project_root, results_dir, write_text
from .profiles import PROFILES

DESCRIPTION = """Run the notebooks in order: train, evaluate, and write every table and figure of a profile.

Results go to results/<profile>/ and figures/<profile>/. A notebook that is up to date is skipped, so a run that was
stopped, or failed, continues where it was when started again. With --minutes, networks are trained in order of value
until the time is over; once all are trained, the notebooks follow."""
SHARP_IMAGES = "DEMOE_SHARP_IMAGES"  # the variable that the notebooks' kernels get it by
ASKED = r'experiments\.NEEDED_BY\[\\?"(\w+)\\?"\]'  # what a notebook (as JSON text) prepares
HEARTBEAT = 60  # seconds between signs of life where there is no terminal


class UsageError(ValueError):
    """Something the caller asked for cannot be done. One sentence."""


@dataclass
class Outcome:
    """What became of one notebook. Paths are relative to the project's root."""

    notebook: str
    seconds: float
    skipped: bool = False
    tables: list[str] = field(default_factory=list)
    figures: list[str] = field(default_factory=list)
    networks: list[str] = field(default_factory=list)


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 done, 1 a notebook failed, 2 a wrong request, 130 interrupted."""
    parser = argparse.ArgumentParser(
        prog="run_all.sh", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--profile", help=f"{', '.join(PROFILES)} (default: $DEMOE_PROFILE, else smoke)")
    parser.add_argument("--only", metavar="NN[,NN]", help="these notebooks only, by number: --only 01,04")
    parser.add_argument("--data-root", metavar="DIR",
                        help="folder of the real datasets, or a TOML file (default: $DEMOE_DATA_ROOT)")
    parser.add_argument("--sharp-images", metavar="DIR",
                        help="sharp photographs for synthetic sets (default: $DEMOE_SHARP_IMAGES, else bundled ones)")
    parser.add_argument("--minutes", type=float, metavar="M",
                        help="work in slices: stop after so many minutes, and go on when called again")
    parser.add_argument("--compact", action="store_true",
                        help="with --minutes: keep half-precision weights, without the optimiser's moments")
    parser.add_argument("--fresh", action="store_true", help="forget the profile's executed notebooks, runs and cache")
    began = time.monotonic()
    options = parser.parse_args(arguments)
    profile = options.profile or os.environ.get("DEMOE_PROFILE") or "smoke"
    data_root = options.data_root or os.environ.get("DEMOE_DATA_ROOT") or None
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a polite kill ends the run as Ctrl-C does
    try:
        if options.minutes is not None and not 0 < options.minutes < float("inf"):
            raise UsageError(f"--minutes {options.minutes:g}: give a number above 0.")
        if options.compact and options.minutes is None:
            raise UsageError("--compact says how a slice is kept: it goes with --minutes.")
        deadline = None if options.minutes is None else began + 60 * options.minutes
        return run(profile, options.only, data_root, options.fresh, options.sharp_images, deadline, options.compact)
    except UsageError as error:
        print(f"run_all.sh: {error}", file=sys.stderr)
        return 2
    except NotebookError as error:
        print(f"run_all.sh: {error}", file=sys.stderr)
        return 1
    except OSError as error:  # a full disk, no permission
        print(f"run_all.sh: {error.filename or project_root()}: {error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nrun_all.sh: interrupted; the same command continues where this one stopped.", file=sys.stderr)
        return 130


def run(
    profile: str,
    only: str | None = None,
    data_root: str | None = None,
    fresh: bool = False,
    sharp_images: str | None = None,
    deadline: float | None = None,
    compact: bool = False,
) -> int:
    """Run the notebooks of ``<root>/notebooks`` for ``profile`` and print a summary. Returns 0.

    With ``deadline``, a value of ``time.monotonic``, networks are trained in order of value until then, and what is
    unfinished is kept (``compact``: ``experiments.Slice``); notebooks begin when all are trained, and none after the
    deadline. Raises ``UsageError`` before anything runs, ``NotebookError`` at the first notebook that fails.
    """
    if profile not in PROFILES:
        raise UsageError(f"unknown profile {profile!r}: choose one of {', '.join(PROFILES)}.")
    parameters = {"PROFILE": profile}
    if data_root is not None:
        if not Path(data_root).is_dir() and not (data_root.endswith(".toml") and Path(data_root).is_file()):
            raise UsageError(f"the data root {data_root} is not a folder, nor a .toml file that names some.")
        parameters["DATA_ROOT"] = str(Path(data_root).resolve())
    if sharp_images is not None:
        if not Path(sharp_images).is_dir():
            raise UsageError(f"--sharp-images {sharp_images} is not a folder.")
        os.environ[SHARP_IMAGES] = str(Path(sharp_images).resolve())  # the kernels see it
    notebooks = select(project_root() / "notebooks", only)
    for path in notebooks:
        check(path)
    with locked(project_root() / "results"):
        if fresh:
            for name in ("notebooks", "runs", "cache"):
                shutil.rmtree(results_dir(profile) / name, ignore_errors=True)
        print(f"profile {profile}: {', '.join(path.stem for path in notebooks)}", flush=True)
        some = notebooks if only else None
        if deadline is not None and not train_slice(some, profile, parameters, deadline, compact):
            return 0
        networks = train(notebooks, profile, parameters)
        outcomes: list[Outcome] = []
        for path in notebooks:
            if deadline is not None and time.monotonic() >= deadline:
                break
            outcomes.append(run_one(path, profile, parameters, networks.get(path.name[:2], [])))
        if outcomes:
            print(summary(outcomes), flush=True)
        if len(outcomes) < len(notebooks):
            print(f"time is up: {len(outcomes)} of {len(notebooks)} notebooks are done; the same command goes on.",
                  flush=True)
    return 0


def select(folder: Path, only: str | None) -> list[Path]:
    """The notebooks ``NN_*.ipynb`` of ``folder`` in order, or those whose numbers ``only`` lists: "01,4"."""
    found = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    if not found:
        raise UsageError(f"there are no notebooks in {folder}: set DEMOE_HOME to the project's folder.")
    if only is None:
        return found
    numbers = {path.name[:2] for path in found}
    wanted = {part.strip().zfill(2) for part in only.split(",") if part.strip()}
    unknown = sorted(wanted - numbers)
    if unknown or not wanted:
        raise UsageError(f"--only {only}: no notebook {', '.join(unknown)}; there are {', '.join(sorted(numbers))}.")
    return [path for path in found if path.name[:2] in wanted]


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Only one run at a time in ``folder``; the system lets go of the lock however the process ends."""
    with ExitStack() as stack:
        try:
            stack.enter_context(alone(folder / ".lock", f"another run is working in {folder}: wait for it to end, or "
                                      "stop it.", wait=False))
        except ValueError as error:
            raise UsageError(str(error)) from None
        yield


def train(notebooks: list[Path], profile: str, parameters: dict[str, str]) -> dict[str, list[str]]:
    """Train what the notebooks that are not up to date will load, before the first of them runs: together it is
    quicker. Returns the networks' files, relative to the root, by the number of the notebook."""
    todo = [path for path in notebooks if up_to_date(path, profile, identify(path, parameters)) is None]
    asked = {path.name[:2]: re.findall(ASKED, path.read_text(encoding="utf-8")) for path in todo}
    if not any(asked.values()):
        return {}
    from . import experiments  # PyTorch takes seconds to load: not for a run with nothing to train

    needed = {number: [name for one in some for name in experiments.NEEDED_BY[one]] for number, some in asked.items()}
    names = list(dict.fromkeys(name for some in needed.values() for name in some))
    chosen, data_root = PROFILES[profile], parameters.get("DATA_ROOT")
    start = time.monotonic()
    try:
        trained = experiments.prepare(names, chosen, 0, data_root, sys.stderr.isatty(), say)
    except (experiments.TrainingFailed, OSError, ValueError, ArithmeticError) as error:
        raise NotebookError(f"before the notebooks, training: {error}") from None
    if trained:
        from .report import status

        status.write(chosen)
        print(f"training: {len(trained)} networks in {clock(time.monotonic() - start)}", flush=True)
    root = project_root()
    return {number: [str(file.relative_to(root)) for file in experiments.weights(some, chosen, 0, data_root)]
            for number, some in needed.items()}


def train_slice(
    notebooks: list[Path] | None, profile: str, parameters: dict[str, str], deadline: float, compact: bool
) -> bool:
    """Train in order of value until ``deadline``: what ``notebooks`` load, or everything. Returns whether all is there.

    Writes the profile's ``STATUS.md``. Raises ``NotebookError`` for a training that fails.
    """
    from . import experiments, profiles
    from .report import status

    names = None
    if notebooks is not None:
        asked = [one for path in notebooks for one in re.findall(ASKED, path.read_text(encoding="utf-8"))]
        names = [name for one in asked for name in experiments.NEEDED_BY[one]]
    chosen, part = profiles.get(profile), experiments.Slice(deadline, compact)
    try:
        standing = experiments.train_plan(
            chosen, 0, parameters.get("DATA_ROOT"), names, part, sys.stderr.isatty(), say)
    except (experiments.TrainingFailed, OSError, ValueError, ArithmeticError) as error:
        raise NotebookError(f"training: {error}") from None
    written = status.write(chosen)
    where = f" ({status.told(written)})" if written else ""
    print(f"{standing}{'; the same command goes on' if standing.at else ''}{where}.", flush=True)
    return standing.at is None


def say(text: str) -> None:
    """A line about what is done, above the bar if there is one."""
    tqdm.write(text)
    sys.stdout.flush()


def run_one(path: Path, profile: str, parameters: dict[str, str], networks: list[str]) -> Outcome:
    """Run one notebook, or find that it is up to date. ``networks`` are the files that it loads."""
    root, output = project_root(), executed(path, profile)
    identity, stamp = identify(path, parameters), stamp_file(path, profile)
    if (known := up_to_date(path, profile, identity)) is not None:
        print(f"{path.stem}: up to date", flush=True)
        return known
    before = products(profile)
    start = time.monotonic()
    stamp.unlink(missing_ok=True)
    with Progress(path.stem) as progress:
        execute(path, output, parameters, root, progress.cell)
    after = products(profile)
    changed = {kind: [name for name in after[kind] if before[kind].get(name) != after[kind][name]] for kind in after}
    changed["networks"] = sorted({*changed["networks"], *networks})
    outcome = Outcome(path.stem, time.monotonic() - start, **changed)
    sums = {name: checksum(root / name) for name in _written(outcome, output)}
    write_text(stamp, json.dumps({"identity": identity, "sums": sums, **vars(outcome)}, indent=1) + "\n")
    print(f"{path.stem}: done in {clock(outcome.seconds)}", flush=True)
    return outcome


def identify(path: Path, parameters: dict[str, str]) -> str:
    """A hash of all that a notebook's results depend on: its source, the package, its parameters, the libraries,
    and the pretrained weights that are here."""
    digest = hashlib.sha256()
    for file in [path, *package_files()]:
        content = file.read_bytes()
        digest.update(f"{file.name} {len(content)}\n".encode() + content)
    named = project_root() / "data.toml"  # where the datasets are, if nothing else says so
    places = [os.environ.get(SHARP_IMAGES), named.read_text(encoding="utf-8") if named.is_file() else None]
    digest.update(json.dumps([parameters, places, provenance.versions(), weights_here()], sort_keys=True).encode())
    return digest.hexdigest()


@lru_cache
def weights_here() -> list[str]:
    """Which pretrained weights are on this machine: with them, what was missing in a table can be measured."""
    from . import pretrained

    return [item.name for item in pretrained.ITEMS if item.find()]


def package_files() -> list[Path]:
    """The package's sources and data tables."""
    folder = Path(__file__).parent
    return sorted([*folder.rglob("*.py"), *folder.rglob("*.csv"), *folder.rglob("*.toml")])


def executed(path: Path, profile: str) -> Path:
    """Where the executed copy of a notebook lies."""
    return results_dir(profile) / "notebooks" / path.name


def stamp_file(path: Path, profile: str) -> Path:
    """Where it is noted what a notebook was run from. Not beside the executed copy: those are committed, and a fresh
    clone has none of the trained networks."""
    return results_dir(profile) / "cache" / "notebooks" / f"{path.stem}.json"


def up_to_date(path: Path, profile: str, identity: str) -> Outcome | None:
    """The earlier outcome, if it still stands."""
    output = executed(path, profile)
    try:
        record = json.loads(stamp_file(path, profile).read_text(encoding="utf-8"))
        same, sums = record.pop("identity") == identity, dict(record.pop("sums"))
        outcome = Outcome(**{**record, "skipped": True})
        names = _written(outcome, output)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # never run, or not written by this version
        return None
    known = same and all(sums.get(name) == (checksum(project_root() / name) or None) for name in names)
    return outcome if known else None


def _written(outcome: Outcome, output: Path) -> list[str]:
    """All that a notebook wrote or loads, relative to the root."""
    return [str(output.relative_to(project_root())), *outcome.tables, *outcome.figures, *outcome.networks]


def products(profile: str) -> dict[str, dict[str, tuple[int, int]]]:
    """Tables, figures and networks of a profile: name relative to the root -> (time of change, size)."""
    places = {
        "tables": (results_dir(profile) / "tables", "*"),
        "figures": (figures_dir(profile), "*"),
        "networks": (results_dir(profile) / "runs", "*.safetensors"),
    }
    found: dict[str, dict[str, tuple[int, int]]] = {}
    for kind, (folder, pattern) in places.items():
        files = [file for file in sorted(folder.rglob(pattern)) if file.is_file() and not file.name.startswith(".")]
        found[kind] = {
            str(file.relative_to(project_root())): (file.stat().st_mtime_ns, file.stat().st_size) for file in files
        }
    return found


class Progress:
    """Which cell runs, and for how long: a bar on a terminal, otherwise a line a minute."""

    def __init__(self, name: str):
        self.name, self.at, self.start = name, (0, 0), time.monotonic()
        self.bar = tqdm(desc=name, unit="cell", leave=False, disable=not sys.stderr.isatty())
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> Progress:
        if self.bar.disable:
            print(f"{self.name}: running", flush=True)
        self.thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.over.set()
        self.thread.join()
        self.bar.close()

    def cell(self, number: int, count: int) -> None:
        """A cell begins."""
        self.at = (number, count)
        self.bar.total, self.bar.n = count, max(number - 1, 0)
        self.bar.set_postfix_str(f"in cell {number}")

    def _tick(self) -> None:
        while not self.over.wait(HEARTBEAT if self.bar.disable else 1):
            if self.bar.disable:
                number, count = self.at
                print(f"{self.name}: cell {number} of {count}, {clock(time.monotonic() - self.start)}", flush=True)
            else:
                self.bar.refresh()


def clock(seconds: float) -> str:
    """Seconds as "3:07" or "1:02:03"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def summary(outcomes: list[Outcome]) -> str:
    """A table for people: notebook, time, and the tables and figures it wrote."""
    width = max(len(outcome.notebook) for outcome in outcomes)
    lines = ["", f"{'notebook':<{width}}  {'time':>8}  tables and figures"]
    for outcome in outcomes:
        spent = "kept" if outcome.skipped else clock(outcome.seconds)
        files = [*outcome.tables, *(name for name in outcome.figures if not name.endswith(".pdf"))]  # a PNG beside each
        lines.append(f"{outcome.notebook:<{width}}  {spent:>8}  {files[0] if files else '-'}")
        lines += [f"{'':<{width}}  {'':>8}  {name}" for name in files[1:]]
    total = sum(outcome.seconds for outcome in outcomes if not outcome.skipped)
    return "\n".join([*lines, f"{'total':<{width}}  {clock(total):>8}"])


if __name__ == "__main__":
    sys.exit(main())
