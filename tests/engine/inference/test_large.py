"""A head at half a millimetre: 84 million voxels a series, segmented within 8 GiB."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainseg_engine.phantom import phantom_study

CHILD = """
import resource, sys
from brainseg_engine.cli import main
try:
    main()
finally:
    print("KiB", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks Linux for the peak of a process")
def test_a_study_at_half_a_millimetre_needs_less_than_8_gib(tmp_path: Path) -> None:
    coarse = phantom_study(5, (256, 256, 160))
    place = tmp_path / "Fine"
    place.mkdir()
    affine = coarse.reference.grid.affine @ np.diag([0.5, 0.5, 0.5, 1.0])
    for m, volume in coarse.volumes.items():
        fine = volume.data.repeat(2, 0).repeat(2, 1).repeat(2, 2)
        nib.save(nib.Nifti1Image(fine, affine), place / f"Fine_{m.value}.nii")
        del fine
    assert nib.load(place / "Fine_t1.nii").shape == (512, 512, 320)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", CHILD, "predict", place, "--out", tmp_path / "out", "--device", "cpu"]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, env=env, timeout=800)
    assert done.returncode == 0, done.stdout + done.stderr
    peak = int(done.stdout.rsplit("KiB", 1)[1])
    assert peak < 8 * 2**20, f"{peak / 2**20:.2f} GiB"
    found = nib.load(tmp_path / "out" / "Fine_seg.nii.gz")
    truth = coarse.segmentation.labels.repeat(2, 0).repeat(2, 1).repeat(2, 2) > 0
    tumour = np.asarray(found.dataobj) > 0
    assert found.shape == truth.shape and 2 * (tumour & truth).sum() / (tumour.sum() + truth.sum()) > 0.7
