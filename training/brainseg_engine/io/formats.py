"""The file formats that are read: ending → reader. A new format is one module and one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from brainseg_engine.core.errors import InputError
from brainseg_engine.io import mha, nifti, nrrd
from brainseg_engine.io.image import Header, Image, in_words

T = TypeVar("T")
READERS: Mapping[str, Callable[[Path], Image]] = {
    ".nii.gz": nifti.read,
    ".nii": nifti.read,
    ".mha": mha.read,
    ".mhd": mha.read,
    ".nrrd": nrrd.read,
}
SUFFIXES = tuple(READERS)
"""The endings of the files that are read, in lower case."""


_HEADERS: Mapping[str, Callable[[Path], Header]] = {
    ".nii.gz": nifti.read_header,
    ".nii": nifti.read_header,
    ".mha": mha.read_header,
    ".mhd": mha.read_header,
    ".nrrd": nrrd.read_header,
}


@in_words
def read_header(path: Path) -> Header:
    """What the file tells before its voxels. Raises InputError naming the file, the cause and the remedy."""
    return _reader(path, _HEADERS)(path)


@in_words
def read_image(path: Path) -> Image:
    """The image in that file. Raises InputError naming the file, the cause and the remedy."""
    return _reader(path, READERS)(path)


def _reader(path: Path, readers: Mapping[str, Callable[[Path], T]]) -> Callable[[Path], T]:
    name = path.name.lower()
    for suffix, read in readers.items():
        if name.endswith(suffix):
            return read
    raise InputError(f"{path} is no image of a known format. Known are {', '.join(SUFFIXES)}.")
