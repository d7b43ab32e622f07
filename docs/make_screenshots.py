"""Make the pictures: the panel with the sample phantom, segmented by the bundled model, in 2D, with the tools for correcting,
after a fine-tuning, and in 3D; and with a phantom as a hospital has it, in DICOM.

Run by ``make screenshots``. It presses the panel's own buttons, and fails (exit code 1, one sentence) when a picture is
blank or a region's colour is missing from it. The pictures show the phantom only.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import napari
import numpy as np
from napari.utils.io import imsave
from numpy.typing import NDArray
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QAbstractButton, QApplication, QComboBox, QDialog, QMessageBox, QSlider

from brainseg_engine.core.palette import REGION_COLOURS, RGB

SIZE = (1590, 985)
PANEL = ("napari-brainseg", "Brain tumour segmentation")
CLOSER = {2: 1.0, 3: 1.08}
"""Dimensions shown → zoom, over what fills the canvas."""
GLASSY = 25
"""Opacity of the outer surfaces in 3D, in per cent."""
SMALL = (120, 120, 80)
"""Voxels of the phantoms that are learnt from: the head is scaled to fit. Small enough for minutes, large enough for the
bundled model to find the lesions."""
LEARNT, ANCHORS = 4, 3
HOSPITAL_SEED = 1
LEAST_PIXELS = 40
LEAST_LIT = 0.05
"""Part of the canvas that must not be black."""

Picture = NDArray[np.uint8]


class Failure(Exception):
    """A picture is not what it should be."""


def main() -> int:
    """Write the pictures; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "images")
    parser.add_argument("--minutes", type=float, default=3, help="how long the fine-tuning of one picture takes")
    args = parser.parse_args()
    out: Path = args.out
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="screenshots-") as home:
        os.environ["BRAINSEG_HOME"] = home  # a model is made, and corrections are accepted: not among the user's own
        viewer = napari.Viewer(title="napari-brainseg", show=True)
        try:
            make(viewer, out, args.minutes)
        except Failure as e:
            print(f"make_screenshots: {e}", file=sys.stderr)
            return 1
        finally:
            viewer.close()
    return 0


def segmented_sample(viewer: napari.Viewer) -> Any:
    """The panel, once it has opened and segmented the sample. Raises Failure."""
    _, panel = viewer.window.add_plugin_dock_widget(*PANEL)
    session = panel.owner.session
    press(panel, "open_sample")
    wait(lambda: session.study is not None and session.reading == "", 120, "the sample study")
    opened = session.segmentation
    wait(lambda: press(panel, "segment"), 60, "the button 'Segment'")
    wait(lambda: session.segmentation is not opened and session.job is None, 300, "the segmentation", session)
    wait(lambda: session.measures is not None, 60, "the volumes")
    return panel


def make(viewer: napari.Viewer, out: Path, minutes: float) -> None:
    """Open the sample, segment it, and take the pictures. Raises Failure."""
    viewer.window.resize(*SIZE)
    panel = segmented_sample(viewer)
    press(panel, "show_t1ce")
    panel.owner.sections.regions.jump_requested.emit("ET")
    viewer.scene.camera.zoom *= CLOSER[2]
    check_regions(viewer, panel, "2D")
    save(viewer, out / "panel-2d.png")
    canvases(viewer, panel, out)
    correct(viewer, panel, out)
    export(panel, out)
    models(panel, out)
    finetune(viewer, panel, out, minutes)
    press(panel, "plane_3d")
    surfaces = panel.owner.features.regions.surfaces
    wait(lambda: len(surfaces.surfaces) == len(REGION_COLOURS) + 1 and not surfaces.busy, 120, "the surfaces")
    viewer.scene.camera.zoom *= CLOSER[3]
    for region in ("WT", "TC"):  # glassy, so that the enhancing part inside is seen
        panel.findChild(QSlider, f"region_{region}_opacity").setValue(GLASSY)
    check_regions(viewer, panel, "3D")
    save(viewer, out / "panel-3d.png")
    press(panel, "plane_axial")
    hospital(viewer, panel, out)


def canvases(viewer: napari.Viewer, panel: Any, out: Path) -> None:
    """Axial, coronal, sagittal and 3D beside each other; one large and three small ones. Raises Failure."""
    planes = panel.owner.features.planes
    for name in ("four", "large"):
        press(panel, f"canvases_{name}")
        wait(lambda: planes.canvases.solid is not None, 30, "the canvases")
        shown = planes.canvases.solid.surfaces
        wait(lambda: len(shown.surfaces) == len(REGION_COLOURS) + 1 and not shown.busy, 120, "the surfaces")  # noqa: B023
        pause(0.5)
        save(viewer, out / f"canvases-{name}.png")
    press(panel, "canvases_one")


def hospital(viewer: napari.Viewer, panel: Any, out: Path) -> None:
    """A study as a hospital has it, fetched from a PACS: the worklist, the table of its series, an alignment that is checked, the
    mask on a series as acquired, and what is asked before results are sent. Raises Failure."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # where phantoms are written as scanners write
    from helpers.pacs_servers import Holding, web_server

    from brainseg_engine.pacs import connections

    with web_server(Holding(archive())) as connection:
        connections.save({"archive": connection})
        prepared(viewer, panel, out)
        ask_before_sending(panel, out)


def archive() -> list[Any]:
    """The images of a made-up PACS: one whole study, and a few of others."""
    import pydicom
    from dicom_studies import new_person, write_clinical
    from helpers.raw_study import raw_study

    images = []
    people = (("Lindqvist^Thyra", "20250314"), ("Müller^Jörg", "20250313"), ("Okafor^Ada", "20250311"))
    for n, (name, day) in enumerate(people):
        folder = Path(os.environ["BRAINSEG_HOME"]) / f"scanner-{n}"
        write_clinical(folder, raw_study(HOSPITAL_SEED).study, thickness_mm=None, distractors=6 if n == 0 else n,
                       person=new_person(name=name, patient_id=f"P-10{n}", study_date=day))  # fmt: skip
        for file in sorted(p for p in folder.rglob("*") if p.is_file()):
            image = pydicom.dcmread(file)
            image.StudyDescription, image.AccessionNumber = "MRI of the head, contrast", f"A-77{n}"
            images.append(image)
    return images


def fetched(panel: Any, out: Path) -> None:
    """The worklist, filled in and searched; its first study is opened. Raises Failure."""
    press(panel, "worklist")
    worklist = panel.findChild(QDialog, "worklist_dialog")
    wait(lambda: named(worklist, "worklist_search").isEnabled(), 20, "the worklist")
    named(worklist, "worklist_search").click()
    wait(lambda: worklist.studies.topLevelItemCount() == 3 and worklist.search.isEnabled(), 30, "the studies")
    worklist.studies.setCurrentItem(worklist.studies.topLevelItem(0))
    wait(lambda: worklist.series.topLevelItemCount() > 4 and worklist.open.isEnabled(), 30, "the series")
    pause(0.5)
    worklist.grab().save(str(out / "worklist.png"))
    named(worklist, "worklist_open").click()


def ask_before_sending(panel: Any, out: Path) -> None:
    """What is shown before results go to the PACS. Raises Failure."""
    asked: list[QMessageBox] = []

    def look() -> None:
        box = QApplication.activeModalWidget()
        if isinstance(box, QMessageBox):
            asked.append(box)
            box.grab().save(str(out / "send.png"))
            box.buttons()[-1].click()

    looking = QTimer()
    looking.timeout.connect(look)
    looking.start(200)
    press(panel, "send_results")
    wait(lambda: bool(asked), 60, "the question before sending")
    looking.stop()


def prepared(viewer: napari.Viewer, panel: Any, out: Path) -> None:
    """From the worklist to the mask on a series as acquired. Raises Failure."""
    session, features = panel.owner.session, panel.owner.features
    before = session.study
    fetched(panel, out)
    wait(lambda: bool(features.series.pictures), 60, "the table of series")
    press(panel, "message_close")
    panel.scroll.ensureWidgetVisible(named(panel, "prepare"), 0, 20)
    pause(0.5)
    save(viewer, out / "panel-series.png")
    panel.findChild(QComboBox, "brain_method").setCurrentText("rough")
    wait(lambda: press(panel, "prepare"), 60, "the button 'Prepare'")
    wait(lambda: session.study is not before and session.job is None, 300, "the prepared study", session)
    wait(lambda: press(panel, "segment"), 60, "the button 'Segment'")
    wait(lambda: session.segmentation is not None and session.job is None, 300, "the segmentation", session)
    wait(lambda: press(panel, "check_alignment"), 10, "the button 'Check alignment'")
    wait(lambda: features.alignment.comparing.quality is not None, 60, "the figures of the alignment")
    press(panel, "mix_edges")
    pause(1.0)
    if pixels(canvas(viewer), (1.0, 140 / 255, 0.0)) < LEAST_PIXELS:
        raise Failure("the edges of the series are missing.")
    save(viewer, out / "panel-alignment.png")
    press(panel, "check_alignment")
    press(panel, "read_flair")
    wait(lambda: any("Segmentation on FLAIR" in x.name for x in viewer.layers), 60, "the mask on FLAIR")
    pause(0.5)
    save(viewer, out / "panel-as-acquired.png")
    press(panel, "read_aligned")


def correct(viewer: napari.Viewer, panel: Any, out: Path) -> None:
    """The tools for correcting, the threshold brush with its preview. Raises Failure."""
    press(panel, "paint_fold")
    for name in ("show_flair", "paint_WT", "tool_brush"):
        press(panel, name)
    press(panel, "threshold")
    pause(0.3)
    settings = panel.owner.context.brush.settings
    low, high = settings.limits
    panel.owner.sections.paint.range.setValue((1.1 * low, high))
    pause(1.5)
    shown = canvas(viewer)
    press(panel, "threshold_preview")
    pause(0.5)
    hidden = canvas(viewer)
    press(panel, "threshold_preview")
    pause(0.5)
    if np.count_nonzero((shown != hidden).any(axis=-1)) < LEAST_PIXELS:
        raise Failure("the preview of the threshold brush is missing.")
    save(viewer, out / "panel-correct.png")
    for name in ("threshold", "tool_move", "paint_fold", "show_t1ce", "tab_read"):
        press(panel, name)
    pause(0.5)


def export(panel: Any, out: Path) -> None:
    """The dialog of *Export…*, as it is for a study that was opened from DICOM. Raises Failure."""
    press(panel, "export")
    dialog = panel.findChild(QDialog, "export_dialog")
    if dialog is None or not dialog.isVisible():
        raise Failure("the dialog of 'Export…' does not open.")
    pause(1.0)  # whether these images are DICOM has been looked up
    dialog.show_images("Phantom/DICOM", (("t1ce", "4: t1_tse_tra_km"),))
    for name in ("export_sr", "deidentify"):
        named(dialog, name).click()
    pause(0.5)
    dialog.grab().save(str(out / "export.png"))
    dialog.reject()


def models(panel: Any, out: Path) -> None:
    """The dialog of *Models…*, a bundle of MONAI's form (random weights) beside the bundled model. Raises Failure."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    import torch
    from helpers import peers
    from monai.networks.nets import SegResNet

    at = peers.bundle(Path(os.environ["BRAINSEG_HOME"]) / "brats_mri_segmentation")
    net = SegResNet(blocks_down=[1, 2], blocks_up=[1], init_filters=8, in_channels=4, out_channels=3, dropout_prob=0.2)
    torch.save(net.state_dict(), at / "models" / "model.pt")
    session = panel.owner.session
    panel.owner.features.models.bring_in(at, "monai")
    wait(lambda: any(m.name == "monai" for m in session.models), 120, "the imported model", session)
    press(panel, "models")
    dialog = panel.findChild(QDialog, "models_dialog")
    if dialog is None or not dialog.isVisible():
        raise Failure("the dialog of 'Models…' does not open.")
    for n in range(len(session.models)):
        dialog.table.item(0, n).setCheckState(Qt.CheckState.Checked)
    pause(0.5)
    if not dialog.segment.isEnabled():
        raise Failure("no two models can be ticked in the dialog of 'Models…'.")
    dialog.grab().save(str(out / "models.png"))
    dialog.reject()
    panel.owner.features.models.remove("monai")
    wait(lambda: all(m.name != "monai" for m in session.models), 60, "the end of the imported model", session)
    press(panel, "message_close")


def finetune(viewer: napari.Viewer, panel: Any, out: Path, minutes: float) -> None:
    """A new model of corrected phantoms: its curves, and before and after. Raises Failure."""
    from brainseg_engine import phantom
    from brainseg_engine.io import load_study

    finetuning, folder = panel.owner.features.finetune, Path(os.environ["BRAINSEG_HOME"]) / "phantoms"
    for n in range(LEARNT + ANCHORS):
        place = folder / ("studies" if n < LEARNT else "anchors")
        place.mkdir(parents=True, exist_ok=True)
        study = load_study(phantom.write_study(phantom.phantom_study(phantom.HELD_OUT_SEED + 500 + n, SMALL), place))
        if n < LEARNT:
            panel.owner.session.store.add(study, study.segmentation)
    press(panel, "finetune_fold")
    finetuning.choose(anchors=folder / "anchors", amount=minutes)
    wait(lambda: press(panel, "finetune_start"), 60, "the button 'Fine-tune'")
    session = panel.owner.session
    wait(lambda: finetuning.run is not None and not finetuning.running, 900, "the end of the fine-tuning", session)
    if not finetuning.made:
        raise Failure(f"the fine-tuning has no result. {finetuning.run.why_it_ended()}")
    press(panel, "message_close")
    pause(0.5)
    panel.scroll.ensureWidgetVisible(named(panel, "finetune_rollback"), 0, 20)
    save(viewer, out / "panel-fine-tune.png")
    press(panel, "finetune_fold")
    press(panel, "tab_read")
    pause(0.5)


def check_regions(viewer: napari.Viewer, panel: Any, where: str) -> None:
    """Each region, shown alone, has its colour on the canvas, and none is there when all are hidden. Raises Failure."""
    boxes = {region: named(panel, f"region_{region}_visible") for region in REGION_COLOURS}
    show(boxes, set())
    empty = canvas(viewer)
    if (empty.max(axis=-1) > 20).mean() < LEAST_LIT:
        raise Failure(f"the canvas is blank in {where}; is the platform xcb, with OpenGL?")
    for region, colour in REGION_COLOURS.items():
        show(boxes, {region})
        found, before = pixels(canvas(viewer), colour), pixels(empty, colour)
        if found < before + LEAST_PIXELS:
            raise Failure(f"the colour of {region} is missing in {where} ({found} pixels, {before} without it).")
    show(boxes, set(REGION_COLOURS))


def show(boxes: dict[Any, QAbstractButton], shown: set[Any]) -> None:
    """Set the regions' checkboxes."""
    for region, box in boxes.items():
        if box.isChecked() != (region in shown):
            box.click()
    pause(1.0)


def pixels(picture: Picture, colour: RGB) -> int:
    """How many pixels have that hue, over grey of whatever brightness and at whatever opacity."""
    wanted = np.array(colour) - np.mean(colour)
    chroma = picture / 255.0 - (picture / 255.0).mean(axis=-1, keepdims=True)
    strength = np.linalg.norm(chroma, axis=-1)
    likeness = (chroma @ wanted) / (np.linalg.norm(wanted) * np.maximum(strength, 1e-6))
    return int(np.count_nonzero((likeness > 0.95) & (strength > 0.12)))


def canvas(viewer: napari.Viewer) -> Picture:
    """The canvas alone, RGB (height, width, 3)."""
    return np.asarray(viewer.screenshot(canvas_only=True, flash=False))[..., :3]


def save(viewer: napari.Viewer, path: Path) -> None:
    """The whole window as a PNG."""
    imsave(str(path), np.asarray(viewer.screenshot(canvas_only=False, flash=False)))
    print(path)


def named(panel: Any, name: str) -> QAbstractButton:
    """The button of that object name. Raises Failure."""
    found = panel.findChild(QAbstractButton, name)
    if found is None:
        raise Failure(f"the panel has no button '{name}'.")
    return found


def press(panel: Any, name: str) -> bool:
    """Click that button; False while it cannot be pressed."""
    button = named(panel, name)
    if not button.isEnabled():
        return False
    panel.bring(button)
    button.click()
    return True


def pause(seconds: float) -> None:
    """Let the window work."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        QApplication.processEvents()
        time.sleep(0.01)


def wait(ready: Callable[[], bool], seconds: float, what: str, session: Any = None) -> None:
    """Let the window work until ``ready()``. Raises Failure, with what the panel says, when that takes too long."""
    until = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > until:
            said = f" The panel says: {session.message.text}" if session is not None and session.message else ""
            raise Failure(f"{what} did not come within {seconds:.0f} s.{said}")
        pause(0.05)


if __name__ == "__main__":
    sys.exit(main())
