"""`napari-brainseg models default` and `models lineage`."""

from __future__ import annotations

from typing import Annotated

import typer

from brainseg_engine.cli.options import JsonOption
from brainseg_engine.cli.printing import say, say_json
from brainseg_engine.core.errors import CheckpointError


def default(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="An installed model.", show_default=False)] = None,
    back: Annotated[bool, typer.Option("--back", help="Return to the default before the present one.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Choose the model that is used where none is named; without a name, tell which it is and which ones were before.

    Examples:

      napari-brainseg models default brats-baseline-tuned
      napari-brainseg models default --back
    """
    from brainseg_engine import models
    from brainseg_engine.models import choice

    if name is not None and back:
        raise CheckpointError(f"'{name}' and --back contradict each other; give one of them.")
    if back:
        models.roll_back()
    elif name is not None:
        models.choose_default(name)
    now, before = models.default(), choice.history()[:-1]
    if as_json:
        say_json({"default": now, "before": before})
        return
    say(f"{now} is used where no model is named.")
    if name is None and not back:
        for entry in reversed(before):
            say(f"before: {entry['name']} (since {entry['when']})")


def lineage(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A model: a name or a file.", show_default=False)],
    as_json: JsonOption = False,
) -> None:
    """Tell from which model a model was fine-tuned, on how many corrections, with what scores; and so on to the first.

    Examples:

      napari-brainseg models lineage brats-baseline-tuned
    """
    from brainseg_engine import models

    line = models.lineage(name)
    if as_json:
        say_json({"lineage": [a.to_dict() for a in line]})
        return
    for ancestor in line:
        say(f"{ancestor.name} {ancestor.version}  sha256 {ancestor.sha256[:16]}…")
        card = ancestor.card
        if card is None:
            say("  not among the installed models")
        elif card.tuned is None:
            say(f"  trained on {card.training_cases} cases{f', {card.created}' if card.created else ''}")
        else:
            t = card.tuned
            say(f"  fine-tuned {card.created} on {len(t.corrections)} corrections, alpha {t.alpha:g}: {t.verdict}")
            for which, title in (("held_out", f"{len(t.held_out)} held-out corrections"), ("anchors", t.anchors)):
                for region, after in t.scores.get(which, {}).get("after", {}).items():
                    before = t.scores[which]["before"].get(region, {}).get("dice")
                    if before is not None and after.get("dice") is not None:
                        say(f"  {title}: {region} Dice {before:.3f} → {after['dice']:.3f}")
