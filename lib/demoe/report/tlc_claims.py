"""What notebook 09 found on TLC, against the paper's words (appendix F, Table 6), as rows."""

from __future__ import annotations

import math

import pandas as pd

from demoe.core.paper import DEMOE, DEMOE_EXPERTS, DEMOE_PARTIAL, DEMOE_TLC

from .claims import AVERAGE, Claim, beside, claim, difference, judged, told_by_set
from .tables import bare, number, where
from .tlc_tables import paper_gains


def by_set(gains: pd.DataFrame, network: str, plain: str) -> Claim:
    """PSNR with TLC over without, on average and on each set, beside the paper's (``network_gains``)."""
    rows, theirs = _rows(gains, network, plain), _paper(network)
    known = {name: theirs[bare(name)] for name in rows.index if bare(name) in theirs}
    signs = {name: judged(rows.loc[name]).sign * known[name] for name in known if name != AVERAGE}
    printed = ", ".join(f"{bare(name)} {number(known[name], 2, True)}" for name in signs)
    same, opposite = (", ".join(name for name in signs if side * signs[name] > 0) for side in (1, -1))
    sides = f"the paper's direction on {same or 'none'}, the opposite on {opposite or 'none'}" if signs else ""
    names = {"network": network, "plain": plain, "words": f"real sets: {printed}" if signs else "no such row"}
    control, published = beside(told_by_set(rows), sides), known.get(AVERAGE, math.nan)
    return difference("demoe-t6-{network}", rows.loc[AVERAGE], control, published=published, **names)


def low_light_suffers_most(gains: pd.DataFrame) -> Claim:
    """The paper's reason against TLC: it hurts LOLBlur most (-0.71 dB)."""
    rows = _rows(gains, DEMOE_TLC, DEMOE).drop(AVERAGE)
    row = rows.loc[rows["mean"].idxmin()]
    near = rows.index[(rows.low <= row.high) & (rows.index != row.name)]
    worse = judged(row).word == "worse"
    holds = bare(row.name) == "LOLBlur" if worse and not len(near) else None
    control = beside(row.name, f"not told apart from {', '.join(near)}" if worse and len(near) else "")
    interval = {"low": row.low, "high": row.high, "published": _paper(DEMOE_TLC)["LOLBlur"]}
    return claim("demoe-t6-lolblur", row["mean"], control, holds, **interval)


def partial(gains: pd.DataFrame) -> list[Claim]:
    """What is left of TLC where some experts stay global, in both readings of "partial"."""
    full, rows = _rows(gains, DEMOE_TLC, DEMOE)["mean"].drop(AVERAGE), []
    for network in (DEMOE_PARTIAL, DEMOE_EXPERTS):
        mine = _rows(gains, network, DEMOE)["mean"].drop(AVERAGE)
        apart = (mine - full).abs()
        names = {"network": network, "set": apart.idxmax(), "most": mine.abs().max()}
        rows.append(claim("demoe-t6-{network}-kept", apart.max(), **names))
    return rows


def identity(by_size: pd.DataFrame, windows: dict[str, int]) -> list[Claim]:
    """Whether pictures within the window are left as they are, and what happens beyond it.

    ``by_size`` is that of ``by_size.gains_by_size``, ``windows`` the smallest window of each network in pixels.
    """
    found = []
    for network, side in windows.items():
        rows = where(by_size, network=network)
        inside = rows[(rows.side <= side) & (rows["set"] != AVERAGE)]["mean"].abs()
        kept = bool(inside.max() == 0) if len(inside) else None
        found.append(claim("demoe-t6-{network}-window", inside.max(), holds=kept, network=network, window=side))
        for _, row in rows[(rows.side > side) & (rows["set"] == AVERAGE)].iterrows():
            found.append(difference("demoe-t6-{network}-side-{side}", row, network=network, side=row.side))
    return found


def routing(changed: int, pictures: int) -> Claim:
    """How many of the router's decisions the converted encoder changed."""
    return claim("demoe-t6-routing", changed, holds=not changed, unit=f"of {pictures}")


def runtime(seconds: dict[str, float], network: str, plain: str, side: int) -> Claim:
    """What TLC costs in time on a square picture of ``side`` pixels."""
    names = {"network": network, "plain": plain, "side": side}
    return claim("demoe-t6-{network}-time", seconds[network] / seconds[plain], **names)


def _rows(gains: pd.DataFrame, network: str, plain: str) -> pd.DataFrame:
    return where(gains, network=network, plain=plain, metric="psnr").set_index("set")


def _paper(network: str) -> dict[str, float]:
    """The paper's gains in PSNR by set; {} for a network that it does not have."""
    return where(paper_gains(), network=network, metric="psnr").set_index("set").gain.to_dict()
