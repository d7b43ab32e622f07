"""Studies for the tests of panel and actions: the one that all tests share, and its files."""

from __future__ import annotations

from pathlib import Path

from brainseg_engine.core.study import Study
from brainseg_engine.io import save_segmentation, save_volume

FAKE_WORKER = Path(__file__).parent / "fake_worker.py"


def write(study: Study, folder: Path, mask: bool = True) -> Path:
    """The study as files in a folder of its own below ``folder``."""
    folder = folder / study.id
    folder.mkdir()
    for m, v in study.volumes.items():
        save_volume(v.data, v.grid, folder / f"{study.id}_{m}.nii.gz")
    if mask:
        save_segmentation(study.segmentation, folder / f"{study.id}_seg.nii.gz", coding="brats2021")
    return folder
