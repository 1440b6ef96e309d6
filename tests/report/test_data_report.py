"""Numbers of pairs, the paper's beside those at hand."""

from demoe.core.tasks import PAPER_ORDER
from demoe.data.pairs import PairedSet
from demoe.report import data_report


def sets(count):
    return [PairedSet(f"{name}-syn", "synthetic", range(count + i), None, None) for i, name in enumerate(PAPER_ORDER)]


def test_sizes_stand_beside_the_papers_and_what_is_missing_stays_empty():
    table = data_report.sizes(sets(20), sets(5)[1:], "synthetic").set_index("set")
    assert list(table) == ["paper train", "paper evaluation", "synthetic train", "synthetic evaluation"]
    assert [*table.index[:5]] == [*PAPER_ORDER] and table.loc["RealBlur", "paper train"] == 3758
    assert table["synthetic train"].dropna().tolist() == [20, 21, 22, 23, 24] and table.isna().to_numpy()[0, 3]


def test_table_4_has_shares_of_an_epoch():
    table = data_report.table_4(sets(10), sets(30), "synthetic")
    assert table.loc["AIO-Blur", "synthetic final"] == 30 + 31 + 32 + 33 + 34
    shares = table[["paper share", "synthetic share"]]
    assert shares.loc["AIO-Blur"].tolist() == [1, 1] and shares.loc[[*PAPER_ORDER]].sum().round(9).tolist() == [1, 1]
    assert list(table)[:2] == ["paper original", "paper final"] and table.loc["GoPro", "paper final"] == 4206
