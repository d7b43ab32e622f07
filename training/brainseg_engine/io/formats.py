"""The file formats that are read: ending → reader. A new format is one module and one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from brainseg_engine.errors import InputError
from brainseg_engine.io import mha, nifti
from brainseg_engine.io.image import Image

READERS: Mapping[str, Callable[[Path], Image]] = {".nii.gz": nifti.read, ".nii": nifti.read, ".mha": mha.read}
SUFFIXES = tuple(READERS)
"""The endings of the files that are read, in lower case."""


def read_image(path: Path) -> Image:
    """The image in that file. Raises InputError naming the file, the cause and the remedy."""
    name = path.name.lower()
    for suffix, read in READERS.items():
        if name.endswith(suffix):
            return read(path)
    raise InputError(f"{path} is no image of a known format. Known are {', '.join(SUFFIXES)}.")
