"""The model card of a network trained on one's own pairs: what it is, what it can do, what it is not known to do."""

from __future__ import annotations

import shlex
from pathlib import Path

from torch import nn

from demoe.core.provenance import Stamp

from .own_training import OwnTraining
from .watching import Scores

HEAD = """---
library_name: demoe
pipeline_tag: image-to-image
tags:
- deblurring
- demoe
---
"""
LEARNT = {
    "all": "all but the router",
    "decoder": "the decoder; the encoder and the router are as they were",
    "experts": "the experts; everything else is as it was",
}


def card(
    model: nn.Module,
    config: OwnTraining,
    identity: dict,
    start: str | None,
    counts: tuple[int, int],
    scores: Scores,
    expert: str | None,
    mark: Stamp,
) -> str:
    """The card as Markdown, with the metadata that Hugging Face reads at its head.

    ``identity`` is what the run is told apart by, ``start`` the name of the file it started from, ``counts`` the pairs
    trained on and held out, ``mark`` where it was trained. It names no path of this machine.
    """
    source = f"`{start}`, SHA-256 `{identity['start']}`" if start else "random weights"
    parameters = sum(p.numel() for p in model.parameters()) / 1e6
    learnt = LEARNT.get(config.learn or "", f"the expert {config.learn} alone; everything else is as it was")
    lines = [
        f"{HEAD}# {identity['pairs']}",
        "",
        f"A {type(model).__name__} of {parameters:.2f} M parameters for demoe, trained on a person's own pairs of "
        "blurred and sharp photographs.",
        "",
        "```bash",
        command(Path("model.safetensors"), expert),
        "```",
        "",
        f"- **Started from**: {source}.",
        f"- **Learnt**: {learnt}.",
        f"- **Trained on**: {counts[0]} pairs, called {identity['pairs']} (`{identity['pictures']}`), in crops of "
        f"{config.crop} pixels, {config.batch} a step, {config.steps} steps; {counts[1]} pairs were held out.",
        f"- **Recipe**: AdamW, learning rate {config.rate:g} to {config.last_rate:g} by cosine, weight decay "
        f"{config.weight_decay:g}, loss {config.loss}, seed {config.seed}.",
        *(_measured(scores) if scores.rows else ["- **What it can do**: not measured; no pairs were held out."]),
        "- **What it cannot do**: nothing is known of other cameras and other blur than those of these pairs. Look at "
        "what it does to your photographs.",
        "- **Licence**: for you to say; that of the network it started from, and that of the photographs, go on to "
        "apply." if start else "- **Licence**: for you to say, as far as the photographs allow.",
        f"- **Origin**: commit `{mark.commit}`, configuration `{mark.config}`, {mark.hardware}; versions and all "
        "settings are in the file.",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _measured(scores: Scores) -> list[str]:
    best, first = scores.best(), scores.steps()[0]
    rows = [("blurred", "psnr_blurred", "ssim_blurred", best), ("at the start", "psnr", "ssim", first)]
    rows.append((f"this network (after {best} steps)", "psnr", "ssim", best))
    pairs = sum(row["steps"] == str(best) for row in scores.rows)
    lines = [
        f"- **What it can do**, on {pairs} held-out pair{'s' * (pairs > 1)}, by which its best state was chosen:",
        "",
    ]
    lines += ["  | | PSNR (dB) | SSIM |", "  |:--|--:|--:|"]
    for name, psnr, ssim, steps in rows:
        lines.append(f"  | {name} | {scores.mean(psnr, steps):.2f} | {scores.mean(ssim, steps):.4f} |")
    return [*lines, ""]


def command(weights: Path, expert: str | None) -> str:
    """How a photograph is deblurred with it."""
    return f"demoe deblur photo.jpg -o restored/ --weights {shlex.quote(str(weights))}" + (
        f" --expert {expert}" if expert else ""
    )
