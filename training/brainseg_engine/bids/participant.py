"""Sessions of a BIDS dataset, and the derivative of one that was segmented."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from brainseg_engine.core.errors import InputError
from brainseg_engine.inference.rows import PredictOutcome
from brainseg_engine.report.exporting import export
from brainseg_engine.report.sources import ReportSource, load_result

_LABEL = re.compile(r"[A-Za-z0-9]+")


@dataclass(frozen=True)
class BidsSession:
    """``anat``: the folder with the images; ``session``: "" where the subject has none."""

    subject: str
    session: str
    anat: Path

    @property
    def name(self) -> str:
        """``sub-01_ses-2``."""
        return f"sub-{self.subject}" + (f"_ses-{self.session}" if self.session else "")


def find_sessions(root: Path, subjects: Iterable[str] = (), sessions: Iterable[str] = ()) -> list[BidsSession]:
    """The sessions of a raw dataset that have an ``anat`` folder, sorted; of the subjects and sessions named, where any are.

    Labels may bear their prefix (``sub-01``). Raises InputError for a label that is not there, and where nothing is.
    """
    there = [s for subject in sorted(_below(root, "sub-")) for s in _of_subject(subject)]
    if not there:
        raise InputError(f"{root} holds no sub-*/anat or sub-*/ses-*/anat folder. Name the root of a BIDS dataset.")
    for prefix, wanted, known in (
        ("sub-", {_label(t, "sub-") for t in subjects}, {s.subject for s in there}),
        ("ses-", {_label(t, "ses-") for t in sessions}, {s.session for s in there if s.session}),
    ):
        absent = sorted(wanted - known)
        if absent:
            raise InputError(f"{root} holds no {prefix}{absent[0]} with an anat folder. Check the label.")
        if wanted:
            there = [s for s in there if (s.subject if prefix == "sub-" else s.session) in wanted]
    if not there:
        raise InputError(f"{root} holds no such session of these subjects. Check the labels.")
    return there


def derivatives_of(session: BidsSession, row: PredictOutcome, out: Path) -> list[Path]:
    """Write the session's mask, and its probabilities where they lie beside it, into the derivative dataset ``out``.

    Raises InputError, OutputError.
    """
    return export(load_result(ReportSource(session.name, Path(row.output), session.anat)), ["bids"], out)


def _below(folder: Path, prefix: str) -> list[Path]:
    try:
        return [p for p in folder.iterdir() if p.name.startswith(prefix) and p.is_dir()]
    except OSError as e:
        raise InputError(f"{folder} cannot be read: {e.strerror or e}. Check the path.") from e


def _of_subject(folder: Path) -> list[BidsSession]:
    subject = folder.name.removeprefix("sub-")
    inner = [(s.name.removeprefix("ses-"), s / "anat") for s in sorted(_below(folder, "ses-"))]
    return [BidsSession(subject, session, anat) for session, anat in [("", folder / "anat"), *inner] if anat.is_dir()]


def _label(text: str, prefix: str) -> str:
    label = text.strip().removeprefix(prefix)
    if not _LABEL.fullmatch(label):
        raise InputError(f"'{text}' is no BIDS label: letters and digits alone.")
    return label
