from __future__ import annotations

import pytest

from brainseg_engine.scores.follow_up import Change, rano_range


@pytest.mark.parametrize(
    ("sums", "words"),
    [
        ([400, 199], "partial response"), ([400, 201], "stable"), ([400, 499], "stable"), ([400, 500], "progression"),
        ([400, 100, 130], "progression"), ([400, 100, 120], "partial response"), ([400, 0], "complete response"),
        ([400, 0, 150], "progression"),
    ],
)  # fmt: skip
def test_the_ranges_of_rano(sums, words):
    assert words in rano_range(sums)


@pytest.mark.parametrize("sums", [[], [400], [0, 0]])
def test_nothing_is_said_of_nothing(sums):
    assert rano_range(sums) == ""


def test_a_change_in_words():
    assert Change(12, 18).words("mL") == "12.0 → 18.0 mL (+6.0, +50 %)"
    assert Change(0, 1).percent is None and "%" not in Change(0, 1).words("mL")
