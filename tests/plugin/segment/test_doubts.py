"""What speaks against an answer is said with it, in amber, and kept beside its mask."""

from dataclasses import replace

from helpers.cases import write
from helpers.rig import prediction
from helpers.small_study import make_study

from brainseg_engine.core.study import Modality
from napari_brainseg.session import Kind


def answered(house, **told):
    house.segment.segment()
    request, listener = house.runner.jobs[-1]
    listener.finished(replace(prediction(request), **told))
    return house.session.message


def test_series_beside_the_others_and_images_unlike_all_others_are_said(house, tmp_path):
    house.study.open(write(make_study(id="A"), tmp_path))
    assert answered(house).kind is Kind.GOOD
    said = answered(house, displaced="FLAIR lies beside.", laid_back_mm={Modality.FLAIR: 5.04}, unlike="Unlike.",
                    uncovered="T1 does not show all.")  # fmt: skip
    assert said.kind is Kind.WARNING and said.text.endswith("FLAIR lies beside. T1 does not show all. Unlike.")
    notes = house.session.answer.notes
    assert notes["displaced"] == "FLAIR lies beside." and notes["laid_back_mm"] == {"flair": 5.0}
    answered(house)
    assert "displaced" not in house.session.answer.notes
