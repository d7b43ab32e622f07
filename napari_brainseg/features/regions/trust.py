"""How far the numbers of an answer can be trusted, as its calibrated model says; nothing of labels that a person has changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brainseg_engine.scores import overlap, volumes
from napari_brainseg.session import Answer, Session, checksum

if TYPE_CHECKING:
    from brainseg_engine.models.calibration import Calibration
    from brainseg_engine.models.checkpoint import Card

LOW = 0.7
"""Expected Dice below which it is said to look closely. A round number: the bundled model's own are 0.66 to 0.94 on its
validation cases, 0.09 above the true ones on average."""
_MEANING = (
    "The mean Dice over the regions that the model expects of its own answer (0: no overlap, 1: the same outline).\n{known}\n"
    "The true Dice is often lower{mean}.\nIt tells how closely to look; it is no measurement of this answer."
)


@dataclass(frozen=True)
class Expected:
    """The overlap that an answer expects of itself: ``text`` in a line, ``tip`` what it means and how far it can be trusted."""

    text: str
    tip: str
    low: bool


class Trust:
    """What the open study's labels may be told with, as long as they are what the model gave."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._digest: tuple[Answer, int] | None = None

    @property
    def limits(self) -> dict[str, str]:
        """Region → between which limits its true volume lies in nine of ten cases, like "36–47"."""
        return {r: volumes.limits(x) for r, x in (self._reported("volume_intervals_ml") or {}).items()}

    @property
    def expected(self) -> Expected | None:
        """The overlap with an expert that is to be expected; None where that is not known, and where nothing was found."""
        confidence, measures = self._reported("confidence"), self._session.measures
        if confidence is None or measures is None or not any(s.voxels for s in measures.items.values()):
            return None
        low, card = confidence < LOW, self._card
        said = overlap.expected(confidence) + (": look closely" if low else "")
        tip = _MEANING.format(known=_known(card.calibration if card else None), mean=_mean(card))
        return Expected(said, tip, low)

    def _reported(self, what: str) -> Any:
        """What the model reported of its answer under that name; None once a person has changed the labels."""
        answer, measures = self._session.answer, self._session.measures
        value = answer.notes.get(what) if answer is not None else None
        if answer is None or measures is None or value is None or answer.edited:
            return None
        if self._digest is None or self._digest[0] is not answer:
            self._digest = (answer, checksum(answer.segmentation.labels))
        return value if measures.digest == self._digest[1] else None

    @property
    def _card(self) -> Card | None:
        """Of the model that gave the answer, where it is installed."""
        file = self._session.model_file
        return next((m.card for m in self._session.models if m.path == file), None)


def _known(calibration: Calibration | None) -> str:
    """A sentence on how well the expected Dice follows the true one."""
    if calibration is None or calibration.confidence_correlation is None:
        return "How well it follows the true Dice is not known here."
    return (
        f"On {calibration.cases} studies, each answered by a model that had not learnt from it, it ranked the answers by their "
        f"true Dice\nwith a rank correlation of {calibration.confidence_correlation:.2f} (1: exactly, 0: no better than chance)."
    )


def _mean(card: Card | None) -> str:
    """What the model's true Dice was on average, as a part of a sentence; "" where its card does not tell."""
    found = [d for s in card.scores.values() if (d := s.get("dice")) is not None] if card is not None else []
    return (
        f": {sum(found) / len(found):.2f} on average on {card.scores_on}" if card and found and card.scores_on else ""
    )
