import pandas as pd
import pytest
import torch
from torch import nn

from demoe.data.pairs import PairedSet
from demoe.evaluation import comparison


def picture_set(sides=((20, 30), (14, 12), (25, 17)), name="GoPro-syn") -> PairedSet:
    """Pictures in which every pixel tells its place: red is the row, green the column, blue the picture."""

    def read(i, window=None):
        top, left, height, width = window or (0, 0, *sides[i])
        rows = torch.arange(top, top + height).view(-1, 1).expand(height, width)
        columns = torch.arange(left, left + width).expand(height, width)
        blurred = torch.stack((rows, columns, torch.full_like(rows, i))).byte()
        return blurred, blurred + 50

    keys = [f"{i:04d}_scene{i}" for i in range(len(sides))]
    return PairedSet(name, "synthetic", keys, read, lambda i: sides[i], notes=["a", "b", "c"][: len(sides)])


def test_the_middle_is_in_the_middle():
    middle = comparison.centre(picture_set(), 10)
    assert middle.name == "GoPro-syn" and len(middle) == 3 and middle.size(0) == (10, 10)
    blurred, sharp = middle.read(0, None)
    assert blurred.shape == (3, 10, 10) and torch.equal(sharp, blurred + 50)
    assert blurred[0, 0, 0] == 5 and blurred[1, 0, 0] == 10  # of 20 x 30
    part, _ = middle.read(2, (3, 4, 2, 5))
    assert torch.equal(part, middle.read(2, None)[0][:, 3:5, 4:9])


def test_smaller_pictures_stay_whole_and_the_first_are_kept():
    pairs = picture_set()
    middle = comparison.centre(pairs, 13, count=2)
    assert [middle.size(i) for i in range(2)] == [(13, 13), (13, 12)]
    assert list(middle.keys) == list(pairs.keys)[:2] and list(middle.notes) == ["a", "b"]
    assert torch.equal(comparison.centre(pairs, 99).pair(1)[0], pairs.pair(1)[0])
    with pytest.raises(ValueError, match="at least one pixel"):
        comparison.centre(pairs, 0)


class Brighter(nn.Module):
    """Adds what lacks to the sharp picture, but only in pictures larger than ``side``."""

    def __init__(self, side: int, share: float):
        super().__init__()
        self.side, self.share = side, share

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.share * 50 / 255 * (x.shape[-1] > self.side)


def test_gains_by_size():
    networks = {"plain": Brighter(0, 0.0), "helps": Brighter(12, 0.9), "unused": nn.Identity()}
    sets = [picture_set(), picture_set(name="DPDD-syn")]
    table = comparison.gains_by_size(sets, networks, [("helps", "plain")], [10, 12, 16], progress=False)
    assert list(table.columns[:6]) == ["side", "network", "plain", "set", "metric", "mean"]
    assert set(table["set"]) == {"GoPro-syn", "DPDD-syn", "Average"} and set(table.metric) == {"psnr"}
    assert set(table.network) == {"helps"}
    assert (table[table.side <= 12]["mean"] == 0).all()
    large = table[(table.side == 16) & (table["set"] == "GoPro-syn")].iloc[0]
    assert large["mean"] == pytest.approx(20 * 2 / 3, abs=0.01)  # a tenth of the error, on two of three pictures
    assert large.low <= large["mean"] <= large.high


def test_gains_are_paired():
    scores = pd.DataFrame(
        [
            {"set": "DPDD-syn", "image": f"{i:04d}_s{i}", "method": method, "psnr": 20.0 + 5 * i + gain}
            for i in range(4)
            for method, gain in (("plain", 0), ("with", 0.5), ("other", -1))
        ]
    )
    table = comparison.network_gains(scores, [("with", "plain"), ("other", "plain")]).set_index(["network", "set"])
    row = table.loc["with", "DPDD-syn"]
    assert (row["mean"], row.low, row.high, row.images) == (0.5, 0.5, 0.5, 4)
    assert table.loc["other", "Average"]["mean"] == -1
