"""Installed models: bringing one in, fetching a known one, taking one away, choosing the default.

Each runs the command of the same name in a process of its own: importing reads weights with torch, which the window does without.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from psygnal import Signal

from brainseg_engine.core.errors import Cancelled, CheckpointError
from brainseg_engine.core.events import Progress
from napari_brainseg.features.context import Context
from napari_brainseg.session import Kind

if TYPE_CHECKING:
    from brainseg_engine.models.catalogue import KnownModel

Run = Callable[[Sequence[str]], str]
"""The words of a command → what it says. Raises CheckpointError with the command's own sentence."""
_TICK_S = 0.15
"""How often the window shows how much of a model has arrived."""


class Fetch:
    """A model on its way here: a thread of the background writes how much of it has come, and reads whether it is to stop."""

    def __init__(self, name: str) -> None:
        self.name, self.fraction, self.stopped = name, 0.0, False
        self.installing = False
        """Whether it is here, and being made a model of this program."""

    def follow(self, event: Progress) -> None:
        """A ``ProgressCallback``."""
        self.fraction = event.fraction

    def cancelled(self) -> bool:
        """A ``CancelCheck``."""
        return self.stopped


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

    fetch_changed = Signal()
    """Another model is on its way than before, or none, or more of it has arrived."""

    def __init__(self, context: Context, run: Run = by_command) -> None:
        self._context, self._session, self._run = context, context.session, run
        self.fetch: Fetch | None = None
        """The model on its way here."""
        self._tick = context.later(_TICK_S, self.fetch_changed.emit, True)

    def bring_in(self, source: Path, name: str, series: str = "") -> None:
        """Make a model of what lies there; its licence is said with the result."""
        words = ["import", str(source), "--name", name, *(["--series", series] if series else [])]
        self._do(f"importing {source.name} …", words, f"The model '{name}' was imported.")

    def install(self, known: KnownModel) -> None:
        """Fetch that model and bring it in; its licence was shown. One after the other; what was cut off goes on there."""
        if self.fetch is not None:
            self._session.say(f"Wait until {self.fetch.name} is here, or cancel it.", Kind.ERROR)
            return
        if any(m.name == known.name for m in self._session.models):
            self._session.say(f"There is a model '{known.name}' already. Remove it first.", Kind.ERROR)
            return
        fetch = self.fetch = Fetch(known.name)
        self._tick.start()
        self.fetch_changed.emit()

        def arrived(_file: object) -> None:
            self._tick.stop()
            fetch.installing = True
            self.fetch_changed.emit()
            words = ["install", known.name, "--accept"]
            self._context.run(lambda: self._run(words), installed, failed)

        def installed(output: str) -> None:
            self._end_fetch()
            self._changed(f"The model '{known.name}' was installed.", output)

        def failed(error: Exception) -> None:
            self._end_fetch()
            stopped = isinstance(error, Cancelled)
            self._session.say(
                "Stopped. What arrived is kept, and Install goes on there."
                if stopped
                else self._context.sentence(error),
                Kind.INFO if stopped else Kind.ERROR,
            )

        self._context.run(lambda: _fetched(known, fetch), arrived, failed)

    def cancel_fetch(self) -> None:
        """Stop fetching, soon; what arrived is kept."""
        if self.fetch is not None:
            self.fetch.stopped = True

    def _end_fetch(self) -> None:
        self._tick.stop()
        self.fetch = None
        self.fetch_changed.emit()

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
        self._context.read(meanwhile, lambda: self._run(words), lambda output: self._changed(said, output))

    def _changed(self, said: str, output: str) -> None:
        """The models are others now; what the command told of licence and hash is said too."""
        told = [
            line for line in output.splitlines() if line.startswith(("licence:", "limits:", "cite:", "Its hash is"))
        ]
        terms = " ".join(f"{line[0].upper()}{line[1:].rstrip('.')}." for line in told)
        self._session.models_stale.emit()
        self._session.say(f"{said} {terms}".strip(), Kind.GOOD)


def _fetched(known: KnownModel, fetch: Fetch) -> Path:
    from brainseg_engine.models import fetching

    return fetching.fetched(known, progress=fetch.follow, cancelled=fetch.cancelled)
