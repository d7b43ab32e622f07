"""The options that assign series by hand, shared by the commands that read studies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from brainseg_engine.core.study import Modality
    from brainseg_engine.studies.incoming import Which

_PANEL = "Series assigned by hand"


def _option(flag: str, title: str) -> Any:
    what = f"The {title}: a file, a description, a series' number (#7), or a pattern like '*GD*'."
    return typer.Option(flag, help=what, metavar="FILE", rich_help_panel=_PANEL, show_default=False)


T1Option = Annotated[str | None, _option("--t1", "T1")]
T1ceOption = Annotated[str | None, _option("--t1ce", "T1 with contrast")]
T2Option = Annotated[str | None, _option("--t2", "T2")]
FlairOption = Annotated[str | None, _option("--flair", "FLAIR")]
_WHICH = "Which of several studies"
PatientOption = Annotated[
    int | None,
    typer.Option("--patient", min=1, help="Of several patients, which (see 'inspect').", rich_help_panel=_WHICH),
]
VisitOption = Annotated[
    str | None,
    typer.Option(
        "--visit", help="Of a patient's several studies, which: a number or a day (2025-03-14).", rich_help_panel=_WHICH
    ),
]
AssignOption = Annotated[
    Path | None,
    typer.Option(
        "--assign", help="A TOML or JSON file of such assignments (t1ce = \"*GD*\"), for one study or many.",
        rich_help_panel=_PANEL, show_default=False,
    ),
]  # fmt: skip


def wanted(
    t1: str | None, t1ce: str | None, t2: str | None, flair: str | None, file: Path | None
) -> dict[Modality, str | None]:
    """What the options say, those of single series above the file. Raises InputError for a file that cannot be used."""
    from brainseg_engine.core.study import Modality
    from brainseg_engine.studies.assignment import read_assignment

    single = zip(Modality, (t1, t1ce, t2, flair), strict=True)
    return (read_assignment(file) if file is not None else {}) | {m: v for m, v in single if v is not None}


def which(patient: int | None, visit: str | None) -> Which:
    """The patient and the visit that the options say. Raises InputError for what is neither a number nor a day."""
    from datetime import date

    from brainseg_engine.core.errors import InputError
    from brainseg_engine.studies.incoming import Which

    if visit is None:
        return Which(patient)
    if visit.isdigit() and len(visit) < 5:
        return Which(patient, int(visit))
    try:
        return Which(patient, date.fromisoformat(visit))
    except ValueError:
        raise InputError(f"--visit is '{visit}', and must be a number or a day like 2025-03-14.") from None
