"""The studies of a queue, with what is known of them without reading an image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from brainseg_engine.core.errors import BrainsegError
from brainseg_engine.core.study import Modality
from brainseg_engine.corrections import Store


@dataclass(frozen=True)
class QueueEntry:
    """One study of the queue. ``score``: how much the model doubts it, None while it is not known; ``key`` likewise "".

    ``problem`` says why it cannot be scored; ``corrected``: an accepted correction is in the store.
    """

    folder: Path
    id: str
    files: Mapping[Modality, Path]
    key: str = ""
    score: float | None = None
    problem: str = ""
    corrected: bool = False

    def in_words(self, fraction: float | None) -> str:
        """Its doubt, or why there is none; ``fraction``: how far its score is, None while it is not being computed."""
        if self.problem:
            return "cannot be segmented"
        if fraction is not None:
            return f"… {100 * fraction:.0f} %"
        return f"doubt {self.score:.2f}" if self.score is not None else "waiting"


@dataclass(frozen=True)
class QueueShown:
    """A queue as it is shown: its ``entries`` in order, which of them is being scored and how far, which study is open."""

    folder: Path | None = None
    entries: tuple[QueueEntry, ...] = ()
    corrected: int = 0
    total: int = 0
    paused: bool = False
    scoring: QueueEntry | None = None
    fraction: float = 0.0
    open: Path | None = None


def find(folder: Path, model: Path | None, store: Store) -> tuple[QueueEntry, ...]:
    """The studies at or below the folder, with what is known of them. No image is read."""
    from brainseg_engine.inference import uncertainty
    from brainseg_engine.io import find_series, find_studies

    scores = uncertainty.Scores(uncertainty.model_hash(model), "one") if model is not None else None
    done = store.latest()
    entries = []
    for study in find_studies(folder):
        try:
            series = find_series(study)
        except BrainsegError as e:
            entries.append(QueueEntry(study, study.name, {}, problem=str(e)))
            continue
        key = uncertainty.known_key(list(series.files.values()))
        known = scores.get(key) if scores is not None and key else None
        problem = " ".join(series.problems)
        entries.append(
            QueueEntry(
                study, series.id, series.files, key, known.score if known else None, problem, corrected=key in done
            )
        )
    return tuple(entries)
