"""Put the trained DeMoE of the smoke profile into the package, in half precision: python scripts/package_weights.py.

Run it after ./run_all.sh. Origin and configuration travel inside the file; the model card is beside it.
"""

from __future__ import annotations

from demoe import experiments, profiles
from demoe.model import checkpoints
from demoe.photos import PACKAGED_WEIGHTS

if __name__ == "__main__":
    run = experiments.demoe(profiles.get("smoke"))
    origin = checkpoints.provenance(run.folder / "model.safetensors")
    PACKAGED_WEIGHTS.mkdir(exist_ok=True)
    print(checkpoints.save(run.model, PACKAGED_WEIGHTS / "demoe-smoke.safetensors", provenance=origin, half=True))
