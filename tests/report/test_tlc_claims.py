import math

import pandas as pd
import pytest

from demoe.core.paper import DEMOE, DEMOE_EXPERTS, DEMOE_PARTIAL, DEMOE_TLC, NAFNET, NAFNET_TLC
from demoe.core.tasks import PAPER_ORDER
from demoe.report import tlc_claims as claims

SETS = [f"{name}-syn" for name in PAPER_ORDER]
PAPER = {"RealBlur-syn": 0.04, "ReLoBlur-syn": -0.29, "DPDD-syn": 0.14, "LOLBlur-syn": -0.71, "GoPro-syn": 0.36}


def gains(values: dict[str, float], reach: float = 0.01, network: str = DEMOE_TLC, plain: str = DEMOE) -> pd.DataFrame:
    """A table of ``sizes.gains``: ``values`` by set, each with an interval of ``reach`` on both sides."""
    values = values | {"Average": sum(values.values()) / len(values)}
    return pd.DataFrame(
        [
            {
                "network": network,
                "plain": plain,
                "set": name,
                "metric": metric,
                "mean": value,
                "low": value - reach,
                "high": value + reach,
                "images": 8,
                "missing": 0,
                "scenes": 7,
            }
            for name, value in values.items()
            for metric in ("psnr", "ssim")
        ]
    )


def test_a_verdict_needs_an_interval_without_zero():
    assert claims.verdict(0.1, 0.01, 0.2) == "better" and claims.verdict(-0.1, -0.2, -0.01) == "worse"
    for low, high in ((-0.01, 0.2), (-0.2, 0), (math.nan, math.nan), (0.0004, 0.2)):  # printed, the last begins at zero
        assert claims.verdict(0.1, low, high) == "not told apart"
    assert claims.verdict(-0.004, -0.006, -0.002) == "not told apart"  # the paper would print 0.00


def test_the_papers_own_directions_are_recognised():
    text = claims.by_set(gains(PAPER), DEMOE_TLC, DEMOE)
    assert "better on RealBlur-syn (+0.040 [+0.030, +0.050]), DPDD-syn" in text
    assert "worse on ReLoBlur-syn" in text and "not told apart" not in text.split("Average")[0]
    assert f"The same direction is seen here on {', '.join(SETS)}, the opposite on none." in text
    assert "LOLBlur -0.71" in text and "where TLC is worse; -0.09 dB in the paper" in text


def test_the_opposite_and_the_undecided_are_told():
    opposite = claims.by_set(gains({name: -value for name, value in PAPER.items()}), DEMOE_TLC, DEMOE)
    assert f"The same direction is seen here on none, the opposite on {', '.join(SETS)}." in opposite
    assert "where TLC is better" in opposite
    noise = claims.by_set(gains(PAPER, reach=1), DEMOE_TLC, DEMOE)
    assert "better on" not in noise and "worse on" not in noise and "no difference can be told" in noise
    assert "seen here on none, the opposite on none" in noise
    alone = claims.by_set(gains(PAPER).assign(low=math.nan, high=math.nan), DEMOE_TLC, DEMOE)
    assert "not told apart on RealBlur-syn (+0.040), " in alone


def test_a_row_that_the_paper_lacks_is_not_compared():
    text = claims.by_set(gains(PAPER, network=DEMOE_EXPERTS), DEMOE_EXPERTS, DEMOE)
    assert "the paper has no such row" in text and "direction" not in text
    other = claims.by_set(gains(PAPER, network=NAFNET_TLC, plain=NAFNET), NAFNET_TLC, NAFNET)
    assert "LOLBlur -0.89" in other


def test_who_suffers_most():
    assert "It is so here: LOLBlur-syn, -0.710" in claims.low_light_suffers_most(gains(PAPER))
    other = claims.low_light_suffers_most(gains(PAPER | {"GoPro-syn": -0.9}))
    assert "another set's: GoPro-syn, -0.900" in other
    near = claims.low_light_suffers_most(gains(PAPER | {"GoPro-syn": -0.7}, reach=0.1))
    assert "largest on LOLBlur-syn" in near and "not told apart from that on GoPro-syn" in near
    assert "loses on no set" in claims.low_light_suffers_most(gains(PAPER, reach=1))


@pytest.mark.parametrize(
    ("value", "full", "plain"),
    [
        (0.3, "does here what full TLC does", "changes the sets by up to 0.300 dB"),
        (
            0.1,
            "differs from full TLC by up to 0.200 dB, on RealBlur-syn (+0.100 against +0.300)",
            "changes the sets by up to 0.100 dB",
        ),
        (0.0, "differs from full TLC by up to 0.300 dB", "changes no set by 0.01 dB"),
    ],
)
def test_partial_in_both_readings(value, full, plain):
    table = pd.concat(
        [
            gains(dict.fromkeys(SETS, 0.3)),
            gains(dict.fromkeys(SETS, value), network=DEMOE_PARTIAL),
            gains(dict.fromkeys(SETS, value), network=DEMOE_EXPERTS),
        ]
    )
    for sentence in claims.partial(table):
        assert full in sentence and plain in sentence


def by_size(inside: float, outside: float) -> pd.DataFrame:
    sides = {64: inside, 96: inside, 256: outside}
    return pd.concat(
        [gains(dict.fromkeys(SETS, value)).query("metric == 'psnr'").assign(side=side) for side, value in sides.items()]
    )


def test_identity_is_checked_not_assumed():
    (kept,) = claims.identity(by_size(0.0, -0.2), {DEMOE_TLC: 96})
    assert "up to 96 pixels (its window has 96) no score changes" in kept
    assert "256 pixels -0.200 [-0.210, -0.190] dB." in kept and "64 pixels -" not in kept
    (changed,) = claims.identity(by_size(0.001, -0.2), {DEMOE_TLC: 96})
    assert "which it should not" in changed
    (never,) = claims.identity(by_size(0.0, 0.0), {DEMOE_TLC: 50})
    assert "no picture here lies within" in never


def test_routing_and_runtime():
    assert "decides as before on all 40" in claims.routing(0, 40) and "on 3 of 40" in claims.routing(3, 40)
    assert "1.50 times the time of NAFNet at 256x256" in claims.runtime(
        {NAFNET: 2.0, NAFNET_TLC: 3.0}, NAFNET_TLC, NAFNET, 256
    )
