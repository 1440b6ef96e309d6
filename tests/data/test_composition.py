import numpy as np
import pandas as pd
import pytest
import torch

from demoe.core.paper import published
from demoe.data import composition
from demoe.data.composition import REFERENCE, compose, errors, histogram, manifest, repeats, select, subsample
from demoe.data.pairs import PairedSet

ORIGINALS = {"DPDD": 350, "RealBlur": 3758, "ReLoBlur": 2010, "GoPro": 2103, "LOLBlur": 10200}


def flat(name, count, error=lambda i: 0.0, data="real"):
    """Pairs of one pixel whose squared error is ``error(i)``."""

    def read(i, window=None):
        return torch.zeros(3, 1, 1, dtype=torch.int32), torch.full((3, 1, 1), round(65535 * error(i) ** 0.5)).int()

    return PairedSet(name, data, [f"{name}/{i:05d}" for i in range(count)], read, lambda i: (1, 1), 65535)


def skewed(i):
    """Errors as LOLBlur's: many small, few large ones."""
    return 0.5 * ((i * 0.6180339887) % 1) ** 2


@pytest.fixture(scope="module")
def originals():
    return [flat(name, count, skewed) for name, count in ORIGINALS.items()]


def test_the_published_counts_come_out(originals):
    paper = published().query("table == 'table4_aio_blur'").set_index(["dataset", "metric"])["value"]
    composed = compose(originals, progress=False)
    for before, after in zip(originals, composed, strict=True):
        assert len(before) == paper[before.name, "original_samples"]
        assert len(after) == paper[after.name, "final_samples"]
    assert sum(map(len, composed)) == paper["AIO-Blur", "final_samples"] == 20032


def test_every_pair_but_lolblurs_is_kept_and_repeated_evenly(originals):
    table = manifest(compose(originals, seed=3, progress=False))
    for pairs in originals:
        often = table[table.set == pairs.name].groupby("pair").size()
        if pairs.name == "LOLBlur":
            assert len(often) == 4200 and (often == 1).all()
        elif pairs.name == "ReLoBlur":  # 4018 = 2 * 2010 - 2
            assert len(often) == 2010 and sorted(often.value_counts().items()) == [(1, 2), (2, 2008)]
        else:
            assert len(often) == len(pairs) and often.nunique() == 1
    repeated = table.groupby(["set", "pair"]).repeat.apply(list)
    assert all(numbers == list(range(len(numbers))) for numbers in repeated)


def test_the_manifest_follows_the_seed_and_nothing_else(originals):
    one, again, other = (manifest(compose(originals, seed, progress=False)).to_csv() for seed in (1, 1, 2))
    assert one == again != other


def test_lolblur_is_drawn_evenly_from_the_three_lower_bins(originals):
    values = errors(originals[-1], progress=False)
    np.testing.assert_allclose(values, [skewed(i) for i in range(10200)], atol=2e-5)
    edges, place = histogram(values)
    np.testing.assert_allclose(np.diff(edges), np.ptp(values) / 4)
    chosen = subsample(values, 1000, seed=5)
    assert np.bincount(place[chosen], minlength=4).tolist() == [1000, 1000, 1000, 0]
    assert chosen == sorted(set(chosen)) and values[chosen].max() < edges[3]
    for b in range(4):  # a bin reaches from its lower edge up to, not including, its upper one; the last has both
        inside = values[place == b]
        assert (inside >= edges[b]).all() and ((inside < edges[b + 1]) | (b == 3)).all()


def test_a_bin_with_too_few_gives_all_it_has():
    values = np.array([0.0] * 10 + [0.3] * 2 + [0.6] * 10 + [1.0])
    assert subsample(values, 5, seed=0) == sorted(subsample(values, 5, seed=0))
    assert {10, 11} <= set(subsample(values, 5)) and 22 not in subsample(values, 5) and len(subsample(values, 5)) == 12


@pytest.mark.parametrize("scale", [1 / 50, 1 / 7, 2])
def test_the_proportions_hold_at_any_size(scale):
    sets = [flat(f"{name}-syn", round(count * scale), skewed, "synthetic") for name, count in ORIGINALS.items()]
    sizes = {pairs.name: len(pairs) for pairs in compose(sets, progress=False)}
    reference = sizes["RealBlur-syn"]
    assert reference == round(3758 * scale)
    for name, size in sizes.items():
        assert 0.85 < size / reference < 1.2, name


def test_two_pairs_a_set_are_enough():
    sets = [flat(f"{name}-syn", 2, skewed, "synthetic") for name in ORIGINALS]
    assert all(len(pairs) >= 1 for pairs in compose(sets, progress=False))


def test_only_a_whole_reloblur_loses_two_repeats():
    assert len(repeats(flat("ReLoBlur", 2009), REFERENCE)) == 2 * 2009
    assert len(repeats(flat("ReLoBlur-syn", 2010), REFERENCE)) == 2 * 2010


def test_selected_pairs_are_the_originals():
    pairs = flat("GoPro", 9, lambda i: i / 10)
    chosen = select(pairs, [8, 2, 2])
    assert list(chosen.keys) == ["GoPro/00008", "GoPro/00002", "GoPro/00002"] and chosen.size(1) == (1, 1)
    again = select(chosen, [1])
    assert torch.equal(again.pair(0)[1], pairs.pair(2)[1]) and again.label == 3 and again.peak == 65535


def test_errors_are_kept_and_made_again_for_other_pairs(tmp_path, monkeypatch):
    file = tmp_path / "cache" / "errors.csv"
    first = errors(flat("LOLBlur", 12, skewed), file, progress=False)
    assert list(pd.read_csv(file).columns) == ["pair", "mse"]
    unread = flat("LOLBlur", 12, lambda i: pytest.fail("read again"))
    np.testing.assert_array_equal(errors(unread, file, progress=False), first)
    assert len(errors(flat("LOLBlur", 13, skewed), file, progress=False)) == 13


def test_the_manifest_of_nothing_has_its_columns():
    assert list(manifest([]).columns) == ["set", "split", "pair", "repeat"]
    assert composition.BINS == 4


def test_sets_cut_to_the_papers_proportions():
    sets = [flat(f"{name}-syn", 300, skewed, "synthetic") for name in ORIGINALS]
    cut = {pairs.name.removesuffix("-syn"): len(pairs) for pairs in composition.in_proportion(sets, ORIGINALS)}
    assert cut == {"DPDD": 10, "RealBlur": 111, "ReLoBlur": 59, "GoPro": 62, "LOLBlur": 300}
    whole = [flat(name, count) for name, count in ORIGINALS.items()]
    assert [len(pairs) for pairs in composition.in_proportion(whole, ORIGINALS)] == list(ORIGINALS.values())


def test_the_published_sizes_in_one_table():
    table = composition.published_sizes(ORIGINALS)
    assert table.final.to_dict() == {
        "DPDD": 3850,
        "RealBlur": 3758,
        "ReLoBlur": 4018,
        "GoPro": 4206,
        "LOLBlur": 4200,
        "AIO-Blur": 20032,
    }
    assert table.loc["ReLoBlur", "once"] == 2
