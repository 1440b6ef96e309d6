"""Task-specific networks from scratch (Section 3.1): one set, one NAFNet, and the controls of the comparison."""

from __future__ import annotations

import re
from dataclasses import asdict
from functools import partial

from demoe.core.profiles import Profile
from demoe.core.tasks import DATASETS
from demoe.data import aio_blur
from demoe.data.batches import Fresh
from demoe.data.own_pairs import fingerprint
from demoe.data.pairs import PairedSet
from demoe.models.nafnet import NAFNetConfig
from demoe.training.losses import pixel_loss

from .runs import Experiment, Run, configuration, train_or_load
from .two_stages import untrained

CONTROL = "LOLv2-real"  # of Figure 8: pictures that are dark and not blurred
SPECIALISTS = (*DATASETS, CONTROL)  # the sets that a network of its own is trained on
OTHER_START = ("GoPro", "DPDD")  # trained a second time, from other random weights


def specialist(
    profile: Profile,
    dataset: str,
    seed: int = 0,
    data_root: aio_blur.Where = None,
    progress: bool = True,
    init_seed: int | None = None,
    pairs: PairedSet | None = None,
) -> Run:
    """A task-specific network (Section 3.1): the NAFNet of stage 1 without router, trained on one set alone, L1.

    ``init_seed`` fixes the weights at the start, ``seed`` the synthetic data, their order and the crops; it is ``seed``
    unless given, so that the specialists of one seed start from the same weights. Whether the paper's did is not
    stated. With ``pairs``, a set of one's own, ``dataset`` only names the run. Raises ``ValueError`` for an unknown
    set.
    """
    if pairs is None and dataset not in SPECIALISTS:
        raise ValueError(f"unknown set {dataset!r}: choose one of {', '.join(SPECIALISTS)}, or give pairs of your own")
    init_seed = seed if init_seed is None else init_seed
    network = NAFNetConfig(width=profile.width)
    name = specialist_name(dataset) + ("" if init_seed == seed else f"-init{init_seed}")
    config = configuration(
        name,
        profile,
        seed,
        data_root,
        asdict(network),
        profile.specialist_steps,
        dataset=dataset,
        init_seed=init_seed,
        patch=profile.specialist_patch,
    )
    del config["class_weight"]  # there is no router
    if pairs is not None:
        config |= {"data": pairs.data, "source": fingerprint(pairs)}
        config = {key: value for key, value in config.items() if key not in ("train_images", "image_size", "fresh")}

    def data() -> list[PairedSet] | Fresh:
        if pairs is not None:
            return [pairs]
        return aio_blur.training_data(profile, config["patch"], seed, data_root, progress, (dataset,))

    label = f"{dataset} alone" + ("" if init_seed == seed else f", start {init_seed}")
    return train_or_load(config, profile, partial(untrained, network, init_seed), data, pixel_loss, progress, label)


def specialist_name(dataset: str) -> str:
    """The experiment's name: specialist-gopro, specialist-lolv2-real."""
    return "specialist-" + re.sub(r"[^a-z0-9]+", "-", dataset.lower()).strip("-")


def _named(dataset: str, init_seed: int | None = None) -> Experiment:
    def run(profile: Profile, seed: int = 0, data_root: aio_blur.Where = None, progress: bool = True) -> Run:
        return specialist(profile, dataset, seed, data_root, progress, init_seed)

    run.__doc__ = f"A NAFNet trained on {dataset} alone{'' if init_seed is None else ', from other random weights'}."
    return Experiment(run)


NAMED = {
    **{specialist_name(one): _named(one) for one in SPECIALISTS},
    **{f"{specialist_name(one)}-init1": _named(one, 1) for one in OTHER_START},
}
