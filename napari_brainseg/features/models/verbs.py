"""Installed models: bringing one in, fetching a known one, taking one away, choosing the default.

Each runs the command of the same name in a process of its own: importing reads weights with torch, which the window does without.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from brainseg_engine.core.errors import CheckpointError
from napari_brainseg.features.context import Context
from napari_brainseg.session import Kind

if TYPE_CHECKING:
    from brainseg_engine.models.catalogue import KnownModel

Run = Callable[[Sequence[str]], str]
"""The words of a command → what it says. Raises CheckpointError with the command's own sentence."""


def by_command(words: Sequence[str]) -> str:
    """Run ``napari-brainseg models …`` to its end."""
    command = [sys.executable, "-m", "brainseg_engine", "models", *words]
    done = subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", errors="replace", stdin=subprocess.DEVNULL
    )
    if done.returncode:
        lines = done.stderr.strip().removeprefix("napari-brainseg: ").splitlines()
        raise CheckpointError(" ".join(lines) or "The models could not be changed.")
    return done.stdout.strip()


class ModelsVerbs:
    """What the buttons of the dialog mean."""

    def __init__(self, context: Context, run: Run = by_command) -> None:
        self._context, self._session, self._run = context, context.session, run

    def bring_in(self, source: Path, name: str, series: str = "") -> None:
        """Make a model of what lies there; its licence is said with the result."""
        words = ["import", str(source), "--name", name, *(["--series", series] if series else [])]
        self._do(f"importing {source.name} …", words, f"The model '{name}' was imported.")

    def install(self, known: KnownModel) -> None:
        """Fetch that model and bring it in; its licence was shown."""
        self._do(
            f"fetching {known.name} …", ["install", known.name, "--accept"], f"The model '{known.name}' was installed."
        )

    def remove(self, name: str) -> None:
        """Take that model away, for good."""
        self._do(f"removing {name} …", ["remove", name, "--yes"], f"The model '{name}' was removed.")

    def make_default(self, name: str) -> None:
        """Use that model where none is named."""
        self._do("", ["default", name], f"{name} is used where no model is named.")

    @property
    def known(self) -> tuple[KnownModel, ...]:
        """The models that can be fetched."""
        from brainseg_engine.models import catalogue

        return catalogue.known()

    def _do(self, meanwhile: str, words: Sequence[str], said: str) -> None:
        def done(output: str) -> None:
            told = [line for line in output.splitlines() if line.startswith(("licence:", "limits:", "cite:"))]
            terms = " ".join(f"{line[0].upper()}{line[1:].rstrip('.')}." for line in told)
            self._session.models_stale.emit()
            self._session.say(f"{said} {terms}".strip(), Kind.GOOD)

        self._context.read(meanwhile, lambda: self._run(words), done)
