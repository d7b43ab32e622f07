from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from brainseg_engine.core.labels import Region
from brainseg_engine.core.study import Modality, Segmentation
from napari_brainseg.session import Answer, Measures, OpenStudy, Session, token_of


@pytest.fixture
def session() -> Session:
    return Session()


def heard(session: Session) -> list[str]:
    """The names of the signals that are emitted from here on."""
    names = [n for n in dir(Session) if n.endswith("_changed") and n != "store_changed"]
    said: list[str] = []
    for n in names:
        getattr(session, n).connect(lambda n=n: said.append(n.removesuffix("_changed")))
    return said


def seg(study, value=1) -> Segmentation:
    labels = np.zeros(study.reference.grid.shape, dtype=np.uint8)
    labels[2:5, 2:5, 2:5] = value
    return Segmentation(labels, study.reference.grid)


def answer(study, saved=None) -> Answer:
    return Answer.of(seg(study), saved=saved)


def test_unknown_state_is_refused(session):
    with pytest.raises(AttributeError):
        session.colour = "red"


def test_the_token_is_of_the_content_and_the_assignment(study):
    again = replace(study, segmentation=None, volumes=dict(reversed(list(study.volumes.items()))))
    assert token_of(again) == token_of(study)
    t1, t2 = study.volumes[Modality.T1], study.volumes[Modality.T2]
    swapped = {
        **study.volumes,
        Modality.T1: replace(t2, modality=Modality.T1),
        Modality.T2: replace(t1, modality=Modality.T2),
    }
    tokens = {
        token_of(study),
        token_of(replace(study, id="other")),
        token_of(replace(study, volumes=swapped)),
        token_of(replace(study, volumes={Modality.T1: t1})),
    }
    assert len(tokens) == 4


def test_opening_tells_all_that_changed(session, study):
    said = heard(session)
    session.open(OpenStudy(study), answer(study, 7))
    assert set(said) == {"study", "segmentation", "measures"} and not session.dirty
    session.open(OpenStudy(study), answer(study))
    assert session.dirty and said[-1] == "dirty"
    session.open(OpenStudy(study), None)
    assert not session.dirty


def test_dirty_follows_the_checksum_so_that_undo_takes_it_back(session, study):
    session.open(OpenStudy(study), answer(study, 7))
    session.dirty = True  # the brush touched it
    session.measures = Measures({}, digest=8)
    assert session.dirty
    session.measures = Measures({}, digest=7)  # undone
    assert not session.dirty
    session.measures = Measures({}, digest=9)
    session.saved(9)
    assert not session.dirty
    session.measures = Measures({}, digest=7)  # undone past the save: the file holds something else
    assert session.dirty


def test_what_was_saved_while_the_brush_went_on_stays_dirty(session, study):
    session.open(OpenStudy(study), answer(study))
    session.measures = Measures({}, digest=2)
    session.saved(1)
    assert session.dirty


def test_a_models_result_is_dirty_and_a_file_is_not(session, study):
    session.open(OpenStudy(study), None)
    session.deliver(answer(study))
    assert session.dirty
    session.deliver(answer(study, 3))
    assert not session.dirty


def test_kept_results_are_taken_once_and_the_oldest_go_first(session, study):
    for i in range(25):
        session.kept.keep(f"t{i}", answer(study))
    assert list(session.kept) == [f"t{i}" for i in range(5, 25)]
    kept = session.kept.take("t9")
    assert kept is not None and session.kept.take("t9") is None and "t9" not in session.kept
    assert session.kept.take("t0") is None


@pytest.mark.parametrize("order", ["C", "F"])
def test_what_is_kept_takes_little_room_and_comes_back_whole(session, study, order):
    labels = np.asarray(np.random.default_rng(0).integers(0, 4, study.reference.grid.shape), np.uint8, order=order)
    made = replace(answer(study), segmentation=replace(seg(study), labels=labels, made_by="someone"), notes={"device": "cpu"},
                   base=seg(study, 2), probabilities={Region.WT: labels.astype(np.float16)}, saved=7)  # fmt: skip
    session.kept.keep("a", made)
    back = session.kept.take("a")
    assert np.array_equal(back.segmentation.labels, labels) and back.segmentation.labels.flags.writeable
    assert np.array_equal(back.base.labels, made.base.labels)
    assert replace(back.segmentation, labels=labels) == replace(made.segmentation, labels=labels)
    assert (back.model, back.notes, back.saved, back.probabilities) == (made.model, made.notes, 7, made.probabilities)
    for token in "abc":
        session.kept.keep(token, made)
    assert [session.kept.take(token).probabilities is None for token in "abc"] == [True, False, False]


def test_closing_leaves_nothing(session, study):
    session.open(OpenStudy(study), answer(study))
    session.close()
    assert (session.study, session.segmentation, session.measures, session.dirty) == (None, None, None, False)


class Model:
    def __init__(self, name, card):
        self.name, self.card = name, card


def test_the_first_usable_model_is_chosen_and_a_choice_is_kept(session):
    session.set_models((Model("damaged", None), Model("a", 1), Model("b", 1)))
    assert session.model.name == "a"
    session.choose(model="b", device="cpu")
    session.set_models((Model("a", 1), Model("b", 1), Model("c", 1)))
    assert session.model.name == "b" and session.device == "cpu"
    session.set_models((Model("a", 1),))
    assert session.model.name == "a"
    session.set_models(())
    assert session.model is None
    session.set_models((Model("damaged", None), Model("a", 1), Model("b", 1)), default="b")
    assert session.model.name == "b"
    session.set_models((Model("damaged", None), Model("a", 1)), default="damaged")
    assert session.model.name == "a"


def test_an_empty_message_takes_the_last_one_away(session):
    session.say("Something.")
    assert session.message.text == "Something."
    session.say("")
    assert session.message is None


def test_edits_that_no_file_holds_are_put_away_with_what_they_began_from(session, study):
    session.open(OpenStudy(study), answer(study))
    edited = seg(study, 3)
    session.put_away(edited, "another")
    kept = session.kept.take(session.study.token)
    assert np.array_equal(kept.segmentation.labels, edited.labels) and kept.edited
    assert np.array_equal(kept.origin.labels, session.segmentation.labels)
    session.put_away(session.segmentation, "another")
    assert not session.kept.take(session.study.token).edited
    session.put_away(edited, session.study.token)  # it stays open
    session.measures = Measures({}, digest=5)
    session.saved(5)
    session.put_away(edited, "another")  # a file holds it
    assert not session.kept


def test_a_new_answer_has_a_log_of_its_own(session, study):
    session.open(OpenStudy(study), answer(study))
    log = session.steps
    log.append({"tool": "brush"})
    session.reassign(OpenStudy(study))
    assert session.steps is log and len(log) == 1
    session.deliver(answer(study), [{"tool": "restored"}])
    assert session.steps is log and [s["tool"] for s in log] == ["restored"]
    session.open(OpenStudy(study), None)
    assert session.steps == [] and len(log) == 1  # who wrote down that log may keep it
