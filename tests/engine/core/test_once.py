"""An answer is kept for an array that nobody can change, and for no other."""

import gc

import numpy as np

from brainseg_engine.core import once as module
from brainseg_engine.core.once import once


def asked(array, key="sum"):
    calls = []
    answer = once([array], key, lambda: calls.append(1) or float(array.sum()))
    return answer, len(calls)


def frozen(n):
    array = np.full(4, n)
    array.setflags(write=False)
    return array


def test_the_same_array_is_asked_once_a_question():
    array = frozen(2)
    assert [asked(array), asked(array), asked(array, "other")] == [(8, 1), (8, 0), (8, 1)]
    assert asked(np.frombuffer(b"abcd", np.uint8))[1] == 1


def test_what_can_be_changed_is_asked_each_time():
    array = np.ones(4)
    view = array[:]
    view.setflags(write=False)  # and yet it changes with the array
    for changing in (array, view):
        assert [asked(changing)[1], asked(changing)[1]] == [1, 1]
    array[0] = 5
    assert asked(view)[0] == 8


def test_another_array_at_the_same_place_is_asked_anew():
    for n in range(50):
        array = frozen(n)
        assert asked(array) == (4 * n, 1)
        del array
        gc.collect()
    many = [frozen(n) for n in range(module.MOST + 5)]
    assert all(asked(a)[1] == 1 for a in many) and len(module._kept) == module.MOST
    assert asked(many[-1])[1] == 0 and asked(many[0])[1] == 1
