"""The corrections that a fine-tuning could learn from: what is listed, what speaks against them, and how they are counted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from brainseg_engine.core.errors import InputError
from brainseg_engine.corrections import Correction, CorrectionState, Store, sizes_in_words, source_of
from brainseg_engine.finetune.usable import share_of, unfit

if TYPE_CHECKING:
    from brainseg_engine.corrections import StoreFinding
    from brainseg_engine.models.checkpoint import Card

_CODES = ("mask_absent", "mask_changed", "coding", "empty", "study_absent", "study_changed", "two_people")


@dataclass(frozen=True)
class Candidate:
    """One correction: its ``id``, what its study is called here, its patient, and ``words`` on it.

    ``barred``: it cannot be learnt from; ``problem`` says why, or what else should be known of it ("" for nothing).
    """

    id: str
    name: str
    patient: str
    words: str
    held_out: bool = False
    excluded: bool = False
    barred: bool = False
    problem: str = ""

    @property
    def usable(self) -> bool:
        """True when it can be learnt from, or held out."""
        return not (self.barred or self.excluded)

    @property
    def title(self) -> str:
        """One line: name, whether it is held out, and the words on it."""
        if self.excluded:
            return f"{self.name}   excluded"
        mark, held = "⚠ " if self.problem else "", " (held out)" if self.held_out else ""
        return f"{mark}{self.name}{held}   {self.words}"

    @property
    def tip(self) -> str:
        """What else should be known of it."""
        if self.excluded:
            return f"{self.id} was excluded: it is not used"
        return self.problem or f"{self.id}: {self.words}"


def listed(store: Store) -> tuple[Candidate, ...]:
    """The newest accepted version of each study, then the excluded ones. No image is read."""
    patients = {c.id: patient for patient, group in store.patients().items() for c in group}
    rows = [_row(c, patients[c.id]) for c in store.latest().values()]
    rows += [replace(_row(c, ""), excluded=True) for c in store.corrections((CorrectionState.EXCLUDED,))]
    return tuple(sorted(rows, key=lambda r: (r.excluded, r.name.casefold(), r.id)))


def records(store: Store) -> dict[str, Correction]:
    """Id → record of what is learnt from."""
    return {c.id: c for c in store.latest().values()}


def judged(rows: Iterable[Candidate], findings: Iterable[StoreFinding]) -> tuple[Candidate, ...]:
    """The rows with what a check of the store found."""
    worst: dict[str, StoreFinding] = {}
    for f in findings:
        if f.code in _CODES and (f.correction not in worst or f.severity == "error"):
            worst[f.correction] = f
    judged_rows = []
    for row in rows:
        worst_finding = worst.get(row.id)
        if worst_finding is not None and not row.excluded:
            barred = worst_finding.severity == "error" or worst_finding.code == "study_absent"
            row = replace(row, problem=worst_finding.message, barred=barred)
        judged_rows.append(row)
    return tuple(judged_rows)


def fitted(rows: Iterable[Candidate], corrections: dict[str, Correction], card: Card | None) -> tuple[Candidate, ...]:
    """The rows with what keeps a model with that card from learning from them."""
    if card is None:
        return tuple(rows)
    judged_rows = []
    for row in rows:
        why = (
            unfit(corrections[row.id], card.regions, card.modalities)
            if row.id in corrections and not row.excluded
            else ""
        )
        judged_rows.append(replace(row, problem=why, barred=True) if why else row)
    return tuple(judged_rows)


def blocker(rows: Sequence[Candidate], store: Path) -> str:
    """Why nothing can be learnt from them, "" when something can."""
    counted = [r for r in rows if not r.excluded]
    usable = [r for r in counted if r.usable]
    if not counted:
        return f"There is no accepted correction in {store}. Correct a study and accept it first."
    if not usable:
        return f"None of the corrections can be used. The first: {counted[0].problem}"
    if all(r.held_out for r in usable):
        return "All of them are held out for testing, so there is nothing to learn from. Untick one."
    return ""


def in_words(rows: Sequence[Candidate]) -> str:
    """How many are learnt from and how many held out, and what that means; "" for none."""
    usable = [r for r in rows if r.usable]
    if not usable:
        return ""
    held, patients = sum(r.held_out for r in usable), len({r.patient for r in usable})
    count = f"{len(usable)} correction{'s' if len(usable) > 1 else ''}"
    if held:
        return f"{count}: {len(usable) - held} to learn from, {held} held out for testing."
    if (share := share_of(patients)) > 0:
        return (
            f"{count} of {patients} patients. None is held out yet: when training starts, {share} patient"
            f"{'s are' if share > 1 else ' is'} chosen for testing and kept out of later trainings too."
        )
    if len(usable) == 1:
        return "One correction only: nothing can be held out, so no claim of improvement will be made."
    few = "of one patient only: nothing can be" if patients == 1 else f"of {patients} patients only: nothing is"
    return f"{count} {few} held out{'' if patients == 1 else ' unless you tick one'}, so no claim of improvement will be made."


def _row(c: Correction, patient: str) -> Candidate:
    source = source_of(c.study)
    name = c.study_id or (source.study_id if source is not None else "") or c.name
    when = datetime.fromisoformat(c.when).replace(tzinfo=UTC).astimezone()
    who = f" by {c.people}" if c.people else ""
    return Candidate(
        c.id, name, patient, f"{when.day} {when:%b %H:%M}{who}: {sizes_in_words(c, voxel_ml(c))}", held_out=c.held_out
    )


def voxel_ml(c: Correction) -> float | None:
    """The volume of a voxel of its mask; None where the file does not tell."""
    from brainseg_engine.io.formats import read_header

    try:
        return read_header(c.mask).grid.voxel_ml
    except InputError:
        return None
