"""`napari-brainseg demo --hospital`: the sample study as a hospital exports it, and the whole way to a mask on its T1ce."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from brainseg_engine.cli.demo import agreement_of, predict_with_bar, print_table, step, too_low

if TYPE_CHECKING:
    from rich.console import Console

    from brainseg_engine.core.labels import Region
    from brainseg_engine.core.study import Segmentation, Study
    from brainseg_engine.prepare import Prepared

LEAST_DICE = {"WT": 0.80, "TC": 0.60, "ET": 0.50}
"""On T1ce's own slices of 5 mm; below these the demo fails."""
SUFFIX = "-hospital"


def show_hospital(console: Console, out: Path, model: Path, device: str) -> tuple[Path, list[str]]:
    """Write the export, tell its series apart, prepare, segment, and compare on T1ce's own grid.

    Returns the folder of the export and the regions whose agreement is too low, in words. The brain is found by the rough
    method: the networks know no phantom's. Raises BrainsegError.
    """
    from brainseg_engine.inference.predictor import Predictor
    from brainseg_engine.io import load_study
    from brainseg_engine.prepare import PrepareOptions, prepare
    from brainseg_engine.studies.incoming import find_study

    console.print(
        "A made-up head as a hospital hands it out: DICOM, thick slices, skull on, each series moved.", style="bold"
    )
    began = time.perf_counter()
    folder, truth = _export(out)
    step(console, f"{sum(1 for p in folder.rglob('*') if p.is_file())} files in {folder}", began)
    began = time.perf_counter()
    found = find_study(folder)
    step(console, f"{', '.join(m.title for m in found.files)} found among its series", began)
    raw = load_study(found, segmentation=False)
    began = time.perf_counter()
    prepared = prepare(raw, PrepareOptions(brain="rough"))
    moved = max(prepared.choices[m.value]["moved_mm"] for m in prepared.quality)
    step(console, f"aligned (by up to {moved:.0f} mm), brain found, one grid of 1 mm", began)
    began = time.perf_counter()
    predictor = Predictor(model, device)
    prediction = predict_with_bar(predictor, prepared.study, probabilities=True)
    step(console, f"segmented on {prediction.device} by {predictor.card.name} {predictor.card.version}", began)

    answer, true = prepared.back(prediction), prepared_truth(truth, prepared)
    agreement = agreement_of(answer, true)
    print_table(console, answer, true, agreement, LEAST_DICE)
    _write(console, out, raw, prepared, answer, agreement)
    return folder, too_low(agreement, LEAST_DICE)


def prepared_truth(truth: Segmentation, prepared: Prepared) -> Segmentation:
    """What is true on T1ce's own slices; T1ce's head lay still."""
    from brainseg_engine.prepare.back import segmentation_onto

    return segmentation_onto(truth, prepared.grids[prepared.reference])


def _export(out: Path) -> tuple[Path, Segmentation]:
    """The folder of the export, written unless it is there, and the truth in T1ce's world."""
    from brainseg_engine.core.paths import part_folder
    from brainseg_engine.phantom import DEMO_SEED, phantom_study, study_id
    from brainseg_engine.phantom.clinical import write_clinical
    from brainseg_engine.phantom.dicom import new_person
    from brainseg_engine.phantom.raw import raw_head

    raw, truth = raw_head(phantom_study(DEMO_SEED), DEMO_SEED)
    folder = out / (study_id(DEMO_SEED) + SUFFIX)
    if not folder.is_dir():
        out.mkdir(parents=True, exist_ok=True)
        with part_folder(out) as part:
            write_clinical(
                part / "made", raw, thickness_mm=None, person=new_person(patient_id="DEMO-1", name="Sample^Sam")
            )
            (part / "made").replace(folder)
    return folder, truth


def _write(
    console: Console,
    out: Path,
    raw: Study,
    prepared: Prepared,
    answer: Segmentation,
    agreement: Mapping[Region, float],
) -> None:
    """The mask on T1ce's own grid with its sidecar, and a picture of it."""
    from brainseg_engine.figures import overlay_figure
    from brainseg_engine.io import save_segmentation

    name = raw.id
    sidecar = {
        "coding": "brats2023",
        "made_by": answer.made_by,
        "dice": {r.value: round(d, 4) for r, d in agreement.items()},
    }
    mask = out / f"{name}_seg.nii.gz"
    save_segmentation(answer, mask, reference=raw.volumes[prepared.reference], coding="brats2023", sidecar=sidecar)
    overlay_figure(prepared.study, prepared.forward(answer), out / f"{name}.png")
    console.print("Look at", style="bold")
    console.print(f"  {out / f'{name}.png'}  three planes with the tumour in colour", markup=False)
    console.print(f"  {mask}  the mask on the slices of T1ce", markup=False)
    console.print("Try next", style="bold")
    console.print("  napari-brainseg inspect YOUR-EXPORT")
    console.print("  napari-brainseg predict YOUR-EXPORT --out masks --to seg,report")
