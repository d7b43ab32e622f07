"""What is kept of one correction, and its JSON form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, PlainSerializer

from brainseg_engine.core.forms import Count, FileName, Form, Moment, Number, Short, Text
from brainseg_engine.core.labels import REGION_LABELS, Label, LabelArray, Region
from brainseg_engine.core.study import Modality

FORMAT = "napari-brainseg-correction/1"


class CorrectionState(StrEnum):
    """Where a version stands. It only moves on: draft → accepted → excluded."""

    DRAFT = "draft"
    ACCEPTED = "accepted"
    EXCLUDED = "excluded"


class Writer(IntEnum):
    """Who wrote a voxel of a mask last, as far as proposals are concerned."""

    NOBODY = 0
    """Nobody since the answer, or a person where nothing was proposed."""
    PERSON = 1
    """A person, over what was proposed."""
    PROPOSAL = 2
    """A proposal (or a draft) that was taken over."""


Writers = NDArray[np.uint8]
"""(X, Y, Z) of :class:`Writer`, on the grid of the labels."""


@dataclass(frozen=True)
class BaseModel:
    """The model whose answer was corrected: its name, version, the SHA-256 of its file; and that of its answer's labels."""

    name: Text = ""
    version: Text = ""
    sha256: Text = ""
    answer_sha256: Text = ""


@dataclass(frozen=True)
class Tally:
    """Of one class: ``voxels`` in the correction, and how many came (``added``) or went (``removed``) since the answer."""

    voxels: Count
    added: Count
    removed: Count


def tally(labels: LabelArray, base: LabelArray | None) -> dict[Label, Tally]:
    """Class → numbers, of all classes that either holds. ``base``: the model's answer; None counts as empty."""
    before = base if base is not None else np.zeros_like(labels)
    pairs = np.bincount((before.astype(np.uint16) * 256 + labels).ravel(), minlength=1 << 16).reshape(256, 256)
    now, then, kept = pairs.sum(axis=0), pairs.sum(axis=1), np.diag(pairs)
    return {
        label: Tally(int(now[label]), int(now[label] - kept[label]), int(then[label] - kept[label]))
        for label in Label
        if label and (now[label] or then[label])
    }


def proposed_of(labels: LabelArray, writers: Writers | None) -> dict[Label, int]:
    """Class → voxels that are what a proposal made of them; {} without any."""
    if writers is None:
        return {}
    counted = np.bincount(labels[writers == Writer.PROPOSAL].ravel(), minlength=256)
    return {label: int(counted[label]) for label in Label if counted[label]}


def _class_of(name: object) -> Label:
    if name not in Label.__members__:
        raise ValueError(f"there is no class '{str(name)[:40]}'")
    return Label[str(name)]


LabelName = Annotated[Label, BeforeValidator(_class_of), PlainSerializer(lambda label: label.name)]


@dataclass(frozen=True)
class Correction:
    """One version. ``study`` is the key of its study (see ``identity``), ``images`` modality → hash of each image.

    ``by`` is the name a person gave, "" for none; ``when`` is UTC; ``minutes`` of active editing; ``changed`` against the
    base model's answer; ``coding`` of the file, ``study_coding`` that of the study. ``held_out``: kept for testing, never
    for training. ``study_id`` and ``folder`` are "" unless the person wanted them recorded. ``others`` worked on it too,
    before a restart; ``proposed``: class → voxels that a proposal wrote and nobody after it, which the file ``writers`` tells
    one by one (its hash is ``writers_sha256``, "" where there is none).
    """

    id: FileName
    study: Short
    mask: Path
    images: Mapping[Modality, Short]
    reference: Modality
    coding: Short
    study_coding: Short
    base: Annotated[BaseModel, Field(alias="base_model")]
    when: Moment
    mask_sha256: Short
    by: Text = ""
    minutes: Number = 0.0
    steps: Count = 0
    changed: Mapping[LabelName, Tally] = field(default_factory=dict)
    regions: tuple[Region, ...] = tuple(Region)
    state: CorrectionState = CorrectionState.ACCEPTED
    held_out: bool = False
    study_id: Text = ""
    folder: Text = ""
    others: tuple[Text, ...] = ()
    proposed: Mapping[LabelName, Count] = field(default_factory=dict)
    writers_sha256: Short = ""
    order: int = 0
    """Of two versions in a store the later has the higher, whatever the clocks said."""

    @property
    def age(self) -> tuple[int, str, str]:
        """What versions are put in order by, the newest last."""
        return self.order, self.when, self.id

    @property
    def name(self) -> str:
        """How its study is called in lists: its id where that is recorded, else a neutral name."""
        return self.study_id or self.id.rpartition("_")[0]

    @property
    def sidecar(self) -> Path:
        """The JSON beside the mask."""
        return self.mask.with_name(self.mask.name.removesuffix(".nii.gz") + ".json")

    @property
    def log(self) -> Path:
        """The steps that led to it, one JSON object a line."""
        return self.mask.with_name(self.mask.name.removesuffix("_dseg.nii.gz") + "_steps.jsonl")

    @property
    def writers(self) -> Path:
        """The mask of who wrote what (:class:`Writer`); there where ``writers_sha256`` is."""
        return self.mask.with_name(self.mask.name.removesuffix("_dseg.nii.gz") + "_writers.nii.gz")

    @property
    def people(self) -> str:
        """Who made it, in words; "" where nobody gave a name."""
        return " and ".join([*self.others, *([self.by] if self.by else [])])

    @property
    def empty(self) -> bool:
        """True when no voxel is labelled."""
        return not any(t.voxels for t in self.changed.values())

    @property
    def untouched(self) -> bool:
        """True when it equals the model's answer."""
        return bool(self.base.answer_sha256) and not any(t.added or t.removed for t in self.changed.values())

    @property
    def edited(self) -> tuple[Region, ...] | None:
        """The regions in which it differs from the model's answer that it began from; None when it began from none.

        Elsewhere the mask is that answer, and no evidence of how good a model is. Told from the classes that gained or
        lost voxels: a region counts when one of its classes did.
        """
        if not self.base.answer_sha256:
            return None
        changed = {label for label, t in self.changed.items() if t.added or t.removed}
        return tuple(r for r in self.regions if changed & REGION_LABELS[r])

    def to_dict(self) -> dict[str, Any]:
        """The sidecar's JSON object: BIDS' own keys first. What may change later (held out) is not in it."""
        bids = {"Type": "Lesion", "Manual": True, "SpatialReference": "orig", "format": FORMAT}
        written = _FORM.write(self) | {"minutes": round(self.minutes, 2)}
        own = {k: written[k] for k in _REQUIRED} | {k: written[k] for k in _OPTIONAL if written[k]}
        return {**bids, **own, "made_by": self.made_by, "software": _software()}

    @property
    def made_by(self) -> str:
        """Model and person, for the mask's readers."""
        model = f"{self.base.name} {self.base.version}".strip()
        person = self.people or "a person"
        return f"{model} and {person}" if model else person

    @classmethod
    def from_dict(cls, record: Mapping[str, Any], mask: Path) -> Correction:
        """From that JSON object. Raises ValueError when it is none of ours."""
        if record.get("format") != FORMAT:
            raise ValueError(f"not of the format {FORMAT}")
        for key in _REQUIRED:
            if key not in record:
                raise ValueError(f"'{key}' is missing")
        return _FORM.read({k: record[k] for k in (*_REQUIRED, *_OPTIONAL) if k in record} | {"mask": mask})


_FORM = Form(Correction)
_OPTIONAL = ("study_id", "folder", "others", "proposed", "writers_sha256")
_REQUIRED = tuple(
    "base_model" if f.name == "base" else f.name
    for f in fields(Correction)
    if f.name not in ("mask", "held_out", "order", *_OPTIONAL)
)
"""Keys of every record; the mask is beside it, and whether it is held out the store's log tells."""


def _software() -> str:
    from importlib import metadata

    return f"napari-brainseg {metadata.version('napari-brainseg')}"
