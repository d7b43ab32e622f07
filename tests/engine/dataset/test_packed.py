"""What is packed is unpacked unchanged, whole or slab by slab, and takes less where there is air."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from brainseg_engine.dataset.packed import image_of, labels_of, pack, shape_of

SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9), st.integers(1, 9))


@settings(max_examples=60, deadline=None)
@given(
    SHAPES,
    st.integers(0, 2**32 - 1),
    st.sampled_from([np.float16, np.float32]),
    st.sampled_from([3, 200, 300, 70_000]),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.sampled_from([0.0, -9.0, 3.25]),
)
def test_whole_and_in_slabs_it_is_what_it_was(shape, seed, kind, values, air, outside):
    rng = np.random.default_rng(seed)
    image = (rng.integers(0, values, shape) / 16).astype(kind)
    image[:, rng.random(shape[1:]) < air] = outside
    labels = rng.choice([0, 0, 0, 0, 3], shape[1:]).astype(np.uint8)
    tensors = pack(image, labels)
    assert shape_of(tensors) == shape
    whole = image_of(tensors)
    assert whole.dtype == torch.float32
    np.testing.assert_array_equal(whole.numpy(), image.astype(np.float32))
    np.testing.assert_array_equal(labels_of(tensors).numpy(), labels)
    first = int(rng.integers(0, shape[1]))
    last = int(rng.integers(first, shape[1])) + 1
    np.testing.assert_array_equal(image_of(tensors, first, last).numpy(), whole[:, first:last].numpy())


@pytest.mark.parametrize(("values", "least"), [(127, 5.0), (4096, 2.5)])
def test_air_and_few_values_take_less(values, least):
    """A ball of a third of its box, of 7 bits and of 12."""
    axes = np.meshgrid(*(np.linspace(-1, 1, 40),) * 3, indexing="ij")
    brain = sum(a**2 for a in axes) < 0.75
    image = np.random.default_rng(0).integers(1, values, (4, 40, 40, 40)) * brain
    image = (image / values * 7 - 3).astype(np.float16)
    labels = np.zeros((40, 40, 40), np.uint8)
    labels[10:20, 12:18, 20:30] = 2
    packed = sum(t.nbytes for t in pack(image, labels).values())
    assert brain.mean() < 0.4 and (image.nbytes + labels.nbytes) / packed > least
