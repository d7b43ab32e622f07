"""The voxels of a series, decoded when they are needed; whatever compresses them, the values are those that were measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core import plain
from brainseg_engine.core.errors import Cancelled, InputError
from brainseg_engine.core.events import CancelCheck, Progress, ProgressCallback, never, silent
from brainseg_engine.io.dicom import codestream, rle
from brainseg_engine.io.dicom.codestream import Codestream
from brainseg_engine.io.dicom.quiet import MISSING, quiet
from brainseg_engine.io.found import ImageSeries, SliceSource
from brainseg_engine.io.image import require_size

_PIXEL_ELEMENTS = (
    *(0x00280002, 0x00280004, 0x00280006, 0x00280008, 0x00280010, 0x00280011, 0x00280100, 0x00280101, 0x00280102),
    *(0x00280103, 0x7FE00001, 0x7FE00002, 0x7FE00008, 0x7FE00009, 0x7FE00010),
)

_HTJ2K = tuple(f"1.2.840.10008.1.2.4.20{n}" for n in (1, 2, 3))


def read_voxels(
    series: ImageSeries, progress: ProgressCallback = silent, cancelled: CancelCheck = never
) -> NDArray[Any]:
    """The array (X, Y, Z) on the series' grid, read-only. Missing slices are 0.

    Integers stay integers where no slice is scaled; else float32. Raises InputError naming the file and the cause.
    """
    assert series.grid is not None
    columns, rows, depth = series.grid.shape
    if series.slices:
        require_size(series.grid.shape, 4, series.slices[0].path)
    plain = all(s.slope == 1 and s.intercept == 0 for s in series.slices)
    volume: NDArray[Any] | None = None
    with quiet():
        for done, (path, sources) in enumerate(_by_file(series.slices)):
            for source, stored in zip(sources, stored_frames(path, [s.frame - 1 for s in sources]), strict=True):
                if stored.shape != (rows, columns):
                    raise InputError(f"{path} decodes to {stored.shape[1]}×{stored.shape[0]} pixels, and its header says "
                                     f"{columns}×{rows}. Export the series again.")  # fmt: skip
                values = stored if plain else (stored * np.float64(source.slope) + source.intercept).astype(np.float32)
                if volume is None:
                    volume = np.zeros((depth, rows, columns), dtype=values.dtype)
                elif not np.can_cast(values.dtype, volume.dtype):
                    volume = volume.astype(np.promote_types(volume.dtype, values.dtype))
                volume[source.k] = values
            if cancelled():
                raise Cancelled()
            progress(Progress("reading", (done + 1) / len(series.slices)))
    if volume is None:
        raise InputError("The series has no slice that can be read.")
    volume.setflags(write=False)
    return volume.transpose(2, 1, 0)


def _by_file(slices: Sequence[SliceSource]) -> list[tuple[Path, list[SliceSource]]]:
    files: dict[Path, list[SliceSource]] = {}
    for s in slices:
        files.setdefault(s.path, []).append(s)
    return list(files.items())


def stored_frames(path: Path, indices: Sequence[int]) -> list[NDArray[Any]]:
    """The stored values of these frames (rows, columns), whatever else the file's unused bits hold."""
    from pydicom import dcmread
    from pydicom.pixels import iter_pixels

    dataset: Any = None
    try:
        with plain.opened(path) as file:
            dataset = dcmread(file, force=True, specific_tags=list(_PIXEL_ELEMENTS))
        if "TransferSyntaxUID" not in dataset.file_meta:
            dataset.file_meta.TransferSyntaxUID = _syntax(*dataset.original_encoding)
        if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
            decoded = _decompressed(dataset, indices)
        else:
            decoded = list(iter_pixels(dataset, indices=list(indices), raw=True))
    except OSError as e:
        raise InputError(f"{path} cannot be read: {e.strerror or e}. Copy it to another place and try again.") from None
    except MemoryError:
        raise
    except Exception:  # decoders raise whatever they like; their words may quote the header
        raise InputError(_undecodable(path, dataset)) from None
    return [_measured(frame, dataset) for frame in decoded]


def _decompressed(dataset: Any, indices: Sequence[int]) -> list[NDArray[Any]]:
    """The frames of compressed pixels. A codestream that tells other sizes than the header is refused (ValueError): its
    decoder would take the memory for them, and end the program where there is not so much."""
    from pydicom import uid
    from pydicom.encaps import get_frame
    from pydicom.pixels import iter_pixels

    syntax, wanted = (
        dataset.file_meta.TransferSyntaxUID,
        Codestream(dataset.Rows, dataset.Columns, dataset.SamplesPerPixel),
    )
    frames = int(dataset.get("NumberOfFrames") or 1)
    if syntax == uid.RLELossless and wanted.components == 1:
        kind = np.dtype(f"{'i' if dataset.PixelRepresentation else 'u'}{int(dataset.BitsAllocated) // 8}")
        streams = (get_frame(dataset.PixelData, i, number_of_frames=frames) for i in indices)
        return [rle.decoded(stream, wanted.rows, wanted.columns, kind) for stream in streams]
    if syntax in (*uid.JPEGTransferSyntaxes, *uid.JPEGLSTransferSyntaxes, *uid.JPEG2000TransferSyntaxes, *_HTJ2K):
        for i in indices:
            if codestream.size_of(get_frame(dataset.PixelData, i, number_of_frames=frames)) != wanted:
                raise ValueError
    return list(iter_pixels(dataset, indices=list(indices), raw=True))


def _syntax(implicit: bool | None, little: bool | None) -> str:
    """The transfer syntax of a file that does not name its own."""
    from pydicom import uid

    if implicit or implicit is None:
        return str(uid.ImplicitVRLittleEndian)
    return str(uid.ExplicitVRBigEndian if little is False else uid.ExplicitVRLittleEndian)


def _measured(stored: NDArray[Any], dataset: Any) -> NDArray[Any]:
    """Stored values without the overlay planes that old scanners kept in unused high bits, and white as high."""
    if stored.dtype.kind not in "iu":
        return stored
    bits, kept = 8 * stored.dtype.itemsize, int(dataset.get("BitsStored", 8 * stored.dtype.itemsize))
    high = int(dataset.get("HighBit", kept - 1))
    if not 0 < kept <= bits or not kept - 1 <= high < bits:
        kept, high = bits, bits - 1
    if kept < bits:
        # to the top and back: the sign comes along with signed values
        stored = (stored << (bits - 1 - high)) >> (bits - kept)
    if dataset.get("PhotometricInterpretation") == "MONOCHROME1":
        return ((1 << kept) - 1 - stored if stored.dtype.kind == "u" else -1 - stored).astype(stored.dtype)
    return stored


def _undecodable(path: Path, dataset: Any) -> str:
    from pydicom.pixels import get_decoder
    from pydicom.uid import UID

    syntax = UID(str(getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", "")))
    named = syntax.name if syntax and not syntax.is_private and syntax.name != str(syntax) else "an unknown syntax"
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        return f"{path} is compressed as {named}, which cannot be read here. Export the series uncompressed."
    if not decoder.is_available:
        return f"{path} is compressed as {named}. {MISSING}"
    return f"{path} is damaged: its pixels ({named}) cannot be decoded. Export or copy it again."
