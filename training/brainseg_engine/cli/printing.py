"""What the commands print results with: whole lines in files and pipes, and no character that a terminal cannot take."""

from __future__ import annotations

import io
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainseg_engine.core.log import ROOT, SAID
from brainseg_engine.core.records import dumps
from brainseg_engine.core.text import printable, printable_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Console
    from rich.progress import Progress

    from brainseg_engine.core.events import Event

PIPED_WIDTH = 160
"""Columns for tables that go to a file or a pipe, where no terminal says how wide it is."""


_quiet = False


def be_quiet(wanted: bool) -> None:
    """From now on, say nothing beside the results but what went wrong."""
    global _quiet
    _quiet = wanted


def is_quiet() -> bool:
    """Whether only results and errors are wanted."""
    return _quiet


def console(*, stderr: bool = False, soft_wrap: bool = False) -> Console:
    """The console for results, on stdout, or for what is said about them, on stderr; as wide as the terminal (or
    ``COLUMNS``), and wide enough where there is none. Text is text there: markup is for texts of our own (``Text``)."""
    from brainseg_engine.core.text import console as plain_console

    stream = sys.stderr if stderr else sys.stdout
    known = stderr or stream.isatty() or os.environ.get("COLUMNS", "").isdigit()
    return plain_console(stderr=stderr, soft_wrap=soft_wrap, width=None if known else PIPED_WIDTH)


def messages() -> Console:
    """The console for what is said beside the results, on stderr."""
    shown = console(stderr=True)
    shown.quiet = _quiet
    return shown


def say(sentence: object, *, err: bool = False, nl: bool = True) -> None:
    """A line of text, on stdout or stderr; what would command the terminal is spelt out."""
    import typer

    if not (err and _quiet):
        typer.echo(printable(str(sentence)), err=err, nl=nl)


def complain(sentence: str) -> None:
    """What went wrong, on stderr, however quiet the program is to be."""
    import typer

    logging.getLogger(ROOT).log(SAID, "%s", sentence)
    typer.echo(printable(sentence), err=True)


def folded(files: Sequence[Path | str]) -> list[str]:
    """The files as lines, those of a folder of many copies (``…_images/…``) as one."""
    lines: dict[str, int] = {}
    for file in map(str, files):
        parent = str(Path(file).parent)
        line = parent if Path(parent).parent.name.endswith("_images") else file
        lines[line] = lines.get(line, 0) + 1
    return [line if n == 1 else f"{line} ({n} files)" for line, n in lines.items()]


def say_json(content: Any, *, indent: int | None = 2, finite: bool = False) -> None:
    """A value as JSON, on stdout."""
    import typer

    typer.echo(printable_json(dumps(content, indent=indent, finite=finite)))


def progress_bars(shown_on: Console) -> Progress:
    """Bars that say what is done, how much of it and for how long, on a terminal; they leave nothing behind."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        console=shown_on,
        transient=True,
        redirect_stdout=False,
        disable=not shown_on.is_terminal,
    )


class TrainingDisplay:
    """Shows the events of a training as a bar, and a line for each validation: ``dice`` says on what."""

    def __init__(self, bars: Progress, dice: str, validated: Callable[[], None] = lambda: None) -> None:
        self.bars, self.dice, self.validated = bars, dice, validated
        self.task = bars.add_task("reading", total=1.0)

    def __call__(self, event: Event) -> None:
        """Show one event."""
        from brainseg_engine.core.events import EpochDone, Progress

        if isinstance(event, Progress):
            self.bars.update(self.task, completed=event.fraction, description=event.stage)
        elif isinstance(event, EpochDone) and event.dice:
            dice = "  ".join(f"{region} {d:.3f}" for region, d in event.dice.items())
            self.bars.console.print(f"step {event.step}: loss {event.loss:.3f}, {self.dice} {dice}", highlight=False)
            self.validated()


def accept_all_characters() -> None:
    """Files and pipes get UTF-8 on every platform; a terminal of another encoding shows "?" for what it lacks.

    Windows gives a pipe its ANSI code page, which has no "✓" and no "→": without this, the same command that works in
    the window of a terminal would fail behind a pipe.
    """
    for stream in (sys.stdout, sys.stderr):
        if not isinstance(stream, io.TextIOWrapper):
            continue
        if not stream.isatty():
            stream.reconfigure(encoding="utf-8")
        if stream.errors == "strict":
            stream.reconfigure(errors="replace")
