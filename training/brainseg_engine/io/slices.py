"""Image slices: a folder of 8-bit RGB TIFF pictures ``<id>_<n>.tif`` with ``<id>_<n>_mask.tif``, as the LGG set comes.

The three colours are three series: before contrast (T1), FLAIR, and after contrast (T1ce) (Buda et al. 2019,
doi:10.1016/j.compbiomed.2019.05.002). Pictures tell no voxel size: the grid is not calibrated.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from brainseg_engine.core import labels as codings
from brainseg_engine.core import plain
from brainseg_engine.core.errors import BrainsegError, GeometryError, InputError, OutputError
from brainseg_engine.core.geometry import SLICES_AFFINE, Grid
from brainseg_engine.core.paths import part_folder
from brainseg_engine.core.study import Modality, Segmentation, Volume
from brainseg_engine.io.image import content_hash, in_words, require_size, unreadable
from brainseg_engine.io.series import Layout, Series

CHANNELS = (Modality.T1, Modality.FLAIR, Modality.T1CE)
"""What red, green and blue are."""

NAMES_KNOWN = "<id>_<number>.tif and <id>_<number>_mask.tif"
_NAME = re.compile(r"(?P<id>.+)_(?P<number>\d+)(?P<mask>_mask)?\.tiff?", re.IGNORECASE)
_BITS = 258  # the TIFF tag BitsPerSample


@dataclass(frozen=True)
class Slices:
    """The pictures of one patient: number → file, in order of the numbers."""

    id: str
    folder: Path
    images: Mapping[int, Path]
    masks: Mapping[int, Path]

    @property
    def gaps(self) -> list[int]:
        """Numbers between the first and the last that are absent."""
        return [n for n in range(min(self.images), max(self.images)) if n not in self.images]


def is_slices(folder: Path) -> bool:
    """True for a folder whose pictures are named after it, or have masks beside them. Other TIFF files are not ours."""
    try:
        matches = [m for p in folder.iterdir() if (m := _match(p)) is not None]
    except OSError:
        return False
    name = folder.resolve().name
    return any(m["mask"] or m["id"] == name for m in matches)


@in_words
def find(folder: Path) -> Series:
    """The folder's slices as series. Raises InputError as :func:`list_slices`."""
    slices_there = list_slices(folder)
    notes: tuple[str, ...] = ()
    if slices_there.gaps:
        notes = (f"{folder} has no slice {_numbers(slices_there.gaps)}: its neighbours are put next to each other.",)
    files = dict.fromkeys((m for m in Modality if m in CHANNELS), folder)
    mask = folder if slices_there.masks else None
    return Series(slices_there.id, files, mask, "lgg", folder=folder, layout=Layout.SLICES, notes=notes)


@in_words
def list_slices(folder: Path) -> Slices:
    """What lies in the folder. Raises InputError: no slices, several patients, a number twice, masks that are missing."""
    images: dict[int, Path] = {}
    masks: dict[int, Path] = {}
    ids: set[str] = set()
    try:
        children = sorted(folder.iterdir())
    except OSError as e:
        raise unreadable(folder, e) from e
    for path in children:
        match = _match(path)
        if match is None:
            continue
        ids.add(match["id"])
        kind, number = masks if match["mask"] else images, int(match["number"])
        if number in kind:
            raise InputError(f"{path} and {kind[number]} have the same slice number. Move one of them away.")
        kind[number] = path
    if not images:
        raise InputError(f"{folder} holds no image slices. They are named {NAMES_KNOWN}.")
    if len(ids) > 1:
        raise InputError(
            f"{folder} holds the slices of {len(ids)} patients ({', '.join(sorted(ids)[:3])}{', …' if len(ids) > 3 else ''}). "
            "Put those of each into a folder of its own."
        )
    _require_partners(folder, images, masks)
    return Slices(ids.pop(), folder, _in_order(images), _in_order(masks))


@in_words
def read(folder: Path) -> dict[Modality, Volume]:
    """T1, FLAIR and T1ce, each (X = columns, Y = rows, Z = slices by number) uint8 on one grid that is not calibrated.

    Raises InputError naming the picture: damaged, not 8-bit RGB, of another size than the first, or only one.
    """
    slices_there = list_slices(folder)
    width, height = header(next(iter(slices_there.images.values())))
    require_size((width, height, len(slices_there.images), 3), 1, folder)
    stack = _stack(
        [_picture(p, ("RGB",), "three channels (RGB)") for p in slices_there.images.values()], slices_there.images
    )
    grid = Grid(stack.shape[:3], SLICES_AFFINE, calibrated=False)
    channels = {}
    for i, m in enumerate(CHANNELS):
        data = np.asfortranarray(stack[..., i])
        data.setflags(write=False)
        channels[m] = Volume(data, grid, m, sha256=content_hash(data, SLICES_AFFINE))
    return {m: channels[m] for m in Modality if m in channels}


@in_words
def read_mask(folder: Path, coding: str | None = None) -> Segmentation:
    """The masks of a folder of slices, coding ``lgg`` unless another is named. Raises InputError, CodingError."""
    masks = list_masks(folder)
    table = codings.coding(coding or "lgg")
    labels = [table.to_canonical(_picture(path, ("L", "1"), "one channel"), str(path)) for path in masks.values()]
    stack = _stack(labels, masks)
    regions = (codings.Region.WT,) if table.name == "lgg" else tuple(codings.Region)
    return Segmentation(stack, Grid(stack.shape, SLICES_AFFINE, False), table.name, "", regions, folder)


def holds_masks(folder: Path) -> bool:
    """True for a folder with masks of slices."""
    try:
        return any(m["mask"] for p in folder.iterdir() if (m := _match(p)) is not None)
    except OSError:
        return False


@in_words
def list_masks(folder: Path) -> Mapping[int, Path]:
    """Number → mask, in order. The pictures need not be there too. Raises InputError where there is no mask."""
    try:
        masks = {int(m["number"]): p for p in folder.iterdir() if (m := _match(p)) is not None and m["mask"]}
    except OSError as e:
        raise unreadable(folder, e) from e
    if not masks:
        raise InputError(f"{folder} holds no masks of slices. They are named <id>_<number>_mask.tif.")
    return _in_order(masks)


def save_slices(segmentation: Segmentation, source: Path, out: Path, *, overwrite: bool = False) -> list[Path]:
    """Write one mask a slice of ``source`` into the folder ``out``, 0 and 255, of the same size and numbering.

    Returns the files. Nothing is written when one of them is there already, unless ``overwrite``. Raises OutputError,
    CodingError for classes other than "tumour", GeometryError for a segmentation of other slices.
    """
    slices_there = list_slices(source)
    first = _picture(next(iter(slices_there.images.values())), ("RGB",), "three channels (RGB)")
    expected = (first.shape[1], first.shape[0], len(slices_there.images))
    if segmentation.labels.shape != expected:
        held, wanted = ("×".join(map(str, s)) for s in (segmentation.labels.shape, expected))
        raise GeometryError(
            f"The segmentation has {held} voxels and the slices of {source} are {wanted}, so it is not theirs."
        )
    values = codings.coding("lgg").from_canonical(segmentation.labels, f"The segmentation of {slices_there.id}")
    targets = [out / f"{path.stem}_mask.tif" for path in slices_there.images.values()]
    there = next((t for t in targets if t.exists()), None)
    if there is not None and not overwrite:
        raise OutputError(f"{there} is there already. Choose another folder, or say that it may be overwritten.")
    try:
        out.mkdir(parents=True, exist_ok=True)
        with part_folder(out) as parts:  # all are there before the first is moved
            for i, target in enumerate(targets):
                Picture.fromarray(np.ascontiguousarray(values[:, :, i].T)).save(parts / target.name, format="TIFF")
            for target in targets:
                (parts / target.name).replace(target)
    except OSError as e:
        raise OutputError(
            f"Cannot write into {out}: {e.strerror or e}. Free some space or choose another place."
        ) from e
    return targets


@in_words
def header(path: Path) -> tuple[int, int]:
    """Columns and rows of one slice; no pixel is read. Raises InputError unless it is 8-bit RGB."""
    with _opened(path) as picture:
        _require_kind(picture, path, ("RGB",), "three channels (RGB)")
        width, height = picture.size
        return int(width), int(height)


def _match(path: Path) -> re.Match[str] | None:
    return None if path.name.startswith(".") else _NAME.fullmatch(path.name)


def _in_order(files: Mapping[int, Path]) -> Mapping[int, Path]:
    return {n: files[n] for n in sorted(files)}


def _require_partners(folder: Path, images: Mapping[int, Path], masks: Mapping[int, Path]) -> None:
    if not masks:
        return
    without, alone = sorted(images.keys() - masks.keys()), sorted(masks.keys() - images.keys())
    if without:
        raise InputError(f"In {folder} slice {_numbers(without)} has no mask, and others have one. Add what is missing: an "
                         "empty mask where there is no tumour.")  # fmt: skip
    if alone:
        raise InputError(
            f"In {folder} slice {_numbers(alone)} has a mask and no image. Add the image, or move the mask away."
        )


def _picture(path: Path, modes: tuple[str, ...], kind: str) -> NDArray[np.uint8]:
    """(rows, columns[, 3]) uint8. Raises InputError for a picture that is damaged or of another kind."""
    with _opened(path) as picture:
        _require_kind(picture, path, modes, kind)
        require_size((*picture.size, len(picture.getbands())), 1, path)
        try:
            return np.asarray(picture if picture.mode != "1" else picture.convert("L"))
        except BrainsegError:
            raise
        except Exception as e:  # damaged directories astonish Pillow in many ways
            raise InputError(
                f"{path} is damaged or cut short: its pixels cannot be read. Copy or download it again."
            ) from e


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The picture, without Pillow's remarks on standard error about what is said in words anyway."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with _open(path) as picture:
            yield picture


def _open(path: Path) -> Any:
    try:
        plain.require(path)
        return Picture.open(path, formats=("TIFF",))
    except OSError as e:
        if e.errno is not None:
            raise unreadable(path, e) from e
        raise _no_tiff(path) from e
    except Exception as e:  # damaged directories astonish Pillow in many ways
        raise _no_tiff(path) from e


def _no_tiff(path: Path) -> InputError:
    empty = path.is_file() and not path.stat().st_size
    what = "is empty (0 bytes)" if empty else "is no TIFF image, or damaged"
    return InputError(f"{path} {what}. Copy or download it again.")


def _require_kind(picture: Any, path: Path, modes: tuple[str, ...], kind: str) -> None:
    bits = set(picture.tag_v2.get(_BITS, (1,)))  # Pillow gives 16-bit colours with half of their bits
    if picture.mode not in modes or not bits <= {1, 8}:
        held = len(picture.getbands())
        raise InputError(f"{path} has {held} channel{'s' * (held > 1)} of {max(bits)} bits, and {kind} of 8 bits are "
                         "expected. Export the slices again.")  # fmt: skip
    if getattr(picture, "n_frames", 1) > 1:
        raise InputError(f"{path} holds {picture.n_frames} pictures, and one slice is expected. Save each as a file.")


def _stack(pictures: list[Any], files: Mapping[int, Path]) -> NDArray[Any]:
    """(rows, columns, …) each → (columns, rows, slices, …). Raises InputError for sizes that differ, or a single slice."""
    paths = list(files.values())
    for picture, path in zip(pictures, paths, strict=True):
        if picture.shape != pictures[0].shape:
            size, other = (f"{p.shape[1]}×{p.shape[0]}" for p in (picture, pictures[0]))
            raise InputError(f"{path} has {size} pixels, and {paths[0].name} {other}. All slices must have one size.")
    if len(pictures) < 2:
        raise InputError(f"{paths[0].parent} holds a single slice, and a stack of them is expected. Add the others.")
    stack: NDArray[Any] = np.stack(pictures, axis=2)
    return np.ascontiguousarray(np.swapaxes(stack, 0, 1))


def _numbers(numbers: list[int]) -> str:
    return ", ".join(str(n) for n in numbers[:5]) + (f" and {len(numbers) - 5} more" if len(numbers) > 5 else "")
