"""Have the experts specialised? Their weights against each other and against their start, and what each restores.

Figure 11 looks at weights. What specialisation means in practice is the second: each test set restored by each expert.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from demoe.core.tasks import EXPERTS
from demoe.models.demoe import DeMoE

from .methods import Method, blurred_input, network
from .weight_similarity import all_pairs, compare_layers, expert_layers, pearson

SCALES = "beta and gamma"


def correlations(model: DeMoE) -> pd.DataFrame:
    """Pearson between every two experts (Figure 11), as ``weight_similarity.compare_layers`` tabulates it."""
    experts = {name: expert_layers(model, i) for i, name in enumerate(EXPERTS)}
    return compare_layers(experts, all_pairs(experts))


def moved(model: DeMoE, start: DeMoE) -> pd.DataFrame:
    """How far each expert is from ``start``, the network before stage 2.

    A row an expert and layer: expert, level, kind, layer, change (Euclidean length of the difference over that of the
    start) and correlation (Pearson with the start, empty where the start is constant). ``SCALES``, a row an expert and
    MoEBlock, has in ``change`` the root mean square of beta and gamma now: they start at zero where experts start at
    random, so that nothing can be divided by them.
    """
    rows = []
    for i, name in enumerate(EXPERTS):
        layers = expert_layers(model, i)
        for now, then in zip(layers, expert_layers(start, i), strict=True):
            change = np.linalg.norm(now.weights - then.weights) / np.linalg.norm(then.weights)
            rows.append((name, now.level, now.kind, now.name, change, pearson(now.weights, then.weights).value))
        levels = list(dict.fromkeys(layer.level for layer in layers))
        for number, block in enumerate(model.experts):
            scales = [getattr(block.experts[i], key).detach().cpu().double().ravel() for key in ("beta", "gamma")]
            change = torch.cat(scales).square().mean().sqrt().item()
            level = levels[number // model.config.moe_per_level]
            rows.append((name, level, SCALES, f"experts.{number}", change, np.nan))
    return pd.DataFrame(rows, columns=["expert", "level", "kind", "layer", "change", "correlation"])


def by_hand(model: DeMoE) -> dict[str, Method]:
    """The input as it came, the router's choice, and each expert chosen by hand, for ``benchmark.score``."""
    by_expert = {name: network(model, expert=name) for name in EXPERTS}
    return {"input": blurred_input, "router": network(model), **by_expert}


def matrix(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean PSNR (dB) of every method (across) on every set (down), from ``benchmark.score`` of ``by_hand``."""
    table = scores.groupby(["set", "method"], sort=False).psnr.mean().unstack("method")
    return table[list(dict.fromkeys(scores.method))]
