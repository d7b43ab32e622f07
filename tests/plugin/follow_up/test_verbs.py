"""What the follow-up tells of two examinations."""

from __future__ import annotations

import pytest

from napari_brainseg.features.follow_up.verbs import days_of


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [("2025-01-10", "2025-03-10", ("2025-01-10 → 2025-03-10 (59 days)",)),
     ("2025-03-10", "2025-01-10", ("2025-03-10 → 2025-01-10 (59 days: the earlier study is the later one)",)),
     (None, "2025-01-10", ()), ("2025-01-10", None, ())],
)  # fmt: skip
def test_the_days_of_both_are_told_where_they_are_known(before, now, words):
    assert days_of(before, now) == words
