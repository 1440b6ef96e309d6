"""Run the notebooks in order, once: what is up to date is skipped, what fails stops the run. Called by run_all.sh.

A notebook is up to date when its executed copy, and every table, figure and trained network that it wrote, are as they
were written, and it was run from the same notebook, package, profile, data and library versions.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tqdm import tqdm

from demoe.core.files import alone, checksum, project_root, results_dir, write_text
from demoe.core.profiles import PROFILES

from .notebooks import NotebookError, check, execute
from .runner_files import SHARP_IMAGES, executed, identify, products, stamp_file, up_to_date, written
from .runner_report import Outcome, Progress, clock, summary

DESCRIPTION = """Run the notebooks in order: train, evaluate, and write every table and figure of a profile.

Results go to results/<profile>/ and figures/<profile>/. A notebook that is up to date is skipped, so a run that was
stopped, or failed, continues where it was when started again. With --minutes, networks are trained in order of value
until the time is over; once all are trained, the notebooks follow."""
ASKED = r'experiments\.NEEDED_BY\[\\?"(\w+)\\?"\]'  # what a notebook (as JSON text) prepares


FAILURES = (RuntimeError, MemoryError, OSError, ValueError, ArithmeticError)  # of a training, told in a sentence


class UsageError(ValueError):
    """Something the caller asked for cannot be done. One sentence."""


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 done, 1 a notebook failed, 2 a wrong request, 130 interrupted."""
    parser = argparse.ArgumentParser(
        prog="run_all.sh", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--profile", help=f"{', '.join(PROFILES)} (default: $DEMOE_PROFILE, else smoke)")
    parser.add_argument("--only", metavar="NN[,NN]", help="these notebooks only, by number: --only 01,04")
    parser.add_argument(
        "--data-root", metavar="DIR", help="folder of the real datasets, or a TOML file (default: $DEMOE_DATA_ROOT)"
    )
    parser.add_argument(
        "--sharp-images",
        metavar="DIR",
        help="sharp photographs for synthetic sets (default: $DEMOE_SHARP_IMAGES, else bundled ones)",
    )
    parser.add_argument(
        "--minutes",
        type=float,
        metavar="M",
        help="work in slices: stop after so many minutes, and go on when called again",
    )
    parser.add_argument(
        "--compact",
        action="store_true",
        help="with --minutes: keep half-precision weights, without the optimiser's moments",
    )
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
            print(
                f"time is up: {len(outcomes)} of {len(notebooks)} notebooks are done; the same command goes on.",
                flush=True,
            )
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
            stack.enter_context(
                alone(
                    folder / ".lock", f"another run is working in {folder}: wait for it to end, or stop it.", wait=False
                )
            )
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
    from demoe import experiments  # PyTorch takes seconds to load: not for a run with nothing to train

    needed = {number: [name for one in some for name in experiments.NEEDED_BY[one]] for number, some in asked.items()}
    names = list(dict.fromkeys(name for some in needed.values() for name in some))
    chosen, data_root = PROFILES[profile], parameters.get("DATA_ROOT")
    start = time.monotonic()
    try:
        trained = experiments.prepare(names, chosen, 0, data_root, sys.stderr.isatty(), say)
    except FAILURES as error:
        raise NotebookError(f"before the notebooks, training: {_reason(error)}") from None
    if trained:
        from demoe.experiments import status

        status.write(chosen, 0, data_root)
        print(f"training: {len(trained)} networks in {clock(time.monotonic() - start)}", flush=True)
    root = project_root()
    return {
        number: [str(file.relative_to(root)) for file in experiments.weights(some, chosen, 0, data_root)]
        for number, some in needed.items()
    }


def train_slice(
    notebooks: list[Path] | None, profile: str, parameters: dict[str, str], deadline: float, compact: bool
) -> bool:
    """Train in order of value until ``deadline``: what ``notebooks`` load, or everything. Returns whether all is there.

    Writes the profile's ``STATUS.md``. Raises ``NotebookError`` for a training that fails.
    """
    from demoe import experiments
    from demoe.core import profiles
    from demoe.experiments import status

    names = None
    if notebooks is not None:
        asked = [one for path in notebooks for one in re.findall(ASKED, path.read_text(encoding="utf-8"))]
        if not (names := [name for one in asked for name in experiments.NEEDED_BY[one]]):
            return True
    chosen, part = profiles.get(profile), experiments.Slice(deadline, compact)
    try:
        standing = experiments.train_plan(chosen, 0, parameters.get("DATA_ROOT"), names, part, sys.stderr.isatty(), say)
    except FAILURES as error:
        raise NotebookError(f"training: {_reason(error)}") from None
    finally:  # what was trained before a failure or Ctrl-C is told as well
        written = status.write(chosen, 0, parameters.get("DATA_ROOT"))
    where = f" ({status.told(written)})" if written else ""
    more = "; no notebook has begun before all are trained, and the same command goes on" if standing.at else ""
    print(f"{standing}{more}{where}.", flush=True)
    return standing.at is None


def _reason(error: BaseException) -> str:
    """The first line of an error; its kind where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


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
    sums = {name: checksum(root / name) for name in written(outcome, output)}
    write_text(stamp, json.dumps({"identity": identity, "sums": sums, **vars(outcome)}, indent=1) + "\n")
    print(f"{path.stem}: done in {clock(outcome.seconds)}", flush=True)
    return outcome


if __name__ == "__main__":
    sys.exit(main())
