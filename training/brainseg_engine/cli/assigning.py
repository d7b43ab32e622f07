"""The options that assign series by hand, shared by the commands that read studies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from brainseg_engine.core.study import Modality

_PANEL = "Series assigned by hand"


def _option(flag: str, title: str) -> Any:
    what = f"The {title}: a file, a description, a series' number (#7), or a pattern like '*GD*'."
    return typer.Option(flag, help=what, metavar="FILE", rich_help_panel=_PANEL, show_default=False)


T1Option = Annotated[str | None, _option("--t1", "T1")]
T1ceOption = Annotated[str | None, _option("--t1ce", "T1 with contrast")]
T2Option = Annotated[str | None, _option("--t2", "T2")]
FlairOption = Annotated[str | None, _option("--flair", "FLAIR")]
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
