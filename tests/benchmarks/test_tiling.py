import torch
from conftest import shake

from benchmarks import tiling
from demoe.inference import tiles
from demoe.models.demoe import DeMoE, DeMoEConfig


def test_sampled_statistics_differ_little_from_the_wholes(monkeypatch):
    torch.manual_seed(0)
    model = shake(DeMoE(DeMoEConfig(4, (1, 1), 1, (1, 1))))
    monkeypatch.setattr(tiles, "SAMPLE", 4 * 256 * 256)
    monkeypatch.setattr(tiles, "CROP", 256)
    found = tiling.compare_tiles(model, torch.rand(3, 700, 600), tile=256)
    assert 0 < found["mean_difference"] < 1e-3 and found["psnr"] > 50
    assert 0 <= found["seam"] < 1e-3 and 0 <= found["elsewhere"] < 1e-3


def test_a_seam_is_found_where_it_is():
    values = torch.zeros(999)
    values[tiles.starts(1000, 256, 16)[1] + 64 - 1] = 0.5  # where the first two tiles are blended
    values[20] = 0.25
    assert tiling._steps(values, 256, tiles.starts(1000, 256, 16)) == (0.5, 0.25)
    assert tiling._steps(values[:100], 256, [0]) == (0.0, 0.25)
