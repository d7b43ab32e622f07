"""Where a model doubts its answer, and how much in all.

The doubt of a voxel is the binary entropy, in bits, of the averaged probability of each region, averaged over the regions
that the model gives, calibrated where the model is (predictive entropy; over mirror images: Wang et al. 2019,
doi:10.1016/j.neucom.2019.01.103; over models: Lakshminarayanan et al. 2017, arXiv 1612.01474)::

    u(v) = mean over regions r of  −p log2 p − (1 − p) log2 (1 − p),   p = mean over flips and models of p_r(v)

It lies in 0…1. One pass of one model gives a map too (p is then that pass' own probability); averaging over the 8 mirror
images also tells what depends on how the head lies. The score of a study, which ranks a queue, is the doubted volume in
relation to the tumour's::

    score = (sum of u over all voxels, in mL) / (volume of the predicted whole tumour in mL + 1 mL)

so that large tumours are not doubtful by their size alone, and a study where hardly anything was found stays finite. What
lies below ``NOISE`` bits is left out of sums: a faint haze over the brain's million voxels would drown the tumour's rim.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core import plain, records
from brainseg_engine.core.errors import CheckpointError
from brainseg_engine.core.events import CancelCheck, Progress, ProgressCallback, never, silent
from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import Region, region_mask
from brainseg_engine.core.paths import home, private_folder
from brainseg_engine.core.study import Prediction, Study
from brainseg_engine.corrections import study_key
from brainseg_engine.inference.calibrated import calibrated

if TYPE_CHECKING:
    from brainseg_engine.inference.predictor import Predictor  # torch: the window reads scores without it

NOISE = 0.05
"""Bits below which doubt does not count in sums."""

_ONE_ML = 1.0
_CHUNK = 1 << 20  # voxels at a time: entropy of a whole study in float32 would take 100 MB for each step

Probabilities = Mapping[Region, NDArray[np.float16]]


@dataclass(frozen=True)
class Score:
    """Of one study and one model: ``score`` (see above), and the volumes in mL that it is made of."""

    score: float
    doubted_ml: float
    tumour_ml: float

    def to_dict(self) -> dict[str, float]:
        """As a JSON object."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """From that JSON object."""
        return cls(float(record["score"]), float(record["doubted_ml"]), float(record["tumour_ml"]))


@dataclass(frozen=True, eq=False)
class Doubt:
    """``map`` (X, Y, Z) float16 in bits, on the grid of the study's reference series; ``score`` of the whole."""

    study_id: str
    map: NDArray[np.float16]
    grid: Grid
    score: Score


def entropy(probabilities: Probabilities) -> NDArray[np.float16]:
    """The map (X, Y, Z) of those probabilities."""
    arrays = list(probabilities.values())
    out = np.zeros(arrays[0].shape, dtype=np.float16, order="F" if arrays[0].flags.f_contiguous else "C")
    order: Any = "F" if out.flags.f_contiguous else "C"
    flat, parts = out.reshape(-1, order=order), [a.reshape(-1, order=order) for a in arrays]
    for start in range(0, flat.size, _CHUNK):
        total = np.zeros(min(_CHUNK, flat.size - start), dtype=np.float32)
        for part in parts:
            p = part[start : start + _CHUNK].astype(np.float32)
            open_ = np.flatnonzero((p > 1e-6) & (p < 1 - 1e-6))  # most voxels are certain
            q = p[open_]
            total[open_] -= q * np.log2(q) + (1 - q) * np.log2(1 - q)
        flat[start : start + _CHUNK] = total / len(parts)
    return out


def mean(several: Sequence[Probabilities]) -> Probabilities:
    """The mean over models, of the regions that all of them give."""
    if len(several) == 1:
        return several[0]
    common = [r for r in Region if all(r in p for p in several)]
    out = {}
    for r in common:
        total = several[0][r].astype(np.float32)
        for p in several[1:]:
            total += p[r]
        out[r] = (total / len(several)).astype(np.float16)
    return out


def profile(map: NDArray[np.float16], axis: int) -> NDArray[np.float32]:
    """The doubt of each slice along a file axis: the sum of what lies above the noise, in voxels."""
    others = tuple(a for a in range(3) if a != axis)
    counted: NDArray[np.float32] = np.where(map > NOISE, map, np.float16(0)).sum(axis=others, dtype=np.float32)
    return counted


def doubtful_slices(sums: NDArray[np.float32], least: float = 0.25, apart: int = 2) -> list[int]:
    """The slices to look at, the most doubtful first: local peaks of the profile above ``least`` of its maximum.

    Peaks less than ``apart`` + 1 slices from a higher one are that one's shoulder.
    """
    if not len(sums) or sums.max() <= 0:
        return []
    taken: list[int] = []
    for i in np.argsort(-sums, kind="stable"):
        if sums[i] < least * sums.max():
            break
        if all(abs(int(i) - t) > apart for t in taken):
            taken.append(int(i))
    return taken


def score(map: NDArray[np.float16], tumour_voxels: int, grid: Grid) -> Score:
    """The score of a study whose predicted whole tumour has that many voxels.

    Where the voxel size is not known, a voxel counts as 0.001 mL (1 mm a side).
    """
    ml = grid.voxel_ml or 0.001
    doubted, tumour = float(profile(map, 0).sum()) * ml, tumour_voxels * ml
    return Score(doubted / (tumour + _ONE_ML), doubted, tumour)


def doubt_of(prediction: Prediction, *others: Prediction) -> Doubt:
    """The doubt of a prediction with probabilities, together with those of other models for the same study."""
    several = [calibrated(p.probabilities, p.scaling) for p in (prediction, *others) if p.probabilities]
    if not several:
        raise ValueError("a prediction without probabilities tells of no doubt")
    doubt = entropy(mean(several))
    s = prediction.segmentation
    return Doubt(
        prediction.study_id,
        doubt,
        s.grid,
        score(doubt, int(np.count_nonzero(region_mask(s.labels, Region.WT))), s.grid),
    )


def doubt(
    study: Study,
    predictors: Sequence[Predictor],
    *,
    progress: ProgressCallback = silent,
    cancelled: CancelCheck = never,
) -> Doubt:
    """The doubt of one model (over mirror images where it was made with ``tta``) or of several. Raises what predict does."""
    made = []
    for i, predictor in enumerate(predictors):

        def part(event: Progress, i: int = i) -> None:
            progress(replace(event, fraction=(i + event.fraction) / len(predictors)))

        made.append(predictor.predict(study, progress=part, cancelled=cancelled, probabilities=True))
    return doubt_of(made[0], *made[1:])


class Scores:
    """Scores that were computed before: one small file for each study and model, in the user's folder.

    A study is known by its images' hashes; so that its files need not be read again to know them, their paths, sizes and
    times are kept beside (on this machine only).
    """

    def __init__(self, model_sha256: str, passes: str = "one") -> None:
        self._suffix = f"{model_sha256[:16]}-{passes}"

    def get(self, key: str) -> Score | None:
        """The score of the study with that key, where it was computed."""
        record = _json(_home() / f"{key}-{self._suffix}.json")
        try:
            return Score.from_dict(record)
        except (KeyError, TypeError, ValueError):
            return None

    def put(self, key: str, value: Score) -> None:
        """Keep it. Raises OutputError."""
        _keep(_home() / f"{key}-{self._suffix}.json", value.to_dict())


def model_hash(path: Path) -> str:
    """SHA-256 of a model's file, by which its scores are kept. Raises CheckpointError when it cannot be read."""
    try:
        return plain.sha256(path)
    except OSError as e:
        raise CheckpointError(f"The model {path} cannot be read: {e.strerror or e}. Choose another.") from e


def known_key(files: Sequence[Path]) -> str:
    """The key of the study in those files, where it is known and they have not changed since; else ""."""
    return str(_json(_home() / "files" / f"{_stamp(files)}.json").get("key", ""))


def remember_key(files: Sequence[Path], study: Study) -> str:
    """Note the key of the study that was read from those files, and return it. Raises OutputError."""
    key = study_key(study)
    _keep(_home() / "files" / f"{_stamp(files)}.json", {"key": key})
    return key


def _stamp(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in sorted(files):
        try:
            status = path.stat()
        except OSError:
            continue
        digest.update(os.fsencode(path.resolve()) + f"|{status.st_size}|{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:32]


def _home() -> Path:
    return home() / "doubt"


def _json(path: Path) -> dict[str, Any]:
    try:
        record = records.read_json(path)
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _keep(path: Path, record: Mapping[str, Any]) -> None:
    private_folder(_home())
    private_folder(path.parent)
    records.write_json(path, record, indent=None, private=True)
