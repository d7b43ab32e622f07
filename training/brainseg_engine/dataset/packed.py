"""A preprocessed case as it lies in the cache: of the image the voxels that are not the air around it, of the labels their box.

Two thirds of a brain's box are air, and a series of 8 bits has 256 values: a case takes a third to a sixth of its arrays, and
nothing of it is lost. It is unpacked slab by slab along the first spatial axis, so that a slice is no more work than a slice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from brainseg_engine.core.labels import LabelArray

Tensors = Mapping[str, torch.Tensor]
_FEW, _SOME = 2**8, 2**16
"""Values that a code of 8 bits, of 16 bits tells apart."""


def pack(image: NDArray[Any], labels: LabelArray) -> dict[str, torch.Tensor]:
    """Image (C, A, B, D), float16 or float32, and labels (A, B, D) → tensors for :func:`image_of` and :func:`labels_of`."""
    fill = image[:, 0, 0, 0].copy()
    inside = (image != fill[:, None, None, None]).any(axis=0).reshape(image.shape[1], -1)
    ends = np.concatenate([[0], np.cumsum(inside.sum(axis=1))])
    arrays = {
        "shape": np.array(image.shape, np.int64), "fill": fill, "inside": np.packbits(inside, axis=1), "ends": ends
    }  # fmt: skip
    flat = inside.ravel()
    for n, channel in enumerate(image):
        codes, values = _coded(channel.reshape(-1)[flat])
        arrays[f"codes{n}"] = codes
        if values is not None:
            arrays[f"values{n}"] = values
    there = [np.flatnonzero(labels.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    first = [int(t[0]) if t.size else 0 for t in there]
    box = tuple(slice(f, int(t[-1]) + 1 if t.size else 0) for f, t in zip(first, there, strict=True))
    arrays |= {"labels": np.ascontiguousarray(labels[box]), "labels_first": np.array(first, np.int64)}
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def shape_of(tensors: Tensors) -> tuple[int, ...]:
    """Of the image (C, A, B, D)."""
    return tuple(int(n) for n in tensors["shape"])


def image_of(tensors: Tensors, first: int = 0, last: int | None = None) -> torch.Tensor:
    """The image from ``first`` up to ``last`` along A: (C, last - first, B, D) float32, an array of its own."""
    channels, long, *across = shape_of(tensors)
    last = long if last is None else last
    inside = np.unpackbits(tensors["inside"][first:last].numpy(), axis=1, count=across[0] * across[1])
    there, ends = inside.ravel().view(np.bool_), tensors["ends"]
    where = slice(int(ends[first]), int(ends[last]))
    out = np.empty((channels, there.size), np.float32)
    for n, channel in enumerate(out):
        channel.fill(float(tensors["fill"][n]))
        codes = tensors[f"codes{n}"][where].numpy()
        values = tensors.get(f"values{n}")
        if values is not None:
            kind = np.uint8 if codes.dtype == np.uint8 else np.uint16
            channel[there] = values.numpy().astype(np.float32)[codes.view(kind)]
        else:
            channel[there] = codes
    return torch.from_numpy(out.reshape(channels, last - first, *across))


def labels_of(tensors: Tensors) -> torch.Tensor:
    """The labels (A, B, D) uint8, an array of their own."""
    box, first = tensors["labels"], tensors["labels_first"].tolist()
    out = torch.zeros(shape_of(tensors)[1:], dtype=torch.uint8)
    out[tuple(slice(f, f + n) for f, n in zip(first, box.shape, strict=True))] = box
    return out


def _coded(values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """The values as numbers into a table of them, where that is smaller; else as they are, and None."""
    if values.dtype == np.float16:
        bits = values.view(np.uint16)
        present = np.zeros(2**16, np.bool_)
        present[bits] = True
        table = np.flatnonzero(present).astype(np.uint16)
        if table.size > _FEW:
            return values, None
        return (np.cumsum(present) - 1).astype(np.uint8)[bits], table.view(np.float16)
    distinct = np.unique(values)
    if distinct.size > _SOME:
        return values, None
    codes = np.searchsorted(distinct, values)
    # torch keeps no uint16 in a file that every version reads
    return codes.astype(np.uint8) if distinct.size <= _FEW else codes.astype(np.uint16).view(np.int16), distinct
