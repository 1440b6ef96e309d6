"""What the printed numbers of the DeMoE paper say by themselves about its sentences, as rows: nothing is measured."""

from __future__ import annotations

from demoe.core.paper import published

from .claims import AVERAGE, Claim, beside, claim
from .tables import paper, where

OWN, NAFNET, PROMPTIR = "DeMoE_k1", "NAFNet", "PromptIR"
SETS_WITH_SHARP, WITHOUT_SHARP = ("RealDOF", "RSBlur"), "Real-LOLBlur"
LESS = ("lpips", "niqe")  # metrics of which less is better
ROUGHLY = 0.25  # of "2 times" and "15 times": half of the last digit of the first, a quarter; the same of both
APERTURES = (4, 22)  # f-numbers of DPDD's blurred and sharp pictures, of its own paper (Abuolaim and Brown, 2020)
LIKE_OTHERS = (  # Section 4.3: the set, the method that its words compare with, the words
    ("LOLBlur", "LEDNet", "clearly exceeding"),
    ("ReLoBlur", "LBAG", "comparable to"),
    ("RealBlur-J", "DeblurGAN-v2", "closely matching"),
)


def all_rows() -> list[Claim]:
    """All rows, in the order of the paper."""
    return [*averages(), *costs(), *quality(), *outside(), aperture()]


def averages() -> list[Claim]:
    """Whether the printed averages of Tables 1 and 6 are the means of the printed sets, but for rounding."""
    numbers = published()
    off, count = [], 0
    for (table, method, metric), part in numbers.groupby(["table", "method", "metric"], sort=False):
        by_set = part.set_index("dataset").value
        if AVERAGE not in by_set or len(by_set) != 6:
            continue
        count, digit = count + 1, 0.01 if metric == "psnr" else 0.001
        rounded = digit / 2 + digit / 2  # half a digit of the average, and on average as much of the five sets
        if abs(by_set.drop(AVERAGE).mean() - by_set[AVERAGE]) > 1.001 * rounded:  # 1.001: of floating point
            printed = f"{by_set[AVERAGE]:g} for {by_set.drop(AVERAGE).mean():.4f}"
            off.append(f"{method}, {metric} of {table.partition('_')[0]}: {printed}")
    control = "; ".join(off)
    return [claim("demoe-p-averages", count - len(off), control, not off, unit=f"of {count}")]


def costs() -> list[Claim]:
    """Sections 4.1 and 5: what is said of parameters, operations and time, by Table 1's own columns."""
    printed = where(published(), table="table1_aio", dataset="-").pivot(
        index="method", columns="metric", values="value"
    )
    ratio = printed.loc[PROMPTIR] / printed.loc[OWN]
    rank = printed.rank(method="min").loc[OWN]
    runtime = printed.runtime_ms[OWN] / printed.runtime_ms[NAFNET]
    return [
        claim("demoe-p-params", ratio.params_m, f"{ratio.params_m:.0f} when rounded", near(ratio.params_m, 2)),
        claim("demoe-p-macs", ratio.macs_g, f"{ratio.macs_g:.0f} when rounded", near(ratio.macs_g, 15)),
        claim("demoe-p-faster", ratio.runtime_ms, holds=ratio.runtime_ms >= 2),
        claim("demoe-p-second", rank.macs_g, f"in runtime {rank.runtime_ms:.0f}", rank.macs_g == rank.runtime_ms == 2),
        claim("demoe-p-runtime", runtime, holds=runtime <= 1.05),
    ]


def near(ratio: float, said: float) -> bool:
    """Whether a ratio is what is said of it, roughly: within ``ROUGHLY``, a share."""
    return abs(ratio / said - 1) <= ROUGHLY


def quality() -> list[Claim]:
    """Sections 4.1 and 4.3: the best on average, the drop from DeMoE*, and what it is said to match or exceed."""
    numbers = where(published(), table="table1_aio", dataset=AVERAGE)
    table = numbers.pivot(index="method", columns="metric", values="value")
    others = table.drop(OWN)
    lead = table.psnr[OWN] - others.psnr.max()
    places = {metric: int((others[metric] > table[metric][OWN]).sum()) + 1 for metric in ("psnr", "ssim")}
    places["lpips"] = int((others.lpips < table.lpips[OWN]).sum()) + 1
    told = ", ".join(f"{metric.upper()} {place}" for metric, place in places.items())
    star = paper("section4.3_upper_bound", "DeMoE_task_specific_k1", AVERAGE, "psnr")
    drop = 1 - table.psnr[OWN] / star
    by_set = where(published(), table="table1_aio", dataset="RealBlur", metric="psnr").set_index("method").value
    found = [
        claim("demoe-p-best", lead, f"its places: {told}", set(places.values()) == {1}),
        claim(
            "demoe-p-realblur", by_set.SFHFormer - by_set.drop("SFHFormer").max(), holds=by_set.idxmax() == "SFHFormer"
        ),
        claim("demoe-p-drop", drop, holds=drop <= 0.005),
    ]
    for name, other, words in LIKE_OTHERS:
        gap = paper("table3_task_specific", OWN, name, "psnr") - paper("table3_task_specific", other, name, "psnr")
        holds = gap > 0 if words.startswith("clearly") else abs(gap) <= 0.2
        found.append(claim("demoe-p-{other}", gap, holds=holds, other=other, set=name, words=words))
    return found


def outside() -> list[Claim]:
    """Section 4.2: the expert chosen by hand is "superior" on "all" sets outside, by Table 2.

    Judged against the router's; beside it the set without PSNR, and whoever else is above it.
    """
    numbers = where(published(), table="table2_ood")
    table = numbers.pivot_table(index=["dataset", "metric"], columns="method", values="value")
    by_hand = table[f"{OWN}_manual"]
    gap = by_hand - table[OWN]
    psnr = gap.xs("psnr", level="metric")[list(SETS_WITH_SHARP)]
    told = [f"{name} {value:+.2f} dB" for name, value in psnr.items()]
    told += [f"{WITHOUT_SHARP} {metric.upper()} {value:+g}" for metric, value in gap[WITHOUT_SHARP].round(3).items()]
    others, above = table.drop(columns=[OWN, f"{OWN}_manual"]), []
    for name, metric in by_hand.index.drop(["ssim", "lpips"], level="metric", errors="ignore"):
        ahead = others.loc[(name, metric)].sub(by_hand[name, metric]).mul(-1 if metric in LESS else 1)
        above += [f"{other} on {name} ({metric.upper()})" for other in ahead.index[ahead > 0]]
    control = beside(", ".join(told), f"better than it are {', '.join(above)}")
    return [claim("demoe-p-manual", psnr.min(), control, bool(psnr.min() > 0))]


def aperture() -> Claim:
    """Appendix B calls DPDD's blurred pictures those of the small aperture: by a thin lens blur grows with it."""
    blurred, sharp = APERTURES
    return claim("demoe-p-aperture", sharp / blurred, f"f/{blurred} blurred, f/{sharp} sharp", sharp < blurred)
