import pytest
from fixture_trees import picture, put

from demoe.data.pairs import own_pairs


def test_own_pairs_are_never_called_a_datasets(tmp_path):
    place = tmp_path / "GoPro"
    for i in range(3):
        for side in ("blur", "sharp"):
            put(place / side / f"{i}.png", picture(i, (40 + i, 29)))
    pairs = own_pairs(place)
    assert pairs.name == "own-GoPro" and pairs.label is None and len(pairs) == 3
    put(place / "sharp" / "2.png", picture(2, (40, 30)))
    with pytest.raises(ValueError, match=r"2\.png and .*2\.png are a pair of different sizes: 42x29 and 40x30"):
        own_pairs(place)
