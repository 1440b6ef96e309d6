"""Tables as Markdown: cells are printed as they are, whatever they look like."""

import pandas as pd

from demoe.core.markdown import markdown_table


def test_text_that_looks_like_a_number_stays_as_it_is():
    table = pd.DataFrame({"commit": ["4126e105", "00412345"], "PSNR": ["25.60", "30.10"]}, index=["a|b", "c\nd"])
    rows = markdown_table(table).splitlines()[2:]
    assert rows == [r"| a\|b | 4126e105 | 25.60 |", "| c d | 00412345 | 30.10 |"]
