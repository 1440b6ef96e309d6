"""Put a profile's trained DeMoE and its baseline into the package, and write the model card beside them.

    python scripts/package_weights.py --profile cpu --photographs bsds500 --sharp-images DIR

In half precision, with their origin inside, in place of the profile's earlier ones; nothing is trained. Without
--profile only the model card is written again, as after notebook 10.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import release
from model_card import card

from demoe.core.files import write_text
from demoe.models.pretrained import PACKAGED, RELEASES

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", choices=tuple(RELEASES))
    parser.add_argument(
        "--photographs",
        choices=tuple(release.PHOTOGRAPHS),
        help="what lay in the folder given with --sharp-images (default: none was given)",
    )
    parser.add_argument(
        "--sharp-images",
        type=Path,
        metavar="DIR",
        help="that folder: the files then note which pictures were trained on",
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    try:
        if options.profile:
            for file in release.package(
                options.profile, options.photographs, seed=options.seed, sharp_images=options.sharp_images
            ):
                print(f"{file}  {file.stat().st_size / 2**20:.1f} MiB")
    except ValueError as error:
        sys.exit(f"package_weights.py: {error}")
    write_text(PACKAGED / "README.md", card())
    print(PACKAGED / "README.md")
