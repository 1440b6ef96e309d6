"""What notebook 09 found on TLC, against the paper's words (appendix F, Table 6): sentences from the numbers."""

from __future__ import annotations

import math

import pandas as pd

from demoe.core.paper import DEMOE, DEMOE_EXPERTS, DEMOE_PARTIAL, DEMOE_TLC

from .tlc_tables import bare, paper_gains, signed

DECIMALS, PAPER_DECIMALS = 3, 2  # of a gain here and there
VERDICTS = ("better", "worse", "not told apart")


def verdict(mean: float, low: float, high: float) -> str:
    """ "better" or "worse" where the interval of the gain (dB) says so as it is printed, else "not told apart".

    Nor is a gain told apart that the paper's two decimals would not show.
    """
    if round(mean, PAPER_DECIMALS) == 0:
        return "not told apart"
    if round(low, DECIMALS) > 0:
        return "better"
    return "worse" if round(high, DECIMALS) < 0 else "not told apart"  # also without an interval


def by_set(gains: pd.DataFrame, network: str, plain: str) -> str:
    """PSNR with TLC against without, on each set and on average, beside the paper's direction.

    ``gains`` is that of ``sizes.gains``.
    """
    rows = _rows(gains, network, plain)
    sets = rows.drop("Average")
    parts = []
    for kind in VERDICTS:
        found = sets[sets.verdict == kind]
        if len(found):
            parts.append(f"{kind} on " + ", ".join(f"{name} ({_told(row)})" for name, row in found.iterrows()))
    text = f"{network} against {plain}, PSNR: {'; '.join(parts)}."
    paper = _paper(network)
    if paper is None:
        return text + f" Average {_told(rows.loc['Average'])} dB; the paper has no such row."
    theirs = {name: "better" if paper[bare(name)] > 0 else "worse" for name in sets.index}
    same = [name for name in sets.index if sets.verdict[name] == theirs[name]]
    other = [name for name in sets.index if sets.verdict[name] not in (theirs[name], "not told apart")]
    printed = ", ".join(f"{bare(name)} {signed(paper[bare(name)], 2)}" for name in sets.index)
    text += f" The paper on the real sets: {printed} dB. The same direction is seen here on {_listed(same)}, "
    text += f"the opposite on {_listed(other)}."
    average = rows.loc["Average"]
    said = {"better": "TLC is better", "worse": "TLC is worse", "not told apart": "no difference can be told"}[
        average.verdict
    ]
    return text + f" Average: {_told(average)} dB here, where {said}; {signed(paper['Average'], 2)} dB in the paper."


def low_light_suffers_most(gains: pd.DataFrame) -> str:
    """The paper's reason against TLC: it hurts LOLBlur most (-0.71 dB)."""
    rows = _rows(gains, DEMOE_TLC, DEMOE).drop("Average")
    worst = rows["mean"].idxmin()
    paper = _paper(DEMOE_TLC)
    printed = f"The paper: TLC costs LOLBlur most, {signed(paper['LOLBlur'], 2)} dB."
    if rows.verdict[worst] != "worse":
        return f"{printed} Here DeMoE loses on no set by more than chance may have done."
    here = f"{worst}, {_told(rows.loc[worst])} dB"
    near = rows.index[(rows.low <= rows.high[worst]) & (rows.index != worst)]
    if len(near):
        return f"{printed} Here the mean loss is largest on {here}, but not told apart from that on {', '.join(near)}."
    if bare(worst) == "LOLBlur":
        return f"{printed} It is so here: {here}."
    return f"{printed} Here the largest loss is another set's: {here}."


def partial(gains: pd.DataFrame) -> list[str]:
    """What is left of TLC where some experts stay global, in both readings of "partial"."""
    sentences = []
    full = _rows(gains, DEMOE_TLC, DEMOE)["mean"]
    for network, reading in (
        (DEMOE_PARTIAL, "Partial TLC (three experts and all blocks outside the experts)"),
        (DEMOE_EXPERTS, "TLC in the three experts only"),
    ):
        mine = _rows(gains, network, DEMOE)["mean"]
        apart = (mine - full).abs().drop("Average")
        most, where = apart.max(), apart.idxmax()
        none = mine.abs().drop("Average").max()
        both = f"{signed(mine[where], DECIMALS)} against {signed(full[where], DECIMALS)}"
        kept = (
            "does here what full TLC does"
            if most < 0.01
            else f"differs from full TLC by up to {most:.3f} dB, on {where} ({both})"
        )
        changed = "changes no set by 0.01 dB" if none < 0.01 else f"changes the sets by up to {none:.3f} dB"
        sentences.append(f"{reading} {kept}, and {changed} against plain DeMoE.")
    return sentences


def identity(by_size: pd.DataFrame, windows: dict[str, int]) -> list[str]:
    """Whether pictures within the window are left as they are, and what happens at the largest size.

    ``by_size`` is that of ``sizes.gains_by_size``, ``windows`` the smallest window of each network in pixels.
    """
    sentences = []
    for network, side in windows.items():
        rows = by_size[by_size.network == network]
        inside = rows[(rows.side <= side) & (rows["set"] != "Average")]
        if inside.empty:
            text = f"{network}: no picture here lies within its window of {side} pixels."
        elif inside["mean"].abs().max() == 0:
            text = f"{network}: up to {inside.side.max()} pixels (its window has {side}) no score changes."
        else:
            text = f"{network}: within its window of {side} pixels it changes scores, which it should not."
        outside = rows[(rows.side > side) & (rows["set"] == "Average")]
        if len(outside):
            told = "; ".join(f"{row.side} pixels {_told(row)} dB" for _, row in outside.iterrows())
            text += f" Beyond it, the average gain is: {told}."
        sentences.append(text)
    return sentences


def routing(changed: int, pictures: int) -> str:
    """How many of the router's decisions the converted encoder changed."""
    if not changed:
        return f"With the encoder converted, the router decides as before on all {pictures} pictures."
    return f"With the encoder converted, the router names another expert on {changed} of {pictures} pictures."


def runtime(seconds: dict[str, float], network: str, plain: str, side: int) -> str:
    """What TLC costs in time on a square picture of ``side`` pixels."""
    return f"{network} takes {seconds[network] / seconds[plain]:.2f} times the time of {plain} at {side}x{side} pixels."


def _rows(gains: pd.DataFrame, network: str, plain: str) -> pd.DataFrame:
    rows = gains[(gains.network == network) & (gains.plain == plain) & (gains.metric == "psnr")].set_index("set")
    return rows.assign(verdict=[verdict(*row) for row in rows[["mean", "low", "high"]].to_numpy()])


def _paper(network: str) -> pd.Series | None:
    rows = paper_gains().query("network == @network and metric == 'psnr'")
    return rows.set_index("set").gain if len(rows) else None


def _told(row: pd.Series) -> str:
    text, low, high = (signed(row[name], DECIMALS) for name in ("mean", "low", "high"))
    return text if math.isnan(row.low) else f"{text} [{low}, {high}]"


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "none"
