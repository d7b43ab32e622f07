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
    figure: Annotated[
        Path | None,
        typer.Option("--figure", metavar="PNG", help="Draw the reliability diagram there.", show_default=False),
    ] = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Measure how far a model's numbers can be trusted, and write that into its card: calibrated probabilities, volume intervals,
    a confidence per study, and what its training studies look like.

    Each training case of the split is answered by a fold model that has not learnt from it: models of the same recipe, trained
    on a part of the cases each (train --split with folds). The model's weights and its labels stay what they are. The split's
    validation cases check the intervals, and change nothing; a table of folds (data split --folds) has none, and all of its
    cases but the test cases are answered.

    Examples:

      napari-brainseg models calibrate ours --fold a.safetensors --fold b.safetensors --data DIR --split split.csv
      napari-brainseg models calibrate ours --fold a.safetensors --fold b.safetensors --data DIR --split folds.csv --figure a.png
    """
    from brainseg_engine import calibration, models
    from brainseg_engine.core.events import Progress
    from brainseg_engine.inference.predictor import Predictor
    from brainseg_engine.studies.cohort import cases, holds_folds, read_split

    path = models.find(name)
    if out is not None and out.suffix != ".safetensors":
        raise InputError(f"{out} must be called *.safetensors: a model is written.")
    require_png(figure, "--figure")
    sides = read_split(split, "all" if holds_folds(split) else None)
    training, validation = (cases(data, sides, side) for side in ("train", "validation"))
    model, others = Predictor(path, device), [Predictor(models.find(f), device) for f in folds]
    with progress_bars(messages()) as bars:
        task = bars.add_task("calibrating", total=1.0)

        def shown(event: Progress) -> None:
            bars.update(task, completed=event.fraction)

        found = calibration.calibrate(model, others, training, validation, shown)
    calibration.write(found, path, out or path)
    if figure is not None:
        draw(found, model.card.name, figure)
    if as_json:
        say_json({"path": str(out or path), "calibration": found.model_dump(mode="json")})
        return
    for line in told(found):
        say(line)
    say(f"{model.card.name}: {out or path}")


def require_png(figure: Path | None, option: str) -> None:
    """Raise InputError for a figure of another ending."""
    if figure is not None and figure.suffix.lower() != ".png":
        raise InputError(f"{option} {figure}: the figure is a PNG image; give it a name that ends in .png.")


def draw(found: Calibration, name: str, png: Path) -> None:
    """The reliability diagram of that model's calibration. Raises OutputError."""
    from brainseg_engine.figures import Reliability, reliability_figure

    regions = {
        r: Reliability(c.bins_before, c.bins_after, c.error_before, c.error_after) for r, c in found.regions.items()
    }
    footer = (
        f"All voxels of the brain in {found.cases} cases, each answered by a model that had not learnt from it and calibrated by "
        "the others. On the line, a probability is what it says. Error: expected calibration error."
    )
    reliability_figure(regions, png, f"{name}: what its probabilities are worth", footer)


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
