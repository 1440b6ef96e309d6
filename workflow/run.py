"""run_all.sh, once the environment is there: looks at what was asked for, calls Snakemake, and says what came of it."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import plan
from run_notebook import NotebookError, check
from snakemake_logger_plugin_demoe import clock

from demoe.core import provenance
from demoe.core.files import alone, project_root, results_dir, write_text
from demoe.core.profiles import PROFILES

WORKFLOW = Path(__file__).resolve().parent
ELSEWHERE = ("--cores", "-c", "--jobs", "-j", "--executor", "-e", "--profile", "--workflow-profile")  # say where


class UsageError(ValueError):
    """Something the caller asked for cannot be done. One sentence."""


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 done, 1 something failed, 2 a wrong request, 130 interrupted."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    parser = argparse.ArgumentParser(prog="run_all.sh", allow_abbrev=False)
    for name in ("--profile", "--only", "--data-root", "--sharp-images"):
        parser.add_argument(name)
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("--anew", action="store_true")
    options = parser.parse_args(own)
    if ("--until", "network") in pairwise(part for option in arguments for part in option.split("=", 1)):
        parser.error("Snakemake's --until network leaves out what starts from a network: ask for -- networks.")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a polite kill ends the run as Ctrl-C does
    try:
        config = request(options)
        with locked():
            return run(config, options.fresh, arguments[len(own) + 1 :])
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


def request(options: argparse.Namespace) -> dict:
    """The profile, the data and the notebooks that are asked for. Raises ``UsageError``, ``NotebookError``."""
    profile = options.profile or os.environ.get("DEMOE_PROFILE") or "smoke"
    if profile not in PROFILES:
        raise UsageError(f"unknown profile {profile!r}: choose one of {', '.join(PROFILES)}.")
    data_root = options.data_root or os.environ.get("DEMOE_DATA_ROOT") or None
    if data_root is not None:
        if not Path(data_root).is_dir() and not (data_root.endswith(".toml") and Path(data_root).is_file()):
            raise UsageError(f"the data root {data_root} is not a folder, nor a .toml file that names some.")
        data_root = str(Path(data_root).resolve())
    given = options.sharp_images is not None
    if sharp := options.sharp_images if given else os.environ.get(plan.SHARP_IMAGES):
        if not Path(sharp).expanduser().is_dir():
            raise UsageError(f"{'--sharp-images' if given else '$' + plan.SHARP_IMAGES} {sharp} is not a folder.")
        os.environ[plan.SHARP_IMAGES] = str(Path(sharp).expanduser().resolve())  # all jobs see it, wherever they run
    if options.anew:
        os.environ[plan.ANEW] = "1"  # all jobs see it
    selected = select(plan.notebooks(), options.only)
    for path in selected:
        check(path)
    return {"profile": profile, "data_root": data_root, "selected": [path.stem for path in selected]}


def select(notebooks: list[Path], only: str | None) -> list[Path]:
    """The ``notebooks``, or those whose numbers ``only`` lists: "01,4". Raises ``UsageError``."""
    if not notebooks:
        raise UsageError(
            f"there are no notebooks in {project_root()}/notebooks: set DEMOE_HOME to the project's folder."
        )
    if only is None:
        return notebooks
    numbers = {path.name[:2] for path in notebooks}
    wanted = {part.strip().zfill(2) for part in only.split(",") if part.strip()}
    unknown = sorted(wanted - numbers)
    if unknown or not wanted:
        raise UsageError(f"--only {only}: no notebook {', '.join(unknown)}; there are {', '.join(sorted(numbers))}.")
    return [path for path in notebooks if path.name[:2] in wanted]


@contextmanager
def locked() -> Iterator[None]:
    """Only one run at a time in a project; the system lets go of the lock however the process ends.

    That is why Snakemake's own lock, which a killed process leaves behind, is switched off.
    """
    folder = project_root() / "results"
    told = f"another run is working in {folder}: wait for it to end, or stop it."
    with ExitStack() as stack:
        try:
            stack.enter_context(alone(folder / ".lock", told, wait=False))
        except ValueError as error:
            raise UsageError(str(error)) from None
        yield


def run(config: dict, fresh: bool, more: list[str]) -> int:
    """Makes what ``config`` asks for and is not up to date; ``more`` are options of Snakemake. Returns 0 or 1."""
    results, began = results_dir(config["profile"]), time.time()
    if fresh:
        for name in ("notebooks", "runs", "cache"):
            shutil.rmtree(results / name, ignore_errors=True)
    for record in (results / "cache" / "notebooks").glob("*.json"):
        if not all((project_root() / file).is_file() for file in files_of(record)):
            record.unlink()  # what was deleted is made again
    print(f"profile {config['profile']}: {', '.join(config['selected'])}", flush=True)
    planned = write_plan(config, results / "cache" / "plan.json")
    status = snakemake(command(planned, more))
    if not {"-n", "--dry-run"} & {*more}:
        print(summary(config["selected"], results, began), flush=True)
    return 1 if status else 0


def write_plan(config: dict, file: Path) -> Path:
    """Notes for the Snakefile what there is to do; the networks, which take PyTorch to tell, are kept."""
    basis = plan.basis(config["profile"], config["data_root"])
    digest = provenance.config_hash(basis)
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
        networks = known["networks"] if known["basis"] == digest else None
    except (OSError, ValueError, KeyError, TypeError):
        networks = None
    if networks is None:
        try:
            networks = plan.networks(config["profile"], config["data_root"])
        except ValueError as error:
            raise UsageError(str(error)) from None
    notebooks = {}
    for path in plan.notebooks():
        loaded = [run for run, network in networks.items() if path.name[:2] in network["notebooks"]]
        after = plan.after(path, config["selected"])
        notebooks[path.stem] = {"networks": loaded, "identity": plan.identity(path, basis), "after": after}
    config |= {"threads": PROFILES[config["profile"]].threads, "basis": digest}
    write_text(file, json.dumps({**config, "networks": networks, "notebooks": notebooks}, indent=1) + "\n")
    return file


def command(planned: Path, more: list[str]) -> list[str]:
    """Snakemake's. Jobs run here, on all cores, unless ``more`` says something else; DeMoE, the longest, first."""
    plans = json.loads(planned.read_text(encoding="utf-8"))
    loaded = {run for name in plans["selected"] for run in plans["notebooks"][name]["networks"]}
    longest = [planned.parents[1] / "runs" / run for run in loaded if plans["networks"][run]["experiment"] == "demoe"]
    start = f"import sys; sys.path.insert(0, {str(WORKFLOW)!r}); from snakemake.cli import main; main()"  # our logger
    call = [sys.executable, "-c", start, "--snakefile", WORKFLOW / "Snakefile", "--configfile", planned]
    call += ["--directory", project_root(), "--logger", "demoe"]
    if longest:
        call += ["--prioritize", *(told(run / "SHA256SUMS") for run in longest)]
    options = [part for option in more for part in option.split("=", 1)]
    if not any(option.startswith(ELSEWHERE) for option in options):
        call += ["--cores", "all", "--resources", "gpu=1"]
    for option, value in pairwise(options):
        if option in ("--executor", "-e") and (WORKFLOW / "profiles" / value).is_dir():
            call += ["--workflow-profile", WORKFLOW / "profiles" / value]
    return [*map(str, call), "--nolock", "--rerun-incomplete", *more]  # no list ends here: ``more`` may be a target


def snakemake(call: list[str]) -> int:
    """Calls Snakemake in a group of processes of its own, which ends with this process, however that ends."""
    process = subprocess.Popen(call, stdin=subprocess.DEVNULL, process_group=0)
    reader, writer = os.pipe()
    # Reads nothing until this process is no more: then the jobs, too, are at an end.
    guard = subprocess.Popen(["sh", "-c", f"read -r _; kill -KILL -- -{process.pid}"], stdin=reader, process_group=0)
    os.close(reader)
    try:
        return process.wait()
    except KeyboardInterrupt:
        os.killpg(process.pid, signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(60)
        raise
    finally:
        if process.poll() is None:  # Ctrl-C a second time, or jobs that do not end
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        guard.kill()
        guard.wait()
        os.close(writer)


def files_of(record: Path) -> list[str]:
    """What a notebook wrote, relative to the root; a name that does not exist if the note of it is damaged."""
    try:
        return list(json.loads(record.read_text(encoding="utf-8"))["files"])
    except (ValueError, KeyError, TypeError):
        return ["damaged"]


def summary(selected: list[str], results: Path, began: float) -> str:
    """A table for people: notebook, time, and the tables and figures it wrote; then how many networks were trained."""
    width = max(map(len, selected))
    lines = ["", f"{'notebook':<{width}}  {'time':>8}  tables and figures"]
    for name in selected:
        record = results / "cache" / "notebooks" / f"{name}.json"
        spent, files = "not done", []
        if record.is_file():
            spent = clock(json.loads(record.read_text())["seconds"]) if record.stat().st_mtime >= began else "kept"
            files = [file for file in files_of(record) if file.endswith((".csv", ".png"))]  # other forms stand beside
        lines.append(f"{name:<{width}}  {spent:>8}  {files[0] if files else '-'}")
        lines += [f"{'':<{width}}  {'':>8}  {file}" for file in files[1:]]
    planned = json.loads((results / "cache" / "plan.json").read_text(encoding="utf-8"))["networks"]
    seals = [
        seal for run in planned if (seal := results / "runs" / run / "SHA256SUMS").is_file()
    ]  # scores have some too
    trained = sum(seal.stat().st_mtime >= began for seal in seals)
    lines.append(f"{trained} networks trained, {clock(time.time() - began)} in all; results lie in {told(results)}")
    return "\n".join(lines)


def told(path: Path) -> str:
    """A path as a person is told it: from the project's folder on."""
    return str(path.relative_to(project_root()))


if __name__ == "__main__":
    sys.exit(main())
