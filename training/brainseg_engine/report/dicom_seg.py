"""A segmentation as a DICOM SEG on the frames of the series that was segmented.

Segments NCR, ED and ET do not overlap; WT and TC are derived of them and do. They are coded as the standard's context groups
7168 and 7169 (brain lesion segmentation) say. The SEG keeps the source's orientation, slice order and frame of reference and
refers to every instance of it: viewers that order frames by themselves rely on that.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import numpy as np

from brainseg_engine.core.errors import InputError
from brainseg_engine.core.labels import LABEL_NAMES, REGION_NAMES, Label, Region, region_mask
from brainseg_engine.core.palette import LABEL_COLOURS, REGION_COLOURS
from brainseg_engine.core.study import Segmentation
from brainseg_engine.io.derived.needed import highdicom
from brainseg_engine.io.derived.source import SourceSeries, transferred
from brainseg_engine.io.dicom.quiet import quiet
from brainseg_engine.report.identity import require_identity, uid_of

MANUFACTURER = "napari-brainseg developers"
SERIES_NUMBERS: Mapping[str, int] = {"seg": 9501, "rtstruct": 9502, "sr": 9503, "pdf": 9504, "sc": 9505}
USE = "research use only"

Code = tuple[str, str, str]
"""Value, scheme, meaning."""

ABNORMAL: Code = ("49755003", "SCT", "Morphologically Abnormal Structure")
BRAIN: Code = ("12738006", "SCT", "Brain")
CODES: Mapping[str, Code] = {
    "NCR": ("6574001", "SCT", "Necrosis"),
    "ED": ("79654002", "SCT", "Edema"),
    "ET": ("C113842", "NCIt", "Enhancing Lesion"),
    "WT": ("108369006", "SCT", "Neoplasm"),
    "TC": ("86049000", "SCT", "Neoplasm, Primary"),
}
"""Segment → its property type."""


@dataclass(frozen=True)
class Made:
    """Who made a segmentation: a model of that name and version, or a person (``automatic`` False where a person edited)."""

    name: str
    version: str
    automatic: bool = True

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Made:
        """From a report's record."""
        model = record.get("model") or {}
        name = model.get("name") or record.get("made_by") or "napari-brainseg"
        return cls(
            str(name)[:64], str(model.get("version") or "unknown")[:64], record.get("corrected_by_hand") is False
        )


def segments(segmentation: Segmentation) -> list[str]:
    """The segments that a mask gives, in their order: classes, then the regions that are made of several."""
    if set(segmentation.regions) == set(Region):
        return ["NCR", "ED", "ET", "WT", "TC"]
    return [r.value for r in segmentation.regions]


def write_seg(segmentation: Segmentation, source: SourceSeries, made: Made, *, labelmap: bool = False) -> Any:
    """The SEG as a dataset of highdicom, to be saved.

    ``labelmap``: one label map (the newer, much smaller kind, which not every viewer reads) of the classes alone. Raises
    InputError when the mask has other voxels than the source, or the source lacks what a SEG must tell.
    """
    hd = highdicom()
    require_identity(source)
    labels = transferred(segmentation, source.grid)
    if labels is None:
        raise InputError(
            f"The mask does not lie on the voxels of the series {source.description}, so no SEG can be made."
        )
    if (labels == Label.RC).any():
        logging.getLogger(__name__).warning(
            "The resection cavity is no part of the SEG: the context group has no code for it."
        )
    names = segments(segmentation)
    if labelmap:
        if names[0] != "NCR":
            raise InputError("A label map needs the classes NCR, ED and ET, which this mask does not tell apart.")
        names = names[:3]
    frames = source.frames(labels)
    masks = np.stack([_mask(frames, name) for name in names], axis=-1).astype(np.uint8)

    def uid(what: str) -> str:
        return uid_of(source, "SEG", what, masks, names, made, labelmap)

    with quiet():
        return hd.seg.Segmentation(
            source_images=list(source.instances),
            pixel_array=masks,
            segmentation_type="LABELMAP" if labelmap else "BINARY",
            segment_descriptions=[_description(hd, i, name, made, uid(name)) for i, name in enumerate(names, 1)],
            series_number=SERIES_NUMBERS["seg"],
            instance_number=1,
            series_instance_uid=uid("series"),
            sop_instance_uid=uid("instance"),
            manufacturer=MANUFACTURER,
            manufacturer_model_name="napari-brainseg",
            software_versions=metadata.version("napari-brainseg"),
            device_serial_number="1",
            content_label="BRAIN_TUMOUR",
            content_description=USE,
            series_description=f"Tumour segmentation ({USE})",
            omit_empty_frames=bool(masks.any()),
        )


def _mask(frames: Any, name: str) -> Any:
    return region_mask(frames, Region(name)) if name in Region.__members__ else frames == int(Label[name])


def _description(hd: Any, number: int, name: str, made: Made, uid: str) -> Any:
    colour = LABEL_COLOURS[Label[name]] if name in Label.__members__ else REGION_COLOURS[Region(name)]
    family = hd.sr.CodedConcept("123109", "DCM", "Artificial Intelligence")
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=name,
        segmented_property_category=hd.sr.CodedConcept(*ABNORMAL),
        segmented_property_type=hd.sr.CodedConcept(*CODES[name]),
        algorithm_type="AUTOMATIC" if made.automatic else "SEMIAUTOMATIC",
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=made.name, family=family, version=made.version, source=MANUFACTURER, parameters={"use": USE}
        ),
        anatomic_regions=[hd.sr.CodedConcept(*BRAIN)],
        tracking_id=f"{name} {name_of(name)}"[:64],
        tracking_uid=uid,
        display_color=hd.color.CIELabColor.from_rgb(*(round(255 * c) for c in colour)),
    )


def name_of(name: str) -> str:
    """A segment in words."""
    return REGION_NAMES[Region(name)] if name in Region.__members__ else LABEL_NAMES[Label[name]]
