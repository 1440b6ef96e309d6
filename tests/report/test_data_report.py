"""Numbers of pairs, the paper's beside those at hand; embedded pictures."""

import numpy as np

from demoe.core.tasks import PAPER_ORDER
from demoe.data.pairs import PairedSet
from demoe.report import data_report


def sets(count):
    return [PairedSet(f"{name}-syn", "synthetic", range(count + i), None, None) for i, name in enumerate(PAPER_ORDER)]


def test_sizes_stand_beside_the_papers_and_what_is_missing_stays_empty():
    table = data_report.sizes(sets(20), sets(5)[1:], "synthetic").set_index("set")
    counts = ["paper train", "paper evaluation", "synthetic train", "synthetic evaluation"]
    assert list(table) == [*counts, "real-world", "blur type"]
    assert set(table.index[table["real-world"] == "no"]) == {"LOLBlur", "GoPro"}
    assert table["blur type"].to_dict() == {
        "RealBlur": "camera motion",
        "ReLoBlur": "local motion",
        "LOLBlur": "low-light motion",
        "GoPro": "camera and object motion",
        "DPDD": "defocus",
        "Real-LOLBlur": "low-light motion",
        "RealDOF": "defocus",
        "RSBlur": "camera and object motion",
    }
    assert [*table.index[:5]] == [*PAPER_ORDER] and table.loc["RealBlur", "paper train"] == 3758
    assert table["synthetic train"].dropna().tolist() == [20, 21, 22, 23, 24] and table.isna().to_numpy()[0, 3]


def test_table_4_has_shares_of_an_epoch():
    table = data_report.table_4(sets(10), sets(30), "synthetic")
    assert table.loc["AIO-Blur", "synthetic final"] == 30 + 31 + 32 + 33 + 34
    shares = table[["paper share", "synthetic share"]]
    assert shares.loc["AIO-Blur"].tolist() == [1, 1] and shares.loc[[*PAPER_ORDER]].sum().round(9).tolist() == [1, 1]
    assert list(table)[:2] == ["paper original", "paper final"] and table.loc["GoPro", "paper final"] == 4206


def test_a_panel_each_with_its_title_and_one_legend():
    groups = np.array(["GoPro-syn", "GoPro-syn", "RSBlur-syn"])
    points = np.arange(6.0).reshape(3, 2)
    figure = data_report.scatters([(points, groups, "CLIP"), (points + 1, groups, "ViT-S/14")])
    assert [axis.get_title() for axis in figure.axes] == ["CLIP", "ViT-S/14"] and len(figure.legends) == 1
    drawn = np.concatenate([one.get_offsets() for one in figure.axes[1].collections])
    assert np.array_equal(drawn, points + 1)
    assert len(figure.axes[0].collections[1].get_facecolors()) == 0  # outside AIO-Blur: hollow
