"""`napari-brainseg predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from brainseg_engine.cli.assigning import (
    AssignOption,
    FlairOption,
    PatientOption,
    T1ceOption,
    T1Option,
    T2Option,
    VisitOption,
    wanted,
    which,
)
from brainseg_engine.cli.cohort_options import (
    AtOnceOption,
    CheckContentsOption,
    JobsOption,
    ListOption,
    ShardOption,
    SlurmOption,
    SplitOption,
    StatusOption,
    SubsetOption,
    WaitOption,
)
from brainseg_engine.cli.deidentifying import (
    DeidentifyOption,
    KeyOption,
    WithFaceOption,
    deidentification,
    pseudonyms,
)
from brainseg_engine.cli.further import further
from brainseg_engine.cli.options import DeviceAnywhereOption, JsonOption
from brainseg_engine.cli.prepare import BrainOption, options_of
from brainseg_engine.core.errors import InputError


def predict(
    studies: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[STUDY]…", help="Studies, folders of studies, or pacs:NAME/StudyInstanceUID.", show_default=False
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for the masks; made when it is not there.", show_default=False),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            help="Model name (see 'models') or file; default: see 'models default'. Several: masks in a folder for each.",
        ),
    ] = None,
    ensemble: Annotated[
        bool, typer.Option("--ensemble", help="One mask by the mean of several models' probabilities.")
    ] = False,
    device: DeviceAnywhereOption = "auto",
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
        bool, typer.Option("--save-probabilities", "--probabilities", help="Also write one probability image a region.")
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
    as_json: JsonOption = False,
    list_file: ListOption = None,
    split: SplitOption = None,
    subset: SubsetOption = "validation",
    shard: ShardOption = "",
    jobs: JobsOption = 1,
    slurm: SlurmOption = None,
    at_once: AtOnceOption = None,
    wait: WaitOption = True,
    status: StatusOption = None,
    check_contents: CheckContentsOption = False,
    patient: PatientOption = None,
    visit: VisitOption = None,
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
      napari-brainseg predict data/ --out masks --split split.csv --subset test --model mine
      napari-brainseg predict data/ --out masks --jobs 8 --slurm partition=gpu --slurm gres=gpu:1
      napari-brainseg predict --status masks
      napari-brainseg predict patient1 --out masks --device ssh:gpu1
      napari-brainseg predict export/ --out masks --assign our_names.toml
      napari-brainseg predict hospital1 --out masks --on flair
      napari-brainseg predict cd/ --out masks --visit 2
      napari-brainseg predict pacs:archive/1.2.840.99.1 --out masks
      napari-brainseg predict dicom/patient1 --out results --to seg,sr,pdf,report
    """
    from brainseg_engine.cli import cohort_run

    if status is not None:
        cohort_run.show_status(status, as_json)
        return
    if out is None:
        raise typer.BadParameter("Name the folder for the masks: --out DIR.", param_hint="--out")

    from brainseg_engine import models
    from brainseg_engine.cli import pacs_work
    from brainseg_engine.inference import batch
    from brainseg_engine.inference.shards import Shard
    from brainseg_engine.studies.selection import select

    # all that can be wrong with the call itself is reported before the heavy part
    part, one_of = Shard.parse(shard) if shard else None, which(patient, visit)
    remote, here = pacs_work.divided(studies or [])
    sources = select(here, list_file, split, subset, whole=one_of.chooses) if here or not remote else []
    by_hand = wanted(t1, t1ce, t2, flair, assign)
    chosen = [models.find(m) for m in model or [models.default()]]
    division = cohort_run.divided(jobs, slurm, at_once, wait, part)
    cohort_run.require_device(device, division, ensemble and len(chosen) > 1)
    _require_possible(out, coding)
    secret = pseudonyms(deidentify, key, with_face)
    if secret is not None:
        _require_nameless(like_input, division.in_jobs)
    also = further(to, out, deidentification(deidentify, key, with_face)) if to else None
    options = options_of(brain, None, "auto", "auto", [], n4=False) if prepare else None
    settings = batch.PredictSettings(
        out, coding, save_probabilities, overwrite, like_input, by_hand, options, on, preview, secret, check_contents,
        one_of,
    )  # fmt: skip
    run = cohort_run.PredictRun(sources, device, tta, part, as_json, also)
    run.all(cohort_run.groups(settings, chosen, ensemble), division, remote)


def _require_possible(out: Path, coding: str | None) -> None:
    """Raise BrainsegError for a coding or a folder for the masks that cannot be used."""
    from brainseg_engine.core import labels, outputs
    from brainseg_engine.core.paths import check_writable
    from brainseg_engine.inference import batch

    if coding is not None:
        labels.coding(coding)
    outputs.require(out, outputs.Use.MASKS, made_before=batch.made_before)
    check_writable(out, batch.NEED_BYTES)


def _require_nameless(like_input: bool, in_jobs: bool) -> None:
    """Raise InputError for what names studies although names are to be left out."""
    for flag, given, why in (
        ("--like-input", like_input, "names masks like the images"),
        ("--jobs", in_jobs, "keeps logs that name studies"),
    ):
        if given:
            raise InputError(f"{flag} {why}, so they cannot be de-identified. Leave one of them out.")
