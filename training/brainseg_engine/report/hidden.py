"""A result that tells of no person: its id, what is known of its mask, and its images, before anything of it is written."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from brainseg_engine.core.labels import Mask
from brainseg_engine.core.study import Study, Volume
from brainseg_engine.io.derived.deidentify import Pseudonym
from brainseg_engine.io.derived.pseudonyms import Pseudonyms
from brainseg_engine.report import growth
from brainseg_engine.report.sources import Result

_NUMBERS = ("peak", "cover", "dice", "moved_mm", "turned_deg", "good")
_CODE = re.compile(r"[a-z0-9]+(?:[-_][a-z0-9]+)*")
_BRAINS = frozenset({"deepbet", "hd-bet", "rough threshold", "given mask", "skull left on", "stripped already"})


@dataclass(frozen=True)
class Deidentify:
    """How results are de-identified. ``faceless``: a study → the same with nothing but the brain in its series; ``brain``: a
    series → where its brain is, None where it shows nothing else (both None where faces are to stay)."""

    pseudonyms: Pseudonyms
    faceless: Callable[[Study], Study] | None = None
    brain: Callable[[Volume], Mask | None] | None = None
    named: bool = False
    """The results' ids are pseudonyms already."""

    @property
    def face(self) -> bool:
        """Images may show a face."""
        return self.faceless is None

    def of_instance(self, instance: Any) -> tuple[Pseudonym, str]:
        """The pseudonym of the patient of a DICOM instance, and the id of its study's results."""
        pseudonym = Pseudonym.of(self.pseudonyms, instance, self.face)
        return pseudonym, self.pseudonyms.study(pseudonym.patient, str(instance.get("StudyInstanceUID") or ""))

    def of_id(self, id_: str) -> tuple[Pseudonym, str]:
        """The same for a result of which nothing but the id tells whose it is."""
        pseudonym = Pseudonym(self.pseudonyms, id_, self.face)
        return pseudonym, id_ if self.named else pseudonym.name


def hide(result: Result, id_: str, how: Deidentify) -> Result:
    """The result under the id ``id_``: no path, no person's name, no sentence of others; its images without a face."""
    seg, study = result.segmentation, result.study
    sidecar = _without_persons(result.sidecar)
    by = " ".join(str(sidecar[k]) for k in ("model", "model_version") if sidecar.get(k))
    hidden = replace(seg, made_by=f"{by} and a person" if by and sidecar.get("edited") else by, path=None, note="")
    if study is not None:
        bare = replace(study, segmentation=seg)
        shown = bare if how.faceless is None else how.faceless(bare)
        volumes = {m: replace(v, path=None, sha256="") for m, v in shown.volumes.items()}
        study = replace(shown, id=id_, volumes=volumes, segmentation=hidden, folder=None)
    return Result(id_, hidden, study, sidecar)


def hide_prior(prior: Mapping[str, Any] | None, how: Deidentify, shift: timedelta) -> dict[str, Any] | None:
    """An earlier report's record with nothing of its words but the model's name, its date moved."""
    if prior is None:
        return None
    try:
        created = (datetime.fromisoformat(str(prior.get("created"))) + shift).isoformat(timespec="seconds")
    except (ValueError, OverflowError):
        created = ""
    hidden = {**prior, "id": how.of_id(str(prior.get("id")))[1], "created": created, "made_by": None, "identity": None}
    hidden["examined"] = moved_day(prior.get("examined"), shift)
    hidden["history"] = [
        {**p, "id": how.of_id(p["id"])[1], "date": moved_day(p["date"], shift)} for p in growth.history(prior)
    ]
    return hidden


def moved_day(day: str | None, shift: timedelta) -> str | None:
    """A day (2025-03-14), moved as the patient's dates are; None where there is none."""
    try:
        return None if day is None else (date.fromisoformat(day) + shift).isoformat()
    except (ValueError, OverflowError):
        return None


def moved_now(shift: timedelta) -> datetime:
    """The present, moved as the patient's dates are: beside these the true date would tell by how much."""
    return datetime.now(UTC) + shift


def _without_persons(sidecar: Mapping[str, Any]) -> dict[str, Any]:
    """What of a mask's sidecar is model, numbers and codes."""
    out = {k: sidecar[k] for k in ("model", "model_version", "edited", "diameters", "reference") if k in sidecar}
    out["warnings"] = [w for w in sidecar.get("warnings") or () if isinstance(w, str) and _CODE.fullmatch(w)]
    prepared = sidecar.get("prepared")
    if isinstance(prepared, Mapping):
        quality = {
            name: {k: v for k, v in found.items() if k in _NUMBERS and isinstance(v, int | float)}
            for name, found in prepared.items()
            if isinstance(found, Mapping) and name in ("t1", "t1ce", "t2", "flair")
        }
        brain = str(prepared.get("brain", ""))
        out["prepared"] = quality | ({"brain": brain if brain in _BRAINS else "given mask"} if brain else {})
    return out
