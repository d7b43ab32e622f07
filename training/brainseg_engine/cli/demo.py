"""`napari-brainseg demo`."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from brainseg_engine.cli.options import DeviceOption, ModelOption
from brainseg_engine.cli.printing import messages

if TYPE_CHECKING:
    from rich.console import Console

    from brainseg_engine.core.events import ProgressCallback
    from brainseg_engine.core.labels import Region
    from brainseg_engine.core.study import Prediction, Segmentation, Study
    from brainseg_engine.inference.predictor import Predictor

LEAST_DICE = {"WT": 0.85, "TC": 0.70, "ET": 0.60}
"""Below these the demo fails: the installation or the model is not what it should be."""

NEED_BYTES = 24 * 2**20
FAILED = 1


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for everything the demo makes.")] = Path(
        "brainseg-demo"
    ),
    no_window: Annotated[bool, typer.Option("--no-window", help="Do not open the viewer at the end.")] = False,
    model: ModelOption = None,
    device: DeviceOption = "auto",
    hospital: Annotated[
        bool,
        typer.Option("--hospital", help="A study as hospitals have it: DICOM of 19 series, thick slices, skull on."),
    ] = False,
) -> None:
    """Try the whole thing on a made-up study: segment it, measure it, compare it with the known truth.

    Makes a synthetic study (a phantom that no model was trained on), segments it with the bundled model, prints the
    volumes and the agreement with the truth, writes mask, report and picture, and opens the viewer where there is a
    screen. Nothing is downloaded. Ends with 1 when the agreement is worse than it should be.

    Examples:

      napari-brainseg demo

      napari-brainseg demo --out somewhere --no-window

      napari-brainseg demo --hospital
    """
    from brainseg_engine import models
    from brainseg_engine.cli.printing import console as results
    from brainseg_engine.core import outputs
    from brainseg_engine.core.paths import check_writable

    chosen = models.find(model or models.default())
    outputs.require(out, outputs.Use.CASES, made_before=_made_before)
    check_writable(out, NEED_BYTES)
    console = results(soft_wrap=True)
    if hospital:
        from brainseg_engine.cli.demo_hospital import show_hospital

        folder, poor = show_hospital(console, out, chosen, device)
        if not no_window:
            _look(console, folder, "Press Prepare below the table of series, then Segment")
        _require_none(poor)
        return
    console.print("A made-up brain with a tumour whose extent is known exactly.", style="bold")
    study, truth, prediction = _segment(console, out, chosen, device)
    agreement = agreement_of(prediction.segmentation, truth)
    print_table(console, prediction.segmentation, truth, agreement, LEAST_DICE)
    picture = _write(out, study, truth, prediction, agreement)
    _print_files(console, out, study, picture)
    if not no_window:
        _look(console, out / study.id, "Press Segment there")
    _require_none(too_low(agreement, LEAST_DICE))


def _segment(console: Console, out: Path, model: Path, device: str) -> tuple[Study, Segmentation, Prediction]:
    """The sample study, its truth and the model's answer; each step is said with its time."""
    from brainseg_engine.inference.predictor import Predictor

    began = time.perf_counter()
    study, truth = _study(out)
    step(console, f"study {study.id}: T1, T1ce, T2, FLAIR of 240×240×155 voxels", began)
    began = time.perf_counter()
    predictor = Predictor(model, device)
    step(console, f"model {predictor.card.name} {predictor.card.version}", began)
    began = time.perf_counter()
    prediction = predict_with_bar(predictor, study)
    step(console, f"segmented on {prediction.device}", began)
    return study, truth, prediction


def _require_none(poor: list[str]) -> None:
    """Say it, and raise Exit, where a region is worse than it should be."""
    if poor:
        print(
            f"napari-brainseg: the agreement with the truth is too low: Dice {', '.join(poor)}. The model or the "
            "installation is not as it should be.",
            file=sys.stderr,
        )
        raise typer.Exit(FAILED)


def too_low(agreement: Mapping[Region, float], least: Mapping[str, float]) -> list[str]:
    """The regions whose Dice is lower, with both numbers, in words."""
    return [f"{r} {d:.3f} (at least {least[r]:.2f})" for r, d in agreement.items() if d < least[r]]


def has_display() -> bool:
    """True when a window can be opened here, as far as is known without trying."""
    return sys.platform in ("win32", "darwin") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def has_viewer() -> bool:
    """True when napari and a Qt binding are installed."""
    return find_spec("napari") is not None and any(find_spec(qt) for qt in ("PyQt6", "PySide6", "PyQt5", "PySide2"))


def _made_before(out: Path) -> bool:
    """Whether a demo was made there: by its study, no mark."""
    from brainseg_engine.phantom import DEMO_SEED, study_id

    return any((out / f"{study_id(DEMO_SEED)}{ending}").is_dir() for ending in ("", "-hospital"))


def _study(out: Path) -> tuple[Study, Segmentation]:
    """The sample study, made in ``out`` unless it is there already, read from its files; and its truth."""
    from brainseg_engine.io import load_segmentation, load_study
    from brainseg_engine.phantom import DEMO_SEED, phantom_study, study_id, write_study
    from brainseg_engine.phantom.files import complete, image_files, mask_file

    folder = out / study_id(DEMO_SEED)
    if not complete(folder):
        write_study(phantom_study(DEMO_SEED), out, overwrite=True)
    study = load_study(image_files(folder), id=folder.name)
    return study, load_segmentation(mask_file(folder), grid=study.reference.grid)


def predict_with_bar(predictor: Predictor, study: Study, probabilities: bool = False) -> Prediction:
    """The answer, with a bar where there is a terminal."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    console = messages()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task("segmenting", total=1.0)
        follow: ProgressCallback = lambda e: bars.update(task, completed=e.fraction, description=e.stage)  # noqa: E731
        if not probabilities:
            return predictor.predict(study, progress=follow)
        return predictor.predict(study, progress=follow, probabilities=True)


def agreement_of(found: Segmentation, truth: Segmentation) -> dict[Region, float]:
    """Region → Dice with the truth, of the regions that the model gives."""
    from brainseg_engine.core.labels import region_mask
    from brainseg_engine.scores.overlap import dice

    return {r: dice(region_mask(found.labels, r), region_mask(truth.labels, r)) for r in found.regions}


def _write(
    out: Path, study: Study, truth: Segmentation, prediction: Prediction, agreement: Mapping[Region, float]
) -> Path:
    """Mask, report and picture; returns the picture's path."""
    from brainseg_engine.figures import overlay_figure
    from brainseg_engine.inference import batch
    from brainseg_engine.io import save_segmentation

    segmentation = prediction.segmentation
    report = batch.report(prediction, study, prediction.seconds)
    report["dice"] = {r.value: round(d, 4) for r, d in agreement.items()}
    mask = out / f"{study.id}_seg.nii.gz"
    save_segmentation(segmentation, mask, reference=study.reference, coding="brats2023", sidecar=report)
    picture = out / f"{study.id}.png"
    overlay_figure(study, segmentation, picture, truth, dice=agreement)
    return picture


def step(console: Console, what: str, began: float) -> None:
    """A line for what is done, with its seconds."""
    from rich.text import Text

    console.print(Text.assemble(("  ✓ ", "green"), what, (f" ({time.perf_counter() - began:.1f} s)", "dim")))


def print_table(
    console: Console,
    found: Segmentation,
    truth: Segmentation,
    agreement: Mapping[Region, float],
    wanted: Mapping[str, float],
) -> None:
    """Volumes of both, and how far they agree."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from brainseg_engine.core.labels import REGION_NAMES
    from brainseg_engine.scores.volumes import volumes_ml

    measured, true = (volumes_ml(s.labels, s.grid, found.regions) for s in (found, truth))
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("region")
    for title in ("found", "truth", "Dice", "at least"):
        table.add_column(title, justify="right", no_wrap=True)
    for region in found.regions:
        dice, least = agreement[region], wanted[region]
        colour = "green" if dice >= least else "red"
        volumes = (f"{v[region]:.1f} mL" for v in (measured, true))
        table.add_row(f"{region}  {REGION_NAMES[region]}", *volumes, Text(f"{dice:.3f}", style=colour), f"{least:.2f}")
    console.print(table)


def _print_files(console: Console, out: Path, study: Study, picture: Path) -> None:
    from rich.text import Text

    mask = out / f"{study.id}_seg.nii.gz"
    rows = (
        (picture, "three planes with the tumour in colour"),
        (mask, "the mask: 1 necrotic core, 2 oedema, 3 enhancing tumour"),
        (mask.with_name(f"{study.id}_seg.json"), "volumes, model, seconds"),
        (out / study.id, "the study itself, and the truth"),
    )
    width = max(len(str(path)) for path, _ in rows)
    console.print("Look at", style="bold")
    for path, what in rows:
        console.print(Text.assemble(f"  {path!s:<{width}}", (f"  {what}", "dim")))
    console.print("Try next", style="bold")
    console.print("  napari-brainseg inspect YOUR-STUDY-FOLDER")
    console.print("  napari-brainseg predict YOUR-STUDY-FOLDER --out masks")
    console.print("Dice is 1 for equal masks, 0 for masks that do not touch. For research use only.", style="dim")


def _look(console: Console, where: Path, how: str) -> None:
    """Open the study in the viewer, ready to be segmented there; or say why not and how."""

    folder = str(where)
    if not has_viewer():
        console.print("The viewer is not installed: pip install 'napari-brainseg[app]', then run this again.")
        return
    if not has_display():
        console.print(f"There is no screen here, so the viewer stays closed. Where there is one: napari {folder}")
        return
    console.print(f"Opening the viewer with the study. {how}; close the window to end.")
    ended = subprocess.run([sys.executable, "-m", "napari", "--plugin", "napari-brainseg", folder], check=False)
    if ended.returncode:
        console.print(f"The viewer ended with an error ({ended.returncode}). Try: napari {folder}")
