"""The options of `predict` for many studies: which of them, in how many processes or SLURM jobs, and how far that is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_COHORT = "Many studies"

ListOption = Annotated[
    Path | None,
    typer.Option(
        "--list",
        help="File with a study a line: a path, or a name in the folders given; - for standard input.",
        rich_help_panel=_COHORT,
        show_default=False,
    ),
]
SplitOption = Annotated[
    Path | None,
    typer.Option(
        "--split",
        help="CSV with the columns case,split: take one part of it.",
        rich_help_panel=_COHORT,
        show_default=False,
    ),
]
SubsetOption = Annotated[str, typer.Option("--subset", help="Which part of the --split.", rich_help_panel=_COHORT)]
ShardOption = Annotated[
    str,
    typer.Option("--shard", metavar="I/N", help="Take part I of N, by the studies' ids.", rich_help_panel=_COHORT),
]
JobsOption = Annotated[
    int, typer.Option("--jobs", min=1, help="That many processes, or SLURM jobs.", rich_help_panel=_COHORT)
]
SlurmOption = Annotated[
    list[str] | None,
    typer.Option(
        "--slurm",
        metavar="KEY=VALUE",
        help="Run the jobs by SLURM, like partition=gpu; repeatable.",
        rich_help_panel=_COHORT,
        show_default=False,
    ),
]
AtOnceOption = Annotated[
    int | None,
    typer.Option(
        "--at-once",
        min=1,
        help="At most so many SLURM jobs at a time.",
        rich_help_panel=_COHORT,
        show_default=False,
    ),
]
WaitOption = Annotated[
    bool, typer.Option("--wait/--no-wait", help="Stay until the SLURM jobs end.", rich_help_panel=_COHORT)
]
StatusOption = Annotated[
    Path | None,
    typer.Option(
        "--status",
        metavar="OUT",
        help="Only report how the work in that folder stands.",
        rich_help_panel=_COHORT,
        show_default=False,
    ),
]
CheckContentsOption = Annotated[
    bool,
    typer.Option(
        "--check-contents",
        help="Of studies that are done, read every image anew; else a file whose size and times are as they were counts as "
        "unchanged.",
        rich_help_panel=_COHORT,
    ),
]
