"""`napari-brainseg predict`."""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from brainseg_engine.cli.assigning import AssignOption, FlairOption, T1ceOption, T1Option, T2Option, wanted
from brainseg_engine.cli.deidentifying import (
    DeidentifyOption,
    KeyOption,
    WithFaceOption,
    deidentification,
    pseudonyms,
)
from brainseg_engine.cli.further import further
from brainseg_engine.cli.prepare import BrainOption, options_of
from brainseg_engine.cli.printing import folded, messages, say_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console
    from rich.text import Text

    from brainseg_engine.core.events import ProgressCallback
    from brainseg_engine.inference.batch import PredictOutcome, PredictSettings


def predict(
    studies: Annotated[
        list[Path],
        typer.Argument(
            metavar="STUDY", help="Studies, folders of studies, or pacs:NAME/StudyInstanceUID.", show_default=False
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for the masks; made when it is not there.")],
    model: Annotated[
        str | None, typer.Option("--model", help="Model name (see 'models') or file; default: see 'models default'.")
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    coding: Annotated[
        str | None,
        typer.Option(
            "--coding", help="Label coding of the masks, like brats2021; default: that of the input, else brats2023."
        ),
    ] = None,
    tta: Annotated[
        bool, typer.Option("--tta", help="Average over 8 mirror images: a little better, 8 times the work.")
    ] = False,
    save_probabilities: Annotated[
        bool, typer.Option("--save-probabilities", help="Also write one probability image a region.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace masks that other images, models or settings gave.")
    ] = False,
    like_input: Annotated[
        bool,
        typer.Option("--like-input", help="For image slices: also write one mask a slice, into a folder <id>."),
    ] = False,
    on: Annotated[
        str,
        typer.Option("--on", help="The grid of the masks: t1ce, t1, t2, flair, 1mm or an image; default: T1ce's own."),
    ] = "",
    prepare: Annotated[
        bool, typer.Option("--prepare/--no-prepare", help="Make studies as acquired ready first (see 'prepare').")
    ] = True,
    brain: BrainOption = "deepbet",
    preview: Annotated[bool, typer.Option("--preview", help="Also write a picture <id>_preview.png.")] = False,
    to: Annotated[
        str, typer.Option("--to", help="Also write: report, and the formats of 'export' (seg, rtstruct, sr, pdf, …).")
    ] = "",
    deidentify: DeidentifyOption = False,
    key: KeyOption = None,
    with_face: WithFaceOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as one JSON object.")] = False,
    t1: T1Option = None,
    t1ce: T1ceOption = None,
    t2: T2Option = None,
    flair: FlairOption = None,
    assign: AssignOption = None,
) -> None:
    """Segment studies: a mask <id>_seg.nii.gz each, on the grid and with the header of the T1ce series, and <id>_seg.json
    with the regions' volumes.

    Studies as acquired (series on their own grids, the skull still on) are prepared first; see 'prepare' for doing that by
    itself. One study that fails does not stop the others; summary.csv in the output folder lists them all. Called again, it skips
    what is done.

    Examples:

      napari-brainseg predict patient1 --out masks
      napari-brainseg predict data/ --out masks --device cuda --tta
      napari-brainseg predict export/ --out masks --assign our_names.toml
      napari-brainseg predict hospital1 --out masks --on flair
      napari-brainseg predict pacs:archive/1.2.840.99.1 --out masks
      napari-brainseg predict dicom/patient1 --out results --to seg,sr,pdf,report
    """

    from brainseg_engine import models
    from brainseg_engine.cli import pacs_work
    from brainseg_engine.core import device as devices
    from brainseg_engine.core import labels, outputs
    from brainseg_engine.core.errors import InputError
    from brainseg_engine.core.paths import check_writable
    from brainseg_engine.inference import batch

    # all that can be wrong with the call itself is reported before the heavy part
    remote = [pacs_work.split(s) for s in studies if pacs_work.is_remote(s)]
    sources = batch.expand([s for s in studies if not pacs_work.is_remote(s)]) if len(remote) < len(studies) else []
    by_hand = wanted(t1, t1ce, t2, flair, assign)
    chosen = models.find(model or models.default())
    devices.choose(device)
    if coding is not None:
        labels.coding(coding)
    outputs.require(out, outputs.Use.MASKS, made_before=batch.made_before)
    check_writable(out, batch.NEED_BYTES)
    secret = pseudonyms(deidentify, key, with_face)
    if secret is not None and like_input:
        raise InputError(
            "--like-input names masks like the images, so they cannot be de-identified. Leave one of them out."
        )
    also = further(to, out, deidentification(deidentify, key, with_face)) if to else None
    console = messages()
    options = options_of(brain, None, "auto", "auto", [], n4=False) if prepare else None
    settings = batch.PredictSettings(
        out, coding, save_probabilities, overwrite, like_input, by_hand, prepare=options, on=on, preview=preview,
        pseudonyms=secret,
    )  # fmt: skip
    sources += [pacs_work.fetched(name, study, None, proposed=True).folder for name, study in remote]
    rows, files = _run(console, sources, settings, chosen, device, tta, as_json, also)
    summary = out / "summary.csv"
    if as_json:
        told = [asdict(r) | ({"files": files[r.id]} if r.id in files else {}) for r in rows]
        say_json({"results": told, "summary": str(summary)}, indent=None)
    failed = sum(r.status == "failed" for r in rows)
    if not failed:
        pacs_work.discard(sources[len(sources) - len(remote) :])
    if failed:
        sentence = f"{failed} of {len(rows)} studies failed; {summary} says why."
        console.print(sentence, highlight=False, soft_wrap=True, markup=False)
        raise typer.Exit(3)


def _run(
    console: Console, sources: list[Path], settings: PredictSettings, model: Path, device: str, tta: bool, quiet: bool,
    also: Callable[[Path, PredictOutcome], list[Path]] | None,
) -> tuple[list[PredictOutcome], dict[str, list[str]]]:  # fmt: skip
    """Predict under a progress bar, tell each result as it comes, and write it into the summary.

    ``also`` writes what else is wanted of a study. Returns the rows, and id → these files.
    """

    from brainseg_engine.cli.printing import console as results
    from brainseg_engine.cli.printing import progress_bars
    from brainseg_engine.cli.stopping import terminate_as_interrupt
    from brainseg_engine.core.errors import BrainsegError
    from brainseg_engine.inference import batch
    from brainseg_engine.inference.predictor import Predictor

    # on a terminal the bar and the results share one console, or they would overwrite each other
    shown = console if sys.stdout.isatty() else results()
    rows: list[PredictOutcome] = []
    files: dict[str, list[str]] = {}
    summary = settings.out / "summary.csv"
    with terminate_as_interrupt(), progress_bars(console) as bars:
        task = bars.add_task("loading the model", total=len(sources))
        predictor = Predictor(model, device, tta=tta)

        def follow(source: Path) -> ProgressCallback:
            n = len(rows)
            name = source.resolve().name
            return lambda e: bars.update(task, completed=n + e.fraction, description=f"{name}: {e.stage}")

        for source, row in zip(sources, batch.predict_many(predictor, sources, settings, follow), strict=True):
            if also is not None and row.status != "failed":
                try:
                    files[row.id] = [str(f) for f in also(source, row)]
                except BrainsegError as e:
                    row = replace(row, status="failed", message=f"The mask is written, the rest is not: {e}")
            rows.append(row)
            batch.write_summary(
                [batch.hidden(row, settings.pseudonyms)], summary
            )  # as it comes: a kill loses none, and other processes write theirs
            bars.update(task, completed=len(rows))
            if not quiet:
                shown.print(_line(row), soft_wrap=True)
                for file in folded(files.get(row.id, ())):
                    shown.print(f"         {file}", soft_wrap=True, markup=False, highlight=False)
    return rows, files


def _line(row: PredictOutcome) -> Text:
    from rich.text import Text

    if row.status == "failed":
        return Text.assemble(("failed", "red"), f"   {row.id}: {row.message}")
    volumes = "  ".join(
        [f"{r} {v:.1f} mL" for r, v in row.volumes_ml.items()]
        + [f"{r} {n:,} voxels" for r, n in row.volumes_voxels.items()]
    )
    took = f"  ({row.seconds:.1f} s)" if row.seconds is not None else ""
    doubts = f"\n         {row.message}" if row.status == "done" and row.message else ""
    return Text.assemble((f"{row.status:8}", "green"), f" {row.id}: {volumes}{took} → {row.output}", (doubts, "yellow"))
