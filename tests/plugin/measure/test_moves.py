"""Movements are taken back and moved again, in order."""

from hypothesis import given
from hypothesis import strategies as st

from napari_brainseg.features.measure.moves import Moves


@given(st.lists(st.sampled_from(["move", "undo", "redo"]), max_size=30))
def test_as_a_list_of_states_and_a_place_in_it(steps):
    moves: Moves[int] = Moves()
    states, at, now = [0], 0, 0
    for n, step in enumerate(steps, 1):
        if step == "move":
            moves.moved(now)
            states, at, now = [*states[: at + 1], n], at + 1, n
            continue
        there = at - 1 if step == "undo" else at + 1
        found = (moves.undone if step == "undo" else moves.redone)(now)
        assert found == (states[there] if 0 <= there < len(states) else None)
        if found is not None:
            at, now = there, found
    moves.forget()
    assert moves.undone(now) is None and moves.redone(now) is None
