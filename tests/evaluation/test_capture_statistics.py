import numpy as np
import pytest
import torch

from demoe.blur import sensor
from demoe.evaluation.capture_statistics import MEASURES, measure, medians, table


def smooth(height=96, width=121):
    """A picture without noise, blocks or fine detail."""
    y, x = torch.meshgrid(torch.linspace(0, 3, height), torch.linspace(0, 4, width), indexing="ij")
    return torch.stack([0.5 + 0.2 * torch.sin(y + x), 0.5 + 0.2 * torch.cos(x), 0.5 + 0.1 * torch.sin(2 * y)])


@pytest.mark.parametrize("level", [1.0, 4.0])
def test_noise_is_measured_in_levels(level):
    normal = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 96, 121))).float()
    found = measure((smooth() + level / 255 * normal).clamp(0, 1))
    assert found["noise"] == pytest.approx(level, rel=0.1)
    assert found["chroma"] < 0.3  # the same in all colours
    assert found["detail"] == pytest.approx(level**2 * (1 - np.pi / 16), rel=0.15)  # white: all but a circle of it


def test_blocks_of_jpeg_are_found_at_any_offset():
    grain = torch.rand(3, 130, 131, generator=torch.Generator().manual_seed(0)) * 0.2
    coarse = sensor.jpeg((smooth(130, 131) * 0.7 + grain).clamp(0, 1), 20)
    plain = measure(smooth(130, 131) * 0.7 + grain)["blockiness"]
    assert measure(coarse)["blockiness"] > 1.3 * plain
    assert measure(coarse[:, 3:, 5:])["blockiness"] > 1.3 * plain


def test_a_constant_picture_has_nothing_and_small_ones_are_refused():
    found = measure(torch.full((3, 20, 31), 0.5))
    assert [found[name] for name in MEASURES] == pytest.approx([0, 0, 0, 0, 1, 127.5])
    with pytest.raises(ValueError, match="31x16 pixels is too small"):
        measure(torch.zeros(3, 16, 31))


def test_medians_are_by_set():
    rows = table([("b", torch.full((3, 20, 20), level)) for level in (0.0, 0.2, 1.0)] + [("a", torch.ones(3, 20, 20))])
    found = medians(rows)
    assert list(found["set"]) == ["b", "a"] and list(found.pictures) == [3, 1]
    assert medians(table([])).empty  # no pictures, no error
    assert found.brightness.tolist() == pytest.approx([51, 255])
