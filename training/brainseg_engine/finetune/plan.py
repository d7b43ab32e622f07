"""What a run has decided, in ``plan.json``: written once before the first step, and again when a decision is added."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from brainseg_engine.core import plain, records
from brainseg_engine.core.errors import TrainingError
from brainseg_engine.core.names import SafeName, is_model_name
from brainseg_engine.core.records import count_of, text_of

FILE = "plan.json"
FORMAT = "napari-brainseg-finetune/1"


@dataclass
class Learnt:
    """A correction in the run: case → whose it is and what it was made of."""

    name: str
    mask_sha256: str
    patient: str
    held_out: bool
    images: list[str]
    edited: list[str] | None = None
    """The regions that a person changed of a model's answer; None where it is not known, which counts as all."""


@dataclass
class FinetunePlan:
    """``base``: name, version, sha256 and path of the model; ``replayed``, ``choosing`` and ``scored``: anchor → where it
    lies."""

    settings: dict[str, Any]
    base: dict[str, str]
    name: str
    corrections: list[Learnt]
    replayed: dict[str, str]
    scored: dict[str, str]
    anchors: str
    real: bool
    choosing: dict[str, str] = field(default_factory=dict)
    patients: dict[str, str] = field(default_factory=dict)
    """Scored anchor → its patient, as a pseudonym."""
    refused: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    level: int = 0
    """How far the demand for memory was lowered: see ``memory``."""
    on_cpu: bool = False
    """Since the device was out of memory for a piece of any size."""
    trained: bool = False

    @property
    def training(self) -> list[Learnt]:
        """The corrections that are learnt from."""
        return [c for c in self.corrections if not c.held_out]

    @property
    def held_out(self) -> list[Learnt]:
        """Those that are only scored."""
        return [c for c in self.corrections if c.held_out]

    def save(self, out: Path) -> None:
        """Into the run folder, whole or not at all. Raises OutputError."""
        records.write_json(out / FILE, {"format": FORMAT, **asdict(self)})

    def note(self, out: Path, sentence: str) -> None:
        """Add a sentence, once."""
        if sentence not in self.notes:
            self.notes.append(sentence)
            self.save(out)


def load(out: Path) -> FinetunePlan | None:
    """The plan of the run in that folder; None where there is none yet. Raises TrainingError for a damaged one."""
    file = out / FILE
    if not file.exists():
        return None
    try:
        plain.require(file)
        content = records.read_object(file)
        if content.pop("format") != FORMAT:
            raise ValueError("of another version")
        return _checked(content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
        raise TrainingError(f"{file} cannot be read ({e}). Start anew into another --out folder.") from e


def _checked(content: dict[str, Any]) -> FinetunePlan:
    """The plan of that JSON object: its names become names of files, and its paths are read."""
    content["corrections"] = [Learnt(**c) for c in content["corrections"]]
    plan = FinetunePlan(**content)
    for c in plan.corrections:
        SafeName.of(c.name)
        if not isinstance(c.held_out, bool):
            raise ValueError("'held_out' is yes or no")
        for text in (c.mask_sha256, c.patient, *c.images, *(c.edited or ())):
            text_of(text)
    if not is_model_name(text_of(plan.name)):
        raise ValueError(f"'{plan.name[:40]}' is no name of a model")
    for table in (plan.base, plan.replayed, plan.choosing, plan.scored, plan.patients, plan.refused):
        for key, value in table.items():
            text_of(key), text_of(value)
    for key in ("path", "sha256", "name", "version"):
        text_of(plan.base[key])
    for text in (plan.anchors, *plan.notes):
        text_of(text)
    if not isinstance(plan.settings, dict) or not all(
        isinstance(f, bool) for f in (plan.real, plan.on_cpu, plan.trained)
    ):
        raise ValueError("settings are missing")
    count_of(plan.level, 0, 100)
    return plan


def require_same(plan: FinetunePlan, settings: Mapping[str, Any], out: Path) -> None:
    """Raise TrainingError when a setting given differs from that of the run; what is left out (None) is taken from it."""
    for key, value in settings.items():
        if value is not None and plan.settings.get(key) != value:
            raise TrainingError(
                f"The run in {out} was started with {key} {plan.settings.get(key)}, not {value}. Resume with the same, or name "
                "another --out folder."
            )
