"""What is told of an answer beside its numbers, and only as long as it is the model's own."""

from __future__ import annotations

from dataclasses import replace

import pytest
from helpers.cases import write
from helpers.rig import Card, Model, paint, prediction
from helpers.small_study import make_study

from brainseg_engine.core.labels import Label, Region
from brainseg_engine.models.calibration import Calibration

ML = {Region.WT: (0.4, 1.1)}


@pytest.fixture
def trust(house, tmp_path):
    """Of a study that is open."""
    house.study.open(write(make_study(id="A"), tmp_path))
    return house.regions.trust


def answer(house, value=Label.ET, **told) -> None:
    """Segment; what the model tells comes with it."""
    house.segment.segment()
    request, listener = house.runner.jobs[-1]
    listener.finished(replace(prediction(request, value), **told))
    house.timers.pass_time()


def test_the_overlap_that_a_model_expects_is_told(house, trust):
    assert trust.expected is None and not trust.limits
    answer(house, confidence=0.84, intervals_ml=ML)
    assert "0.84" in trust.expected.text and not trust.expected.low
    assert trust.limits == {"WT": "0.4–1.1"}
    answer(house)
    assert trust.expected is None and not trust.limits  # of a model that is not calibrated


@pytest.mark.parametrize(("confidence", "low"), [(0.69, True), (0.7, False), (0.95, False), (0.2, True)])
def test_a_low_one_asks_to_look_closely(house, trust, confidence, low):
    answer(house, confidence=confidence)
    assert trust.expected.low is low
    assert ("look closely" in trust.expected.text) is low


def test_it_never_stands_beside_labels_that_a_person_has_changed(house, trust, tmp_path):
    answer(house, confidence=0.84, intervals_ml=ML)
    paint(house)
    house.regions.measure()
    assert trust.expected is None and not trust.limits
    house.labels.undo()
    house.regions.measure()
    assert trust.expected is not None
    paint(house)
    house.study.open(write(make_study(id="B"), tmp_path))
    assert trust.expected is None
    house.study.open(tmp_path / "A")
    house.regions.measure()
    assert house.session.answer.edited and trust.expected is None


def test_an_answer_that_comes_back_with_its_study_is_still_the_model_s(house, trust, tmp_path):
    answer(house, confidence=0.84)
    house.study.open(write(make_study(id="B"), tmp_path))
    assert trust.expected is None
    house.study.open(tmp_path / "A")
    house.regions.measure()
    assert "0.84" in trust.expected.text


def test_where_nothing_was_found_there_is_no_overlap_to_expect(house, trust):
    answer(house, Label.BACKGROUND, confidence=1.0)
    assert trust.expected is None


def test_how_far_it_can_be_trusted_is_what_the_card_says(house, trust):
    answer(house, confidence=0.84)
    assert "not known here" in trust.expected.tip and "lower.\n" in trust.expected.tip
    known = Calibration(regions={}, cases=32, confidence_correlation=0.7)
    scores = {"WT": {"dice": 0.9}, "TC": {"dice": 0.8}, "ET": {"dice": None}}
    card = Card().model_copy(update={"calibration": known, "scores": scores, "scores_on": "8 cases"})
    house.session.set_models((Model(card=card),))
    assert "On 32 studies" in trust.expected.tip and "0.70" in trust.expected.tip
    assert "0.85 on average on 8 cases" in trust.expected.tip
