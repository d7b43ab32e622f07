"""What is put into a parcel comes out of it, and what is no parcel is refused."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from brainseg_engine.remote import parcels

kinds = st.sampled_from(["u1", "<i2", ">i2", "<f2", "<f4", ">f8", "?"])
arrays = st.dictionaries(
    st.text("abc:", min_size=1, max_size=6),
    kinds.flatmap(lambda k: hnp.arrays(k, hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5))),
    max_size=4,
)


def sent(fields, arrays=None, known=()) -> io.BytesIO:
    pipe = io.BytesIO()
    parcels.write(pipe, fields, arrays, known)
    pipe.seek(0)
    return pipe


@given(arrays, st.dictionaries(st.text(max_size=5), st.integers(-9, 9), max_size=3))
def test_what_is_sent_comes_out(given_arrays, fields):
    fields = {k: v for k, v in fields.items() if k != "arrays"}
    pipe = sent(fields, given_arrays)
    parcel = parcels.read(pipe)
    assert parcel.fields == fields and set(parcel.arrays) == set(given_arrays) and not pipe.read()
    for name, array in given_arrays.items():
        np.testing.assert_array_equal(parcel.arrays[name], array)
        assert parcel.arrays[name].shape == array.shape
        assert parcel.digests[name] == parcels.digest(parcel.arrays[name])


def test_an_array_that_is_there_is_not_sent_again():
    image, mask = np.arange(4000, dtype=np.int16), np.zeros((3, 2), np.uint8)
    first = parcels.read(sent({}, {"image": image}))
    known = {first.digests["image"]: first.arrays["image"]}
    pipe = sent({}, {"image": image, "mask": mask}, known)
    assert len(pipe.getvalue()) < 400
    again = parcels.read(pipe, known)
    np.testing.assert_array_equal(again.arrays["image"], image)
    np.testing.assert_array_equal(again.arrays["mask"], mask)
    pipe.seek(0)
    with pytest.raises(parcels.Damaged, match="did not come before"):
        parcels.read(pipe)


def test_a_fortran_array_and_a_slice_arrive_in_order():
    array = np.asfortranarray(np.arange(24).reshape(2, 3, 4))[:, ::-1]
    np.testing.assert_array_equal(parcels.read(sent({}, {"a": array})).arrays["a"], array)


@pytest.mark.parametrize("head", [
    {"dtype": "|O", "shape": [1], "digest": "", "bytes": 8}, {"dtype": "<f4", "shape": [2**30, 2**30], "digest": "", "bytes": 8},
    {"dtype": "<f4", "shape": [-1], "digest": "", "bytes": 8}, {"dtype": "<f4", "shape": [1], "digest": ""},
    {"dtype": "<f4", "shape": [1], "digest": "", "bytes": 3}, {"dtype": "<f4"}, 7,
])  # fmt: skip
def test_what_is_no_array_is_refused(head):
    pipe = io.BytesIO(json.dumps({"arrays": {"a": head}}).encode() + b"\nabcdefgh")
    with pytest.raises(parcels.Damaged):
        parcels.read(pipe)


def test_an_array_that_holds_more_than_it_says_is_refused_unopened():
    bomb = sent({}, {"a": np.zeros(10**7, np.uint8)}).getvalue().replace(b"[10000000]", b"[10]")
    with pytest.raises(parcels.Damaged, match="of 10 bytes came with 11"):
        parcels.read(io.BytesIO(bomb))


@given(st.integers(0, 400))
def test_wherever_it_is_cut_off_it_is_over(at):
    whole = sent({"do": "x"}, {"a": np.arange(50, dtype=np.float32)}).getvalue()
    if at < len(whole):
        with pytest.raises(EOFError):
            parcels.read(io.BytesIO(whole[:at]))
