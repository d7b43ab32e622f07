"""What came of a fine-tuning: the card of the new model, and the report."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from brainseg_engine import models
from brainseg_engine.core.provenance import versions
from brainseg_engine.finetune import guard, plan, proof, verdict
from brainseg_engine.models.checkpoint import Card, Tuned


@dataclass(frozen=True)
class Outcome:
    """What was planned, the mix that was chosen, and the scores before and after on ``held_out`` and on ``anchors``; ``by_base``:
    the cases of these that the base model's weights answered, where the new model keeps them."""

    plan: plan.FinetunePlan
    choice: guard.Choice
    sets: Mapping[str, proof.BeforeAfter]
    by_base: Collection[str] = ()

    def card(self, base: Card, trained: Card) -> Card:
        """The new model's, after those of the base model and of the training."""
        made = self.plan
        count = f"{len(made.training)} corrected stud{'ies' if len(made.training) > 1 else 'y'}"
        anchors = f"{len(made.scored)} case{'s' if len(made.scored) > 1 else ''}" if made.real else made.anchors
        tuned = Tuned(
            parent=made.base["name"], parent_version=made.base["version"], parent_sha256=made.base["sha256"],
            corrections=tuple(c.mask_sha256 for c in made.training), held_out=tuple(c.mask_sha256 for c in made.held_out),
            anchors=anchors, alpha=self.choice.alpha, keeps_base=bool(made.gate), verdict=proof.overall(self.sets),
            scores={k: one.means() for k, one in self.sets.items() if one.before.cases},
            cases={k: len(one.before.cases) for k, one in self.sets.items()},
        )  # fmt: skip
        held_out = self.sets["held_out"]
        tested = f"{len(made.held_out)} held-out correction{'s' if len(made.held_out) > 1 else ''}"
        return base.model_copy(update={
            "name": made.name, "version": "1", "tuned": tuned,
            "known_failures": (f"Fine-tuned on {count}; its verdict: {self._words}", *base.known_failures),
            "summary": f"{base.summary.rstrip('.')}; fine-tuned on {count}.".lstrip("; "),
            "data": "; ".join(t for t in (base.data.rstrip("."), count) if t),
            "scores": held_out.means()["after"] if held_out.before.cases else {},
            "scores_on": tested if made.held_out else "",
            "calibration": None,  # of the base's weights
            "training_hashes": trained.training_hashes, "steps": base.steps + trained.steps,
            "training_cases": base.training_cases + len(made.training),
            "created": datetime.now(UTC).date().isoformat(), "made_with": versions(),
        })  # fmt: skip

    def report(self, model: Path, steps: int, learning_rate: float, device: str) -> dict[str, Any]:
        """As in ``report.json``."""
        made = self.plan
        groups = {"training": made.training, "held_out": made.held_out}
        return {
            "format": plan.FORMAT,
            "verdict": proof.overall(self.sets),
            "words": self._words,
            "rule": verdict.RULE,
            "model": {"name": made.name, "file": str(model), "sha256": models.sha256(model)},
            "base": made.base,
            "settings": made.settings,
            "corrections": {
                side: [{"name": c.name, "mask_sha256": c.mask_sha256} for c in group] for side, group in groups.items()
            },
            "refused": made.refused,
            "notes": [*made.notes, *self._answered()],
            "anchors": {
                "of": made.anchors,
                "real": made.real,
                "replayed": list(made.replayed),
                "choosing": list(made.choosing),
                "scored": list(made.scored),
            },
            "training": {"steps": steps, "device": device, "learning_rate": learning_rate},
            "guard": {
                "alpha": self.choice.alpha,
                "why": self.choice.why,
                "rows": [row.to_dict() for row in self.choice.rows],
            },
            "held_out": self.sets["held_out"].to_dict(),
            "anchor_scores": self.sets["anchors"].to_dict(),
        }

    def _answered(self) -> list[str]:
        """Whose answers were scored, where the model keeps two sets of weights."""
        if not self.plan.gate:
            return []
        counts = []
        for key, one in self.sets.items():
            cases = list(one.after.cases)
            tuned = sum(name not in self.by_base for name in cases)
            counts.append(f"{tuned} of {len(cases)} {proof.SETS[key]}")
        return [
            f"The fine-tuned weights answered {' and '.join(counts)}; the base model's weights answered the others."
        ]

    @property
    def _words(self) -> str:
        return proof.in_words(self.sets, self.plan.real)
