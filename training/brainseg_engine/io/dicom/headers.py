"""The header of one DICOM file, as far as it tells what the image is and where its voxels lie.

One pass over the file, to the pixels and no further; only the elements named here are kept. Whatever is wrong with one
file is one sentence about that file (:class:`Unreadable`), which quotes no value of its header.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from brainseg_engine.core import plain
from brainseg_engine.io.dicom import tags as t
from brainseg_engine.io.dicom.values import number, numbers, text, texts

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Vector = tuple[float, float, float]

_DEFLATED = b"1.2.840.10008.1.2.1.99"
_INFLATED_LIMIT = 1 << 30
_UNDEFINED = 0xFFFFFFFF
_PIXELS = {0x7FE00008, 0x7FE00009, 0x7FE00010}


class Unreadable(Exception):
    """Why a file is no image that can be placed: ``reason`` is a clause like "is no DICOM file".

    ``lost``: it should have been one, and is damaged.
    """

    def __init__(self, reason: str, *, lost: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.lost = lost


@dataclass(frozen=True, slots=True)
class Instance:
    """One file: what all its frames share. ``truncated``: the pixels end before the header says they should."""

    path: Path
    sop_class: str
    sop_uid: str
    series_uid: str
    study_uid: str
    patient: tuple[str, str, str]
    study_date: str
    modality: str
    rows: int
    columns: int
    truncated: bool
    refusal: str
    header: Dataset = field(repr=False)


@dataclass(frozen=True, slots=True)
class Frame:
    """One slice: its place in LPS mm, the slope of its values, and what tells it from others at the same place.

    ``spacing``: (between rows, between columns) in mm; ``index`` counts from 0.
    """

    instance: Instance
    index: int
    position: Vector | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, float] | None
    slope: float
    intercept: float
    temporal: float | None
    echo_time: float | None
    b_value: float | None
    image_type: tuple[str, ...]
    acquisition: float | None
    time: str
    number: float | None
    inversion_time: float | None = None
    repetition_time: float | None = None
    flip: float | None = None


def read_frames(path: Path) -> list[Frame]:
    """The frames of the file. Raises Unreadable for a file that holds no image, OSError for one that cannot be opened."""
    with plain.opened(path) as file:
        header, truncated = _parse(file, os.fstat(file.fileno()).st_size)
    if text(header, t.SOP_CLASS) == t.DIRECTORY or t.DIRECTORY_RECORDS in header:
        raise Unreadable("is the directory of a DICOM medium")
    instance = _instance(path, header, truncated)
    if t.PER_FRAME in header or t.SHARED in header:
        from brainseg_engine.io.dicom.enhanced import frames

        return frames(instance)
    return [_classic(instance)]


def looks_like_dicom(head: bytes) -> bool:
    """True for the first 132 bytes of a DICOM file, with its preamble or (as old scanners wrote) without."""
    if head[128:132] == b"DICM":
        return True
    if len(head) < 16:
        return False
    group, element = struct.unpack("<HH", head[:4])
    if (group, element) not in {(0x0008, 0x0000), (0x0008, 0x0001), (0x0008, 0x0005), (0x0008, 0x0008), (0x0008, 0x0012),
                                (0x0008, 0x0016), (0x0008, 0x0018), (0x0002, 0x0000), (0x0002, 0x0001)}:  # fmt: skip
        return False
    explicit = head[4:6].isalpha() and head[4:6].isupper()
    return explicit or struct.unpack("<I", head[4:8])[0] <= 256


def _parse(file: BinaryIO, size: int) -> tuple[Dataset, bool]:
    """The elements of :data:`tags.KEPT`, and whether the pixels are cut short."""
    from pydicom.filereader import read_dataset, read_partial

    head = file.read(1024)
    if size == 0:
        raise Unreadable("is empty (0 bytes)", lost=True)
    if not looks_like_dicom(head):
        raise Unreadable("is no DICOM file")
    file.seek(0)
    pixels: list[tuple[int, int]] = []

    def at_pixels(tag: int, vr: str | None, length: int) -> bool:
        if int(tag) not in _PIXELS:
            return False
        pixels.append((int(tag), length))
        return True

    if _DEFLATED in head[132:]:
        stream, size = _inflated(file, head)
        header = read_dataset(stream, False, True, stop_when=at_pixels, specific_tags=list(t.KEPT))
    else:
        stream = file
        header = read_partial(file, at_pixels, force=True, specific_tags=list(t.KEPT))
    if not pixels:
        raise _no_image(text(header, t.SOP_CLASS))
    return header, _cut_short(stream, size, pixels[0][1])


def _inflated(file: BinaryIO, head: bytes) -> tuple[BinaryIO, int]:
    """The data set of a deflated file, as a stream and its length."""
    file.seek(144 + struct.unpack("<I", head[140:144])[0])
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = inflate.decompress(file.read(), _INFLATED_LIMIT)
    except zlib.error as e:
        raise Unreadable("is damaged: its deflated data cannot be inflated", lost=True) from e
    if not inflate.eof:
        grown = len(data) >= _INFLATED_LIMIT
        raise Unreadable(
            "inflates to more than 1 GiB" if grown else "is cut short: its deflated data end too early", lost=True
        )
    return io.BytesIO(data), len(data)


def _cut_short(file: BinaryIO, size: int, length: int) -> bool:
    """Whether the file ends before its pixels do. ``file`` stands at the pixel element."""
    lead = file.read(12)
    begin = file.tell() - (4 if lead[4:6] not in (b"OW", b"OB", b"OF", b"OD", b"UN") else 0)
    if length != _UNDEFINED:
        return begin + length > size
    file.seek(begin)
    while len(item := file.read(8)) == 8:  # the fragments of compressed frames, until the sequence's delimiter
        group, element, held = struct.unpack("<HHI", item)
        if (group, element) == (0xFFFE, 0xE0DD):
            return False
        if (group, element) != (0xFFFE, 0xE000) or file.tell() + held > size:
            return True
        file.seek(held, 1)
    return True


def _instance(path: Path, header: Dataset, truncated: bool) -> Instance:
    sop_class = text(header, t.SOP_CLASS)
    patient = (text(header, t.PATIENT_ID), str((header.get(t.PATIENT_NAME, "") and header[t.PATIENT_NAME].value) or ""),
               text(header, t.BIRTH_DATE))  # fmt: skip
    return Instance(
        path=path,
        sop_class=sop_class,
        sop_uid=text(header, t.SOP_UID),
        series_uid=text(header, t.SERIES_UID),
        study_uid=text(header, t.STUDY_UID),
        patient=patient,
        study_date=text(header, t.STUDY_DATE),
        modality=text(header, t.MODALITY),
        rows=int(number(header, t.ROWS) or 0),
        columns=int(number(header, t.COLUMNS) or 0),
        truncated=truncated,
        refusal=_refusal(header),
        header=header,
    )


def _refusal(header: Dataset) -> str:
    """Why the pixels are no slice of a volume, as a sentence; "" when they are."""
    if (number(header, t.SAMPLES) or 1) > 1:
        return "It holds colour pictures (a screen or a colour map), no measured intensities."
    if "MOSAIC" in texts(header, t.IMAGE_TYPE):
        return ("It is a Siemens mosaic (all slices of a time point tiled into one picture), as functional and diffusion "
                "series are: these are not read.")  # fmt: skip
    return ""


def _classic(instance: Instance) -> Frame:
    header = instance.header
    position, orientation, spacing = (numbers(header, tag) for tag in (t.POSITION, t.ORIENTATION, t.PIXEL_SPACING))
    if (number(header, t.FRAMES) or 1) > 1:
        position = ()  # several frames and one position: it places none of them
    temporal = number(header, t.TEMPORAL_POSITION)
    return Frame(
        instance=instance,
        index=0,
        position=_three(position),
        orientation=orientation if len(orientation) == 6 and any(orientation) else None,
        spacing=(spacing[0], spacing[1]) if len(spacing) == 2 and min(spacing) > 0 else None,
        slope=number(header, t.SLOPE) or 1.0,
        intercept=number(header, t.INTERCEPT) or 0.0,
        temporal=temporal,
        echo_time=number(header, t.ECHO_TIME),
        b_value=_b_value(header),
        image_type=texts(header, t.IMAGE_TYPE),
        acquisition=number(header, t.ACQUISITION_NUMBER),
        time=text(header, t.ACQUISITION_TIME) or text(header, t.CONTENT_TIME),
        number=number(header, t.INSTANCE_NUMBER),
        inversion_time=number(header, t.INVERSION_TIME),
    )


def _three(values: tuple[float, ...]) -> Vector | None:
    return (values[0], values[1], values[2]) if len(values) == 3 else None


def _b_value(header: Any) -> float | None:
    """The b-value of the standard, else of the vendor's own element; None where there is none."""
    value = number(header, t.B_VALUE)
    vendor = text(header, t.MANUFACTURER).upper()
    if value is None and vendor.startswith("SIEMENS"):
        return number(header, t.B_VALUE_SIEMENS)
    ge = numbers(header, t.B_VALUE_GE) if value is None and vendor.startswith("GE") else ()
    return ge[0] % 1_000_000 if ge else value  # GE adds a billion to it in some releases


_NO_IMAGES = {
    "1.2.840.10008.5.1.4.1.1.11.": "is a presentation state, no image",
    "1.2.840.10008.5.1.4.1.1.88.": "is a structured report, no image",
    "1.2.840.10008.5.1.4.1.1.104.": "is an encapsulated document, no image",
    "1.2.840.10008.5.1.4.1.1.481.": "is a radiotherapy object, no image",
    "1.2.840.10008.5.1.4.1.1.66": "is raw data or a registration, no image",
    "1.2.840.10008.5.1.4.1.1.4.2": "is spectroscopy, no image",
    "1.2.840.10008.5.1.4.1.1.9.": "is a waveform, no image",
}


def _no_image(sop_class: str) -> Unreadable:
    from pydicom.uid import UID

    other = next((words for start, words in _NO_IMAGES.items() if sop_class.startswith(start)), "")
    if other:
        return Unreadable(other)
    image = not sop_class or "Image Storage" in UID(sop_class).name
    return Unreadable("is cut short: it ends before its pixels", lost=True) if image else Unreadable("holds no image")
