"""The file formats that are read: ending → reader. A new format is one module and one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from brainseg_engine.core import plain
from brainseg_engine.core.errors import InputError
from brainseg_engine.io import metaimage, mgh, mha, nifti, nrrd, pair
from brainseg_engine.io.image import Header, Image, in_words, with_background

T = TypeVar("T")
READERS: Mapping[str, Callable[[Path], Image]] = {
    ".nii.gz": nifti.read,
    ".nii": nifti.read,
    ".mha": mha.read,
    ".mhd": mha.read,
    ".nrrd": nrrd.read,
    ".mgz": mgh.read,
    ".mgh": mgh.read,
    ".mgh.gz": mgh.read,
    **dict.fromkeys(pair.HEADERS, pair.read),
}
SUFFIXES = tuple(sorted(READERS, key=len, reverse=True))
"""The endings of the files that stand for an image, in lower case."""
PARTS = pair.VOXELS
"""The endings of files that hold an image's voxels, whose header stands for it: they are read when named, and not listed."""

_HEADERS: Mapping[str, Callable[[Path], Header]] = {
    ".nii.gz": nifti.read_header,
    ".nii": nifti.read_header,
    ".mha": mha.read_header,
    ".mhd": mha.read_header,
    ".nrrd": nrrd.read_header,
    ".mgz": mgh.read_header,
    ".mgh": mgh.read_header,
    ".mgh.gz": mgh.read_header,
    **dict.fromkeys(pair.HEADERS, pair.read_header),
}


@in_words
def read_header(path: Path) -> Header:
    """What the file tells before its voxels. Raises InputError naming the file, the cause and the remedy."""
    return _reader(path, _HEADERS)(path)


@in_words
def read_image(path: Path) -> Image:
    """The image in that file. Raises InputError naming the file, the cause and the remedy."""
    image = _reader(path, READERS)(path)
    return replace(image, data=with_background(image.data))


def beside(path: Path) -> dict[Path, str]:
    """The files without which that image cannot be read, and the endings or whole names that they must bear beside it."""
    lower = path.name.lower()
    if lower.endswith(pair.HEADERS):
        stem = path.name[: lower.rindex(".hdr")]
        own = [pair.partner(path), *(path.with_name(stem + mat) for mat in (".mat", ".mat.gz"))]
        return {p: p.name[len(stem) :] for p in own if p is not None and plain.is_file(p)}
    if lower.endswith(".mhd"):
        voxels = metaimage.read_header(path).file
        return {voxels: voxels.name} if voxels != path else {}
    return {}


def _reader(path: Path, readers: Mapping[str, Callable[[Path], T]]) -> Callable[[Path], T]:
    name = path.name.lower()
    for suffix in SUFFIXES:
        if name.endswith(suffix):
            return readers[suffix]
    if name.endswith(PARTS):
        return readers[pair.HEADERS[0]]
    raise InputError(f"{path} is no image of a known format. Known are {', '.join(SUFFIXES)}.")
