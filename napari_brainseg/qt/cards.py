"""Records in words: a model's card, the size of a correction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brainseg_engine.core.labels import REGION_LABELS, Region

if TYPE_CHECKING:
    from brainseg_engine.corrections import Correction
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
        lines.append(f"Licence: {card.licence}")
    lines += [f"Known failure: {f}" for f in card.known_failures]
    return "<br>".join(lines)


def sizes_in_words(c: Correction, voxel_ml: float | None) -> str:
    """The size of each region as the table of regions has it, and what was added and removed: in mL, in voxels where their
    size is not known."""

    def size(voxels: int) -> str:
        return f"{voxels:,}" if voxel_ml is None else f"{voxels * voxel_ml:.2f}"

    regions = [r for r in (Region.WT, Region.TC, Region.ET) if r in c.regions]
    held = {r: sum(t.voxels for label, t in c.changed.items() if label in REGION_LABELS[r]) for r in regions}
    added, removed = (sum(getattr(t, what) for t in c.changed.values()) for what in ("added", "removed"))
    unit = "voxels" if voxel_ml is None else "mL"
    return f"{', '.join(f'{r.value} {size(n)}' for r, n in held.items())} {unit} (added {size(added)}, removed {size(removed)})"
