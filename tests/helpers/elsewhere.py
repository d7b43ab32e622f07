"""A machine "elsewhere" that is this one, reached without a network, whose model is a threshold."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest

from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.study import Modality, Study, Volume

HELPERS = Path(__file__).parent


class Elsewhere:
    """``install`` puts a program there; ``asked``: what came over, a record each; ``models``: files to ask with."""

    def __init__(self, folder: Path, monkeypatch) -> None:
        if sys.platform == "win32":
            pytest.skip("the stand-in for a machine elsewhere is a shell script")
        self.folder, self.there = folder, folder / "there"
        self.there.mkdir()
        self._log = folder / "asked.jsonl"
        python = shlex.quote(sys.executable)
        monkeypatch.setenv("BRAINSEG_SSH", f"{python} {HELPERS / 'fake_ssh.py'}")
        monkeypatch.setenv("PATH", f"{self.there}:{os.environ['PATH']}")
        monkeypatch.setenv("FAKE_SERVING_LOG", str(self._log))
        self.install(f"{python} {HELPERS / 'fake_serving.py'}")

    def install(self, command: str, before: str = "echo a greeting of the shell there") -> None:
        script = self.there / "napari-brainseg"
        home = f"export BRAINSEG_HOME={self.folder / 'home_there'} PYTHONPATH={os.pathsep.join(sys.path)}"
        script.write_text(f"#!/bin/sh\n{before}\n{home}\nexec {command}\n")
        script.chmod(0o755)

    @property
    def asked(self) -> list[dict]:
        records = [json.loads(line) for line in self._log.read_text().splitlines()] if self._log.exists() else []
        return [r for r in records if r["do"] != "beat"]  # these come by the clock

    def works(self) -> list[dict]:
        """What the worker there was asked."""
        return [a for a in self.asked if a["do"] == "work"]

    def model(self, behaviour: str) -> Path:
        """A file whose first copy there tells how the threshold behaves."""
        path = self.folder / f"{behaviour}.safetensors"
        path.write_bytes(behaviour.encode())
        return path


def study(seed: int = 0) -> Study:
    rng = np.random.default_rng(seed)
    data = {m: rng.integers(0, 200, (8, 7, 6)).astype(">i2") for m in Modality}  # the byte order of some files
    path = Path("/secret/name.nii.gz")
    return Study(f"Doe{seed}", {m: Volume(d, Grid(d.shape, np.diag([1, 1, 2, 1.0])), m, path) for m, d in data.items()})


def expected(s: Study) -> np.ndarray:
    labels = np.where(s.volumes[Modality.FLAIR].data > 100, np.uint8(2), np.uint8(0))
    labels[s.reference.data > 100] = 3
    return labels
