"""A model's card as a tooltip."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from brainseg_engine.models import ModelInfo


def card_in_words(model: ModelInfo) -> str:
    """A model's card as a tooltip (rich text, so that Qt wraps it)."""
    card = model.card
    if card is None:
        return model.problem
    lines = [f"<b>{card.name}</b>, version {card.version}" + (f": {card.summary}" if card.summary else "")]
    lines.append(f"{card.parameters / 1e6:.1f} million weights; needs {', '.join(m.title for m in card.modalities)}")
    dice = [f"{region} {s['dice']:.2f}" for region, s in card.scores.items() if s.get("dice") is not None]
    if dice:
        lines.append(f"Mean Dice{f' on {card.scores_on}' if card.scores_on else ''}: {', '.join(dice)}")
    if card.data:
        lines.append(f"Trained on: {card.data}")
    if card.licence:
        lines.append(f"Licence: {card.licence}" + (f" ({card.terms})" if card.terms else ""))
    if card.citation:
        lines.append(f"To cite: {card.citation}")
    lines += [f"Known failure: {f}" for f in card.known_failures]
    return "<br>".join(lines)
