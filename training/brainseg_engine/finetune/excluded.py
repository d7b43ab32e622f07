"""Corrections that were excluded while a fine-tuning was under way."""

from __future__ import annotations

import logging
from pathlib import Path

from brainseg_engine.core.errors import BrainsegError, TrainingError
from brainseg_engine.corrections import CorrectionState, Store
from brainseg_engine.finetune.plan import FinetunePlan

_log = logging.getLogger(__name__)


def _excluded(made: FinetunePlan) -> set[str]:
    """The corrections that nobody wants to be used any more."""
    folder = made.settings.get("corrections")
    if not isinstance(folder, str):
        return set()
    try:
        return {c.id for c in Store.existing(folder).corrections((CorrectionState.EXCLUDED,))}
    except BrainsegError as e:  # it is not there any more
        _log.warning("%s", e)
        return set()


def require_none(made: FinetunePlan, out: Path) -> None:
    """Raise TrainingError where training would begin, or go on, with a correction that was excluded meanwhile."""
    excluded = _excluded(made)
    gone = [c.name for c in made.training if c.name in excluded]
    if gone:
        raise TrainingError(
            f"{', '.join(gone)} {'was' if len(gone) == 1 else 'were'} excluded since this fine-tuning collected its "
            f"corrections into {out}, and would be learnt from all the same. Start anew into another --out folder."
        )


def note(made: FinetunePlan, out: Path) -> frozenset[str]:
    """Note what was excluded meanwhile. What was learnt from is said; what was held out is returned, for it is no evidence any
    more."""
    excluded, left_out = _excluded(made), frozenset[str]()
    for held_out, cases in ((False, made.training), (True, made.held_out)):
        gone = [c.name for c in cases if c.name in excluded]
        if not gone:
            continue
        were = "was" if len(gone) == 1 else "were"
        sentence = f"{', '.join(gone)} {were} excluded while this run was under way and "
        if held_out:
            left_out = frozenset(gone)
            sentence += f"{'is' if len(gone) == 1 else 'are'} not scored."
        else:
            sentence += f"{were} learnt from all the same. Start anew to leave it out."
        _log.warning("%s", sentence)
        made.note(out, sentence)
    return left_out
