"""Suggestions for misspelt words."""

import pytest

from demoe.core.tasks import EXPERTS, expert_index
from demoe.core.words import meant


def test_a_near_word_is_named_and_a_far_one_is_not():
    assert meant("defoucs", EXPERTS) == " (did you mean 'defocus'?)" == meant("DEFOCUSS", EXPERTS)
    assert meant("xyz", EXPERTS) == meant("", EXPERTS) == meant("defocus", ()) == ""
    with pytest.raises(ValueError, match=r"unknown expert 'low-ligth' \(did you mean 'low_light'\?\): choose one of"):
        expert_index("low-ligth")
