import math

import pandas as pd
import pytest

from demoe.core.paper import DEMOE, DEMOE_EXPERTS, DEMOE_PARTIAL, DEMOE_TLC, NAFNET, NAFNET_TLC
from demoe.core.tasks import PAPER_ORDER
from demoe.report import tlc_report as claims
from demoe.report.claims import claim

SETS = [f"{name}-syn" for name in PAPER_ORDER]
PAPER = {"RealBlur-syn": 0.04, "ReLoBlur-syn": -0.29, "DPDD-syn": 0.14, "LOLBlur-syn": -0.71, "GoPro-syn": 0.36}


def gains(values: dict[str, float], reach: float = 0.01, network: str = DEMOE_TLC, plain: str = DEMOE) -> pd.DataFrame:
    """A table of ``comparison.network_gains``: ``values`` by set, each with an interval of ``reach`` on both sides."""
    values = values | {"Average": sum(values.values()) / len(values)}
    rows = [
        {"network": network, "plain": plain, "set": name, "metric": metric}
        | {"mean": value, "low": value - reach, "high": value + reach, "images": 8, "missing": 0, "scenes": 7}
        for name, value in values.items()
        for metric in ("psnr", "ssim")
    ]
    return pd.DataFrame(rows)


def test_the_papers_own_directions_are_recognised():
    found = claims.gain_claim(gains(PAPER), DEMOE_TLC, DEMOE)
    assert found.verdict == "worse" and found.published == pytest.approx(-0.09) and "LOLBlur -0.71" in found.words
    assert found.control.startswith("better on RealBlur-syn, DPDD-syn, GoPro-syn; worse on ReLoBlur-syn, LOLBlur-syn")
    assert f"the paper's direction on {', '.join(SETS)}, the opposite on none" in found.control
    opposite = claims.gain_claim(gains({name: -value for name, value in PAPER.items()}), DEMOE_TLC, DEMOE)
    assert f"direction on none, the opposite on {', '.join(SETS)}" in opposite.control and opposite.verdict == "better"


def test_the_undecided_and_rows_that_the_paper_lacks():
    noise = claims.gain_claim(gains(PAPER, reach=1), DEMOE_TLC, DEMOE)
    assert noise.verdict == "undecided" and "direction on none, the opposite on none" in noise.control
    alone = claims.gain_claim(gains(PAPER).assign(low=math.nan, high=math.nan), DEMOE_TLC, DEMOE)
    assert alone.verdict == "undecided" and "[" not in alone.here
    lacking = claims.gain_claim(gains(PAPER, network=DEMOE_EXPERTS), DEMOE_EXPERTS, DEMOE)
    assert lacking.words == "no such row" and math.isnan(lacking.published) and "direction" not in lacking.control
    other = claims.gain_claim(gains(PAPER, network=NAFNET_TLC, plain=NAFNET), NAFNET_TLC, NAFNET)
    assert "LOLBlur -0.89" in other.words


def test_who_suffers_most():
    assert claims.low_light_suffers_most(gains(PAPER)).verdict == "holds"
    other = claims.low_light_suffers_most(gains(PAPER | {"GoPro-syn": -0.9}))
    assert other.verdict == "fails" and other.control == "GoPro-syn"
    near = claims.low_light_suffers_most(gains(PAPER | {"GoPro-syn": -0.7}, reach=0.1))
    assert near.verdict == "undecided" and "not told apart from GoPro-syn" in near.control
    assert claims.low_light_suffers_most(gains(PAPER, reach=1)).verdict == "undecided"


@pytest.mark.parametrize(("value", "verdict"), [(0.3, "holds"), (0.1, "fails"), (0.0, "fails")])
def test_partial_in_both_readings(value, verdict):
    full = gains(dict.fromkeys(SETS, 0.3))
    others = [gains(dict.fromkeys(SETS, value), network=network) for network in (DEMOE_PARTIAL, DEMOE_EXPERTS)]
    for found in claims.partial(pd.concat([full, *others])):
        assert found.verdict == verdict and found.ours == pytest.approx(0.3 - value)
        assert f"changes a set by up to {value:.3f} dB" in found.control


def by_size(inside: float, outside: float) -> pd.DataFrame:
    sides = {64: inside, 96: inside, 256: outside}
    parts = [
        gains(dict.fromkeys(SETS, value)).query("metric == 'psnr'").assign(side=side) for side, value in sides.items()
    ]
    return pd.concat(parts)


def test_identity_is_checked_not_assumed():
    kept, beyond = claims.identity(by_size(0.0, -0.2), {DEMOE_TLC: 96})
    assert kept.verdict == "holds" and beyond.verdict == "worse" and "256 pixels" in beyond.what
    assert claims.identity(by_size(0.001, -0.2), {DEMOE_TLC: 96})[0].verdict == "fails"
    rounded = claims.identity(by_size(3e-7, -0.2), {DEMOE_TLC: 96})[0]
    assert rounded.verdict == "holds"  # strips and a plain call round differently: no false alarm
    assert claims.identity(by_size(0.0, 0.0), {DEMOE_TLC: 50})[0].verdict == "undecided"  # no picture is that small


def test_changed_decisions_are_counted():
    assert claim("demoe-t6-routing", 3, unit="of 40").here == "3 of 40"
