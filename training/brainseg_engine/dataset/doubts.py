"""What may be wrong with the cases of a training, each doubt said once: a folder of a thousand cases often has one."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from brainseg_engine.core.study import Study
from brainseg_engine.studies.checks import Finding

_log = logging.getLogger(__name__)


class Doubts:
    """Sentence → the cases that it concerns, in their order; the names of files are left out of the sentences."""

    def __init__(self) -> None:
        self._cases: dict[str, list[str]] = {}

    def add(self, case: str, study: Study, found: Sequence[Finding]) -> None:
        """What was found on that case."""
        mask = study.segmentation.path if study.segmentation is not None else None
        for doubt in found:
            sentence = doubt.message if mask is None else doubt.message.replace(mask.name, "the mask")
            for m, volume in study.volumes.items():
                sentence = sentence.replace(f"{m.title} ({volume.path.name})" if volume.path else m.title, m.title)
            self._cases.setdefault(sentence, []).append(case)

    def report(self) -> None:
        """Warn of each in the log, with the first case and how many more there are."""
        for sentence, cases in self._cases.items():
            also = f" and {len(cases) - 1} more" if len(cases) > 1 else ""
            _log.warning("%s%s: %s", cases[0], also, sentence)
        self._cases.clear()


@contextmanager
def reported_once() -> Iterator[Doubts]:
    """Doubts that are reported at the end, also where a case ends it."""
    doubts = Doubts()
    try:
        yield doubts
    finally:
        doubts.report()
