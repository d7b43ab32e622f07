"""`napari-brainseg models calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from brainseg_engine.cli.options import CasesOption, DataOption, DeviceOption, JsonOption
from brainseg_engine.cli.printing import messages, progress_bars, say, say_json
from brainseg_engine.core.errors import InputError

if TYPE_CHECKING:
    from brainseg_engine.models.calibration import Calibration


def calibrate(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="The model: a name or a file.", show_default=False)],
    folds: Annotated[
        list[str],
        typer.Option(
            "--fold", metavar="FOLD", help="A model trained on a part of the cases; once for each.", show_default=False
        ),
    ],
    data: DataOption,
    split: CasesOption,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Write the model there, instead of changing its file.", show_default=False),
    ] = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Measure how far a model's numbers can be trusted, and write that into its card: calibrated probabilities, volume intervals,
    a confidence per study, and what its training studies look like.

    Each training case of the split is answered by a fold model that has not learnt from it: models of the same recipe, trained
    on a part of the cases each (train --split with folds). The model's weights and its labels stay what they are. The split's
    validation cases check the intervals, and change nothing.

    Examples:

      napari-brainseg models calibrate ours --fold a.safetensors --fold b.safetensors --data DIR --split split.csv
    """
    from brainseg_engine import calibration, models
    from brainseg_engine.core.events import Progress
    from brainseg_engine.inference.predictor import Predictor
    from brainseg_engine.studies.cohort import cases, read_split

    path = models.find(name)
    if out is not None and out.suffix != ".safetensors":
        raise InputError(f"{out} must be called *.safetensors: a model is written.")
    sides = read_split(split)
    training, validation = (cases(data, sides, side) for side in ("train", "validation"))
    model, others = Predictor(path, device), [Predictor(models.find(f), device) for f in folds]
    with progress_bars(messages()) as bars:
        task = bars.add_task("calibrating", total=1.0)

        def shown(event: Progress) -> None:
            bars.update(task, completed=event.fraction)

        found = calibration.calibrate(model, others, training, validation, shown)
    calibration.write(found, path, out or path)
    if as_json:
        say_json({"path": str(out or path), "calibration": found.model_dump(mode="json")})
        return
    for line in told(found):
        say(line)
    say(f"{model.card.name}: {out or path}")


def told(found: Calibration) -> list[str]:
    """A calibration in lines, a region each and what is of all."""
    lines = [f"from {found.made_from}"]
    for region, c in found.regions.items():
        checked = f", {c.checked:.0%} of {found.checked_cases} validation cases" if c.checked is not None else ""
        lines.append(
            f"{region}: temperature {c.temperature:.2f}, offset {c.offset:.2f}; calibration error {c.error_before:.4f}, "
            f"calibrated {c.error_after:.4f}; "
            f"{found.level:.0%} intervals hold {c.coverage:.0%} of the true volumes{checked}, median width {c.width:.0%}"
        )
    if found.confidence_correlation is not None:
        lines.append(f"confidence: rank correlation with the true mean Dice {found.confidence_correlation:.2f}")
    if found.appearance is not None:
        lines.append(f"unlike the training cases: {found.appearance.false_alarms:.0%} false alarms")
    return lines
