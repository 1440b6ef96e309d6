"""What is missing is trained beforehand, on a CPU several at a time: one thread each fills the cores better than all on
one small network, whose operations are too short to share."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from itertools import pairwise
from multiprocessing import get_context
from multiprocessing.synchronize import Event

import torch
from tqdm.auto import tqdm

from demoe.blur.sets import TRAINING
from demoe.core.profiles import Profile
from demoe.data import aio_blur
from demoe.data.real.roots import Roots

from .runs import Experiment, NotTrained, Slice, TimeUp, current_slice, default_device, looking, until

Say = Callable[[str], None]
_part: Slice | None = None  # of a process that trains for another one


class TrainingFailed(RuntimeError):
    """A network could not be trained. One sentence that names it."""


def order(names: Sequence[str], experiments: Mapping[str, Experiment]) -> list[str]:
    """``names`` and all that they start from, once each, every one after those it starts from.

    Raises ``ValueError`` naming the experiments for an unknown name.
    """
    found: dict[str, None] = {}
    for name in names:
        if name not in experiments:
            raise ValueError(f"unknown experiment {name!r}: choose one of {', '.join(experiments)}")
        for one in (*order(experiments[name].after, experiments), name):
            found.setdefault(one)
    return list(found)


def missing(
    names: Sequence[str], experiments: Mapping[str, Experiment], profile: Profile, seed: int, data_root: aio_blur.Where
) -> list[str]:
    """Those of ``names``, and of what they start from, that are not trained yet, in an order that can be trained."""
    absent = []
    for name in order(names, experiments):
        try:
            with looking(load=False):
                experiments[name].run(profile, seed, data_root, False)
        except NotTrained:
            absent.append(name)
    return absent


def train_missing(
    jobs: Sequence[tuple[str, int]],
    experiments: Mapping[str, Experiment],
    profile: Profile,
    data_root: aio_blur.Where = None,
    progress: bool = True,
    say: Say | None = None,
) -> None:
    """Trains ``jobs`` (experiment, seed), each after those it starts from.

    Side by side, in processes of ``profile.threads`` threads, where the profile says so and there are cores; else one
    after the other, here. ``say`` is told about each network that is done. Interrupted, the processes stop, and the
    next call continues from their checkpoints. Raises ``TrainingFailed``, and inside ``until`` ``TimeUp``, which then
    says how many were trained.
    """
    say = say or (lambda text: None)
    processes = min(len(jobs), cores() // profile.threads if profile.threads else 1)
    one_by_one = all(name in order([later], experiments) for (name, _), (later, _) in pairwise(jobs))
    if processes < 2 or one_by_one or default_device() == "cuda":
        for number, (name, seed) in enumerate(jobs, 1):
            began = time.monotonic()
            try:
                experiments[name].run(profile, seed, data_root, progress)
            except TimeUp as error:
                error.trained = number - 1
                raise
            say(_done(name, seed, time.monotonic() - began, number, len(jobs)))
        return
    context = get_context("spawn")  # a forked child may hang on locks that a thread of this process held
    stop = context.Event()
    pool = ProcessPoolExecutor(processes, context, _begin, (stop, os.getpid(), profile.threads, current_slice()))
    try:
        _make_data(pool, jobs, profile, data_root, say)
        _run_all(pool, processes, jobs, experiments, profile, data_root, progress, say)
    except BaseException:
        stop.set()  # at once, whatever they are doing
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _run_all(
    pool: ProcessPoolExecutor,
    processes: int,
    jobs: Sequence[tuple[str, int]],
    experiments: Mapping[str, Experiment],
    profile: Profile,
    data_root: aio_blur.Where,
    progress: bool,
    say: Say,
) -> None:
    waiting, running, number, late = list(jobs), {}, 0, None
    with tqdm(total=len(jobs), desc="training", unit="network", disable=not progress) as bar:
        while waiting or running:
            unfinished = {*waiting, *running.values()}
            for name, seed in list(waiting):
                free = not any((one, seed) in unfinished for one in experiments[name].after)
                if free and len(running) < processes:  # no queue: what stands first goes first as soon as it can
                    running[pool.submit(_train_one, name, seed, profile, data_root)] = (name, seed)
                    waiting.remove((name, seed))
            bar.set_postfix_str(", ".join(_label(*job) for job in running.values()))
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                name, seed = running.pop(future)
                try:
                    seconds = _result(future, f"training {_label(name, seed)}")
                except TimeUp as error:  # the others are over soon as well: they are left to save what they have
                    late, waiting = late or error, []
                    continue
                number += 1
                say(_done(name, seed, seconds, number, len(jobs)))
                bar.update()
    if late:
        late.trained = number
        raise late


def _make_data(
    pool: ProcessPoolExecutor, jobs: Sequence[tuple[str, int]], profile: Profile, data_root: aio_blur.Where, say: Say
) -> None:
    """The synthetic training pictures, a set a process: two trainings would otherwise make the same ones."""
    if Roots.resolve(data_root) or profile.fresh:
        return
    began = time.monotonic()
    wanted = [(name, seed) for seed in dict.fromkeys(seed for _, seed in jobs) for name in TRAINING]
    made = [pool.submit(_make_one, name, profile, seed, data_root) for name, seed in wanted]
    for future, (name, _) in zip(made, wanted, strict=True):
        _result(future, f"making the training pictures of {name}-syn")
    say(f"made the training pictures of {len(TRAINING)} sets in {time.monotonic() - began:.0f} s")


def _result(future: Future, what: str):
    try:
        return future.result()
    except TimeUp:
        raise
    except Exception as error:
        raise TrainingFailed(f"{what} failed: {error or type(error).__name__}") from error


def _begin(stop: Event, parent: int, threads: int, part: Slice | None) -> None:
    """Start of a process: few threads, the parent's time, and an end with the parent's, however that comes."""
    global _part
    torch.set_num_threads(threads)
    _part = part

    def watch() -> None:
        while not stop.wait(1):
            if os.getppid() != parent:
                break
        os._exit(1)  # what is being written appears whole or not at all; training goes on from its checkpoint

    threading.Thread(target=watch, daemon=True).start()


def _train_one(name: str, seed: int, profile: Profile, data_root: aio_blur.Where) -> float:
    from . import EXPERIMENTS

    began = time.monotonic()
    with until(_part):
        EXPERIMENTS[name].run(profile, seed, data_root, False)
    return time.monotonic() - began


def _make_one(name: str, profile: Profile, seed: int, data_root: aio_blur.Where) -> None:
    aio_blur.one_set(name, profile, "train", seed, data_root, False)


def _label(name: str, seed: int) -> str:
    return f"{name} (seed {seed})" if seed else name


def _done(name: str, seed: int, seconds: float, number: int, count: int) -> str:
    return f"trained {_label(name, seed)} in {seconds:.0f} s ({number} of {count})"


def cores() -> int:
    """How many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
