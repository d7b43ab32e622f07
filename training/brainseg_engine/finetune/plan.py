"""What a run has decided, in ``plan.json``: written once before the first step, and again when a decision is added."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, ConfigDict, Field

from brainseg_engine.core import plain, records
from brainseg_engine.core.errors import TrainingError
from brainseg_engine.core.forms import Count, FileName, Flag, Form, ModelName, Text

FILE = "plan.json"
FORMAT = "napari-brainseg-finetune/1"


def _of_a_model(base: dict[str, str]) -> dict[str, str]:
    for key in ("path", "sha256", "name", "version"):
        if key not in base:
            raise ValueError(f"'{key}' is missing")
    return base


@dataclass
class Learnt:
    """One correction of the run: whose it is (a pseudonym), what its mask and images are, by hash, and whether it is held out."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    name: FileName
    mask_sha256: Text
    patient: Text
    held_out: Flag
    images: list[Text]
    edited: list[Text] | None = None
    """The regions that a person changed of a model's answer; None where it is not known, which counts as all."""


@dataclass
class FinetunePlan:
    """``base``: name, version, sha256 and path of the model; ``replayed``, ``choosing`` and ``scored``: anchor → where it
    lies."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    settings: dict[str, Any]
    base: Annotated[dict[Text, Text], AfterValidator(_of_a_model)]
    name: ModelName
    corrections: list[Learnt]
    replayed: dict[Text, Text]
    scored: dict[Text, Text]
    anchors: Text
    real: Flag
    choosing: dict[Text, Text] = field(default_factory=dict)
    patients: dict[Text, Text] = field(default_factory=dict)
    """Scored anchor → its patient, as a pseudonym."""
    refused: dict[Text, Text] = field(default_factory=dict)
    notes: list[Text] = field(default_factory=list)
    level: Annotated[Count, Field(le=100)] = 0
    """How far the demand for memory was lowered: see ``memory``."""
    on_cpu: Flag = False
    """Since the device was out of memory for a piece of any size."""
    trained: Flag = False
    gate: dict[Text, list[float]] = field(default_factory=dict)
    """What tells the corrected studies from the anchors, where something does: the model then keeps its base beside it."""

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
        records.write_json(out / FILE, {"format": FORMAT, **_FORM.write(self)})

    def note(self, out: Path, sentence: str) -> None:
        """Add a sentence, once."""
        if sentence not in self.notes:
            self.notes.append(sentence)
            self.save(out)


_FORM = Form(FinetunePlan)


def load(out: Path) -> FinetunePlan | None:
    """The plan of the run in that folder; None where there is none yet. Raises TrainingError for a damaged one."""
    file = out / FILE
    if not file.exists():
        return None
    try:
        plain.require(file)
        content = records.read_object(file)
        if content.pop("format", "") != FORMAT:
            raise ValueError("of another version")
        return _FORM.read(content)
    except (OSError, ValueError) as e:
        raise TrainingError(f"{file} cannot be read ({e}). Start anew into another --out folder.") from e


def require_same(plan: FinetunePlan, settings: Mapping[str, Any], out: Path) -> None:
    """Raise TrainingError when a setting given differs from that of the run; what is left out (None) is taken from it."""
    for key, value in settings.items():
        if value is not None and plan.settings.get(key) != value:
            raise TrainingError(
                f"The run in {out} was started with {key} {plan.settings.get(key)}, not {value}. Resume with the same, or name "
                "another --out folder."
            )
