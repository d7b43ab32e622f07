"""The command line without a process for each call, which would import torch each time."""

from __future__ import annotations

from click.testing import Result
from typer.testing import CliRunner

from brainseg_engine.cli import PROGRAM, app


def call(*words: object, stdin: str | None = None) -> Result:
    """Run it in this process. What no command may let through, an exception that is none of ours, is raised here."""
    done = CliRunner().invoke(app, [*map(str, words)], input=stdin, prog_name=PROGRAM)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done
