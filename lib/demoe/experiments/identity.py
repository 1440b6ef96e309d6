"""What a run's name stands for: everything that its trained weights depend on."""

from __future__ import annotations

from demoe import provenance
from demoe.data import aio
from demoe.data.real.roots import Roots
from demoe.profiles import Profile, as_dict

# Fields of a profile that say nothing about a training, or that only one kind of run depends on and puts in itself.
ELSEWHERE = (
    "name",
    "bench_size",
    "bench_repeats",
    "checkpoint_every",
    "test_images",
    "stage1_steps",
    "stage2_steps",
    "stage2_patch",
    "specialist_steps",
    "specialist_patch",
    "ablation_steps",
    "ablation_patch",
    "ablation_seeds",
    "large_size",
    "large_images",
)


def configuration(
    name: str, profile: Profile, seed: int, data_root: aio.Where, network: dict, steps: int, **more
) -> dict:
    """Everything that the trained weights depend on; ``more`` replaces a profile's number of that name."""
    roots = Roots.resolve(data_root)
    ignored = (*ELSEWHERE, *(("train_images", "image_size", "fresh") if roots else ()))
    numbers = {key: value for key, value in as_dict(profile).items() if key not in ignored}
    config = {"experiment": name, "dataset": "AIO-Blur", "seed": seed, "network": network, "steps": steps}
    config |= numbers | more
    config["data"] = "real" if roots and not roots.synthetic else "synthetic"
    # Of folders only a hash is kept: no path of a machine goes into weights that may be given away.
    folders = {"": roots.folder, **roots.named} if roots else {}
    places = {name: str(place.resolve()) for name, place in folders.items() if place}
    chosen = {"places": places, "variants": dict(roots.variants), "bits": roots.bits}
    config["source"] = provenance.config_hash(chosen) if roots else "bundled"
    if roots.sharp_images and not roots:
        config["source"] = aio.sharp_photographs(roots.sharp_images).identity
    config["code"] = code(bool(roots))
    return config


def code(real: bool = False) -> str:
    """The hash of all code that trained weights depend on; ``real``: with that which reads real datasets."""
    return provenance.code_hash("model", "training", "data", "blur", *(("data/real",) if real else ()))
