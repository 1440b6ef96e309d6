"""How much is computed: sizes of the same reproduction. A profile changes numbers, never what is computed.

The paper's values (Section 3.4, Appendix C): width 32, 384x384 crops, batch 32, AdamW with betas (0.9, 0.9), learning
rate 1e-3 to 1e-7 by cosine, 400 epochs of each stage on 20 032 pairs, flips, loss weights 1 and 0.001. quick and paper
keep all of these but the sizes and lengths; cpu, smoke and test also raise the classification loss's weight to 0.1,
because in a training up to 150 times shorter the paper's weight hardly moves the encoder towards telling blurs apart.
cpu is quick's counterpart for a machine without a GPU: half the width, hours instead of one, and weights averaged.
smoke, and cpu in its short trainings, have higher learning rates, and both leave out what would decide nothing there.
real trains for photographs rather than for the tables: pairs whose camera says nothing of their blur, on from
cpu's first stage. The others keep a camera a set, as the real sets have, because it is their numbers that the
reproduction compares; so both can be trained, and compared with each other.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

from .words import meant


@dataclass(frozen=True)
class Profile:
    """Every number that a run depends on. Sizes in pixels, lengths in optimiser steps."""

    name: str
    width: int  # channels after the first convolution; paper: 32
    patch: int  # training crop, pixels; paper: 384
    batch: int  # crops per step; paper: 32
    stage1_steps: int  # baseline and router; paper: 400 epochs = 250 400 steps
    stage2_steps: int  # experts and decoder; paper: 400 epochs = 250 400 steps
    stage2_patch: int  # training crop of the second stage, pixels; paper: 384
    train_images: int  # synthetic training pairs per set
    test_images: int  # synthetic test pairs per set
    image_size: int  # side of a synthetic pair, pixels
    bench_size: int  # side of the picture that forward passes are timed on, pixels; paper: 256
    bench_repeats: int  # timed forward passes per network; paper: 1000
    specialist_steps: int  # a network for one set alone (Section 3.1); the paper does not state it, ours is stage 1's
    specialist_patch: int  # its training crop, pixels
    guest_steps: int  # a network of a related paper, unless that states its own length
    ablation_steps: int  # each variant of the baseline (Table 5 right, Figure 13); paper: as stage 1
    ablation_patch: int  # its training crop, pixels
    large_size: int  # side of the test pictures that are larger than any training crop (Table 6), pixels
    large_images: int  # how many of them, a set
    ablation_seeds: int = 1  # trainings of each ablation, from as many seeds
    threads: int = 0  # CPU threads of a training, several of which then run side by side; 0: all, one at a time
    precision: str = ""  # of a training: float32, or bfloat16 where it is native; "": bfloat16 on a GPU alone
    accumulate: int = 1  # micro-batches into which a batch is cut where memory is short
    checkpointing: bool = False  # keep a tenth of the activations and compute them twice
    average: float = 0.0  # decay of the moving average of the weights, which is the result; 0: none, as in the paper
    fresh: bool = False  # synthetic training pairs are made anew at every step instead of drawn from train_images
    capture: str = "set"  # of synthetic pairs: each set has its own camera, or "shared", one random camera for all
    learning_rate: float = 1e-3  # paper
    stage2_rate: float = 1e-3  # learning rate of the second stage; short trainings learn best at higher rates
    specialist_rate: float = 1e-3  # of the networks for one set (``scripts/learning_rates.py`` compares rates)
    ablation_rate: float = 1e-3  # of the variants, ablations and comparators
    guest_rate: float = 1e-3  # of the networks of related papers
    min_learning_rate: float = 1e-7  # paper
    weight_decay: float = 1e-3  # not stated in the paper; the authors' other published configurations have 1e-3
    class_weight: float = 1e-3  # lambda_cl, Section 3.4; paper
    checkpoint_every: int = 200  # steps; at most this much work is lost to a crash
    leaves_out: tuple[str, ...] = ()  # experiments that would decide nothing at this size, and are not trained
    warm_start: str = (
        ""  # the package's baseline that the first stage trains on from; "": random weights, as in the paper
    )
    packaged: bool = False  # baseline and demoe are those that come with the package, where they fit the data


def _plain(value: object) -> object:
    """Lists are tuples in a profile, which is a key of dictionaries."""
    return tuple(value) if isinstance(value, list) else value


_VALUES = tomllib.loads(Path(__file__).with_name("profiles.toml").read_text(encoding="utf-8"))
_DERIVED = _VALUES.pop("derived")
PROFILES: dict[str, Profile] = {  # a column each
    name: Profile(**{field: _plain(values[i]) for field, values in _VALUES.items()})
    for i, name in enumerate(_VALUES["name"])
}
PROFILES |= {name: replace(PROFILES[given.pop("like")], name=name, **given) for name, given in _DERIVED.items()}


def trained_from(experiment: str) -> str:
    """The smallest profile that trains ``experiment``, "cpu"; "test" does not count."""
    names = [name for name in PROFILES if name != "test"]
    return next(name for name in names if experiment not in PROFILES[name].leaves_out)


def get(name: str | None = None, **changes) -> Profile:
    """The profile called ``name``, or the one in ``$DEMOE_PROFILE``, or smoke. ``changes`` replace single fields.

    Raises ``ValueError`` for an unknown name.
    """
    name = name or os.environ.get("DEMOE_PROFILE") or "smoke"
    if name not in PROFILES:
        raise ValueError(f"unknown profile {name!r}{meant(name, PROFILES)}: choose one of {', '.join(PROFILES)}")
    return replace(PROFILES[name], **changes)
