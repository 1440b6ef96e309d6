"""The model card of the networks that come with the package: every number is read from their files or from a CSV.

The words are those of the template ``model_card.md``.
"""

from __future__ import annotations

from pathlib import Path

import jinja2
import pandas as pd
from release import PHOTOGRAPHS

from demoe.blur.folder import BUNDLED
from demoe.core.files import checksum, project_root
from demoe.experiments.status import duration
from demoe.models import checkpoints
from demoe.models.pretrained import PACKAGED, RELEASES, Release, releases

PAPER = {"crops": 2 * 250_400 * 32, "patch": 384, "width": 32}  # Section 3.4 and Appendix C
SHARE = {0.25: "a quarter"}.get(BUNDLED, f"{BUNDLED:.0%}")
OWN = "the training photographs that scikit-image, scikit-learn and matplotlib ship"


def card(folder: Path = PACKAGED) -> str:
    """``weights/README.md``: a section for each network in ``folder``, the default first."""
    networks = []
    for release in releases(folder):
        origin = checkpoints.provenance(release.demoe)
        training, record = origin["training"], origin["release"]
        photographs = PHOTOGRAPHS.get(record.get("photographs", ""))
        model = checkpoints.load(release.demoe)
        size = model.config.width, sum(parameter.numel() for parameter in model.parameters())
        networks.append((release, *size, origin, training, record, photographs, _measured(release)))
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    template = environment.from_string(Path(__file__).with_suffix(".md").read_text(encoding="utf-8"))
    facts = {"labels": RELEASES, "paper": PAPER, "share": SHARE, "bundled": OWN, "duration": duration}
    return template.render(networks=networks, **facts).rstrip("\n") + "\n"


def _measured(release: Release) -> dict | None:
    """What notebook 10 measured of this very file; None if nothing."""
    folder = _tables(release)
    if folder is None:
        return None
    summary, routing = pd.read_csv(folder / "10_summary.csv"), pd.read_csv(folder / "10_routing.csv")
    psnr = summary[summary.metric == "psnr"].pivot(index="set", columns="method", values="mean")
    shown = [name for name in ("input", "baseline", "DeMoE k=1", "DeMoE manual") if name in psnr]
    table = psnr.loc[list(dict.fromkeys(summary["set"])), shown].map("{:.2f}".format).reset_index()
    return {
        **summary[["data", "profile", "commit"]].iloc[0],
        "pictures": len(routing),
        "source": pd.read_csv(folder / "10_networks.csv")["pictures"].iloc[0],
        "right": routing.correct.dropna().astype(bool).mean(),
        "rows": [["PSNR (dB)", *shown], ["---"] * (1 + len(shown)), *table.to_numpy()],
    }


def _tables(release: Release) -> Path | None:
    """The folder of published tables that were made with this file, the profile's own first."""
    found = list((project_root() / "results" / "published").glob("*/tables/10_networks.csv"))
    found.sort(key=lambda file: (file.parts[-3] != release.profile, file.parts[-3]))
    wanted = checksum(release.demoe)
    return next((file.parent for file in found if wanted in set(pd.read_csv(file)["sha256"])), None)
