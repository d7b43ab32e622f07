"""What is kept of one correction, and its JSON form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

import numpy as np

from brainseg_engine.core.labels import REGION_LABELS, Label, LabelArray, Region
from brainseg_engine.core.names import SafeName
from brainseg_engine.core.records import count_of, number_of, text_of
from brainseg_engine.core.study import Modality

FORMAT = "napari-brainseg-correction/1"


class CorrectionState(StrEnum):
    """Where a version stands. It only moves on: draft → accepted → excluded."""

    DRAFT = "draft"
    ACCEPTED = "accepted"
    EXCLUDED = "excluded"


@dataclass(frozen=True)
class BaseModel:
    """The model whose answer was corrected: its name, version, the SHA-256 of its file; and that of its answer's labels."""

    name: str = ""
    version: str = ""
    sha256: str = ""
    answer_sha256: str = ""

    def to_dict(self) -> dict[str, str]:
        """As a JSON object."""
        return {k: getattr(self, k) for k in ("name", "version", "sha256", "answer_sha256")}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """From that JSON object."""
        return cls(*(text_of(record.get(k, "")) for k in ("name", "version", "sha256", "answer_sha256")))


@dataclass(frozen=True)
class Tally:
    """Of one class: ``voxels`` in the correction, and how many came (``added``) or went (``removed``) since the answer."""

    voxels: int
    added: int
    removed: int


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


@dataclass(frozen=True)
class Correction:
    """One version. ``study`` is the key of its study (see ``identity``), ``images`` modality → hash of each image.

    ``by`` is the name a person gave, "" for none; ``when`` is UTC; ``minutes`` of active editing; ``changed`` against the
    base model's answer; ``coding`` of the file, ``study_coding`` that of the study. ``held_out``: kept for testing, never
    for training. ``study_id`` and ``folder`` are "" unless the person wanted them recorded.
    """

    id: str
    study: str
    mask: Path
    images: Mapping[Modality, str]
    reference: Modality
    coding: str
    study_coding: str
    base: BaseModel
    when: str
    mask_sha256: str
    by: str = ""
    minutes: float = 0.0
    steps: int = 0
    changed: Mapping[Label, Tally] = field(default_factory=dict)
    regions: tuple[Region, ...] = tuple(Region)
    state: CorrectionState = CorrectionState.ACCEPTED
    held_out: bool = False
    study_id: str = ""
    folder: str = ""
    order: int = 0
    """Of two versions in a store the later has the higher, whatever the clocks said."""

    @property
    def age(self) -> tuple[int, str, str]:
        """What versions are put in order by, the newest last."""
        return self.order, self.when, self.id

    @property
    def name(self) -> str:
        """What to call its study."""
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
        record: dict[str, Any] = {
            "Type": "Lesion",
            "Manual": True,
            "SpatialReference": "orig",
            "format": FORMAT,
            "id": self.id,
            "study": self.study,
            "images": {m.value: h for m, h in self.images.items()},
            "reference": self.reference.value,
            "coding": self.coding,
            "study_coding": self.study_coding,
            "regions": [r.value for r in self.regions],
            "base_model": self.base.to_dict(),
            "by": self.by,
            "when": self.when,
            "minutes": round(self.minutes, 2),
            "steps": self.steps,
            "changed": {
                k.name: {"voxels": t.voxels, "added": t.added, "removed": t.removed} for k, t in self.changed.items()
            },
            "state": self.state.value,
            "mask_sha256": self.mask_sha256,
            "made_by": self.made_by,
            "software": _software(),
        }
        return record | {k: v for k, v in (("study_id", self.study_id), ("folder", self.folder)) if v}

    @property
    def made_by(self) -> str:
        """Model and person, for the mask's readers."""
        model = f"{self.base.name} {self.base.version}".strip()
        person = self.by or "a person"
        return f"{model} and {person}" if model else person

    @classmethod
    def from_dict(cls, record: Mapping[str, Any], mask: Path) -> Self:
        """From that JSON object. Raises ValueError, KeyError or TypeError when it is none of ours."""
        if record["format"] != FORMAT:
            raise ValueError(f"not of the format {FORMAT}")
        return cls(
            id=SafeName.of(record["id"]),
            study=text_of(record["study"], 200),
            mask=mask,
            images={Modality(m): text_of(h, 200) for m, h in record["images"].items()},
            reference=Modality(record["reference"]),
            coding=text_of(record["coding"], 200),
            study_coding=text_of(record["study_coding"], 200),
            base=BaseModel.from_dict(record["base_model"]),
            when=moment(record["when"]),
            mask_sha256=text_of(record["mask_sha256"], 200),
            by=text_of(record["by"]),
            minutes=number_of(record["minutes"]),
            steps=count_of(record["steps"]),
            changed={
                Label[k]: Tally(count_of(t["voxels"]), count_of(t["added"]), count_of(t["removed"]))
                for k, t in record["changed"].items()
            },
            regions=tuple(Region(r) for r in record["regions"]),
            state=CorrectionState(record["state"]),
            study_id=text_of(record.get("study_id", "")),
            folder=text_of(record.get("folder", "")),
        )


def moment(value: object) -> str:
    """The time, as a field of a record: ISO 8601. Raises ValueError for anything else."""
    text = text_of(value, 60)
    datetime.fromisoformat(text)
    return text


def _software() -> str:
    from importlib import metadata

    return f"napari-brainseg {metadata.version('napari-brainseg')}"
