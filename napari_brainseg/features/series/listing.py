"""From a place with series to the raw study of one visit, and to that study prepared. Pure; runs in the background."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from brainseg_engine.core import paths
from brainseg_engine.core.errors import BrainsegError, InputError, OutputError
from brainseg_engine.core.events import CancelCheck, ProgressCallback, never, silent
from brainseg_engine.core.study import Modality, Segmentation, Study, Volume
from brainseg_engine.io.found import UnpackedFolder
from napari_brainseg.display.axes import laid_out
from napari_brainseg.jobs import Aside, here
from napari_brainseg.session import Acquired, OpenStudy, Placing

if TYPE_CHECKING:
    from brainseg_engine.core.series import SeriesFacts
    from brainseg_engine.io.found import ImageSeries, Listing, Patient, Visit
    from brainseg_engine.prepare import Prepared
    from brainseg_engine.studies.identify import Choices
    from brainseg_engine.studies.incoming import Incoming

Source = Path | Sequence[Path]
MASK_REASON = "is a mask, no image"
"""Why a mask is not among the series, in the words of the list."""
NAME = "study"
"""What a study is called while it is prepared: nothing that tells whose it is goes into a file."""


@dataclass(frozen=True, eq=False)
class FoundVisits:
    """What lies at ``source``: the visits with something to use, which are never mixed; ``problems`` in words."""

    source: Source
    listing: Listing
    visits: tuple[tuple[Patient, Visit], ...]
    problems: tuple[str, ...]

    @property
    def place(self) -> Path:
        """The folder or archive; of several files the folder that they share."""
        if isinstance(self.source, Path):
            return self.source
        return Path(os.path.commonpath([p.parent for p in self.source]))

    def label(self, i: int) -> str:
        """The visit in neutral words; the day where it is needed to tell the visits of one patient apart."""
        patient, visit = self.visits[i]
        beside = [v for p, v in self.visits if p is patient]
        day = f", {visit.day.isoformat()}" if visit.day is not None and len(beside) > 1 else ""
        return f"{patient.label}, {visit.label}{day} · {len(visit.series)} series"


@dataclass(frozen=True, eq=False)
class Raw:
    """The chosen series with their voxels (``study``), how they are called (``titles``), where they lie (``place``); ``key``
    names them with what is to be done, and ``kept`` is the folder where just that was done before. ``mask``: the one mask that
    lies beside them; ``day``: of the examination."""

    study: Study
    titles: Mapping[Modality, str]
    place: Path
    key: str
    kept: Path | None = None
    mask: Path | None = None
    day: date | None = None


def find(
    source: Source, progress: ProgressCallback = silent, cancelled: CancelCheck = never, aside: Aside = here
) -> FoundVisits:
    """List what lies there. Raises InputError where there is nothing that could be used; then nothing unpacked is left.
    Raises Cancelled."""
    from brainseg_engine.studies.listed import check_listing, is_volume

    listing = _listed(source, progress, cancelled, aside)
    findings = check_listing(listing)
    wrong = next((f for f in findings if f.severity == "error"), None)
    visits = tuple((p, v) for p in listing.patients for v in p.visits if any(is_volume(s) for s in v.series))
    if wrong is not None or not visits:
        listing.close()
        raise InputError(wrong.message if wrong is not None else "None of these series is a volume of the head.")
    several = ("several-patients", "several-dates")  # the choice above the table says so
    return FoundVisits(source, listing, visits, tuple(f.message for f in findings if f.code not in several))


def _listed(source: Source, progress: ProgressCallback, cancelled: CancelCheck, aside: Aside) -> Listing:
    from brainseg_engine.io.listing import list_series, list_unpacked

    if isinstance(source, Path) or len(source) == 1:
        path = source if isinstance(source, Path) else source[0]
        return list_series(path, progress, cancelled, unpacked=partial(_elsewhere, aside, list_unpacked))
    return aside(_several_files, source, progress=progress, cancelled=cancelled)


def _elsewhere(
    aside: Aside,
    work: Callable[..., Listing],
    path: Path,
    named: Path,
    progress: ProgressCallback,
    cancelled: CancelCheck,
) -> Listing:
    return aside(work, path, named, progress=progress, cancelled=cancelled)


def _several_files(source: Sequence[Path], progress: ProgressCallback, cancelled: CancelCheck) -> Listing:
    from brainseg_engine.io import dicom
    from brainseg_engine.io.file_series import list_files
    from brainseg_engine.io.found import Listing
    from brainseg_engine.io.naming import is_image

    root = Path(os.path.commonpath([p.parent for p in source]))
    images = [p for p in source if is_image(p)]
    if not images:
        return dicom.list_dicom(root, progress, cancelled, files=list(source))
    return Listing(*list_files(images, root, progress, cancelled))


def identify(listed: FoundVisits, i: int, cancelled: CancelCheck = never, aside: Aside = here) -> Incoming:
    """What the series of the visit ``i`` were taken for; those that neither tags nor names tell are looked at. Raises
    Cancelled."""
    from brainseg_engine.studies.incoming import Incoming

    return Incoming(*listed.visits[i], aside(_choices, *listed.visits[i], cancelled=cancelled))


def _choices(patient: Patient, visit: Visit, progress: ProgressCallback, cancelled: CancelCheck) -> Choices:
    from brainseg_engine.studies.incoming import identified

    return identified(patient, visit, cancelled=cancelled).choices


def raw(listed: FoundVisits, incoming: Incoming, brain: str, aside: Aside = here) -> Raw:
    """The chosen series with their voxels, and whether they were prepared before, the brain found by that method. Raises
    InputError."""
    from brainseg_engine.corrections import places
    from brainseg_engine.prepare import PrepareOptions, kept

    study, titles = raw_study(listed, incoming, aside)
    key = kept.key_of(study, PrepareOptions(brain=brain))  # type: ignore[arg-type]
    before = kept.find(key)
    with contextlib.suppress(BrainsegError):  # what could not be removed is removed another time
        kept.tidy(places())
    return Raw(study, titles, listed.place, key, before, mask_beside(listed, incoming), incoming.visit.day)


def mask_beside(listed: FoundVisits, incoming: Incoming) -> Path | None:
    """The mask in the folder of the chosen image files, where it is one and no more."""
    folders = {s.path.parent for s in incoming.chosen().values() if s.path is not None}
    masks = [p for s in listed.listing.skipped if s.reason == MASK_REASON for p in s.paths if p.parent in folders]
    return masks[0] if len(masks) == 1 else None


def placed_anew(current: OpenStudy, placing: Placing, working: Path) -> tuple[Raw, Path]:
    """The series that the study was prepared from, to be prepared again in another place; and its brain mask as a file in
    ``working``, on the grid that a preparation looks for it. Raises BrainsegError."""
    from brainseg_engine.io import save_volume
    from brainseg_engine.prepare import PrepareOptions, Rigid, kept
    from brainseg_engine.prepare.network_grid import covering
    from brainseg_engine.prepare.rigid import carried

    acquired = current.acquired
    if acquired is None or acquired.reference is None:
        raise InputError("The series that this study was prepared from are not at hand. Open them again.")
    prepared = acquired.prepared
    onto = covering(prepared.grids[prepared.reference])
    brain = working / "brain.nii.gz"
    save_volume(carried(prepared.brain.astype(np.float32), prepared.grid, onto) > 0.5, onto, brain)
    motions = [{m: Rigid(np.asarray(a)) for m, a in given.items()} for given in (placing.placed, placing.starts)]
    study = Study(current.study.id, acquired.volumes)
    key = kept.key_of(study, PrepareOptions(brain=brain, transforms=motions[0], starts=motions[1]))
    return Raw(study, acquired.titles, acquired.folder or Path.cwd(), key, day=current.day), brain


def carried_over(segmentation: Segmentation, study: OpenStudy) -> Segmentation:
    """Labels of the same series, prepared otherwise, on the grid of this preparation."""
    from brainseg_engine.prepare.back import segmentation_onto

    return laid_out(segmentation_onto(segmentation, study.study.reference.grid))


def raw_study(listed: FoundVisits, incoming: Incoming, aside: Aside = here) -> tuple[Study, Mapping[Modality, str]]:
    """The chosen series with their voxels, each on its own grid, and how they are called. Raises InputError."""
    from brainseg_engine.studies.incoming import neutral_id

    chosen = incoming.chosen()
    if not chosen:
        raise InputError("No series is chosen. Say in the table which is T1, T1ce, T2 and FLAIR.")
    volumes = aside(_volumes, chosen)
    titles = {m: title(s.facts) for m, s in chosen.items()}
    return Study(neutral_id(listed.place, listed.listing), volumes), titles


def _volumes(
    chosen: Mapping[Modality, ImageSeries], progress: ProgressCallback, cancelled: CancelCheck
) -> dict[Modality, Volume]:
    from brainseg_engine.io.listing import volume_of

    return {m: replace(volume_of(s, m, cancelled=cancelled), path=None) for m, s in chosen.items()}


def ready(listed: FoundVisits, incoming: Incoming, aside: Aside = here) -> OpenStudy | None:
    """The study as it is, where its four series share one grid of about 1 mm and no skull is seen: nothing has to be prepared.
    Else None."""
    from brainseg_engine.io.naming import is_image
    from brainseg_engine.studies.checks import check_study

    grids = [s.grid for s in incoming.chosen().values() if s.grid is not None]
    if len(grids) < len(Modality) or not all(g.same_as(grids[0]) for g in grids):
        return None
    try:
        study = replace(raw_study(listed, incoming, aside)[0], folder=listed.place if listed.place.is_dir() else None)
    except (
        InputError
    ):  # a series that cannot be decoded: another may be chosen in the table, and Prepare says why not this one
        return None
    findings = tuple(check_study(study))
    if any(f.code in ("skull", "spacing") for f in findings):  # thick slices on one grid are still as acquired
        return None
    chosen = incoming.chosen()
    single = {m: s.path for m, s in chosen.items() if s.path is not None and s.path.is_file() and is_image(s.path)}
    if len(set(single.values())) == len(study.volumes):  # files of their own: others can be taken in their place
        study = replace(study, volumes={m: replace(v, path=single[m]) for m, v in study.volumes.items()})
    files = [s.path for s in incoming.visit.series if s.path is not None and s.path.is_file() and is_image(s.path)]
    return OpenStudy(study, files=tuple(dict.fromkeys([*single.values(), *files])) if single else (), findings=findings,
                     day=incoming.visit.day)  # fmt: skip


def nameless(study: Study) -> Study:
    """The same study without its name and its headers, for the process that prepares it."""
    return Study(NAME, dict(study.volumes))


def kept_study(made: Path, raw: Raw) -> OpenStudy:
    """The study that was prepared into that folder of a working place, kept for the next time, too. Raises BrainsegError."""
    from brainseg_engine.prepare import kept

    return prepared_study(kept.keep(made, raw.study, raw.key), raw)


def prepared_study(folder: Path, raw: Raw) -> OpenStudy:
    """The prepared study that is kept in that folder, checked. Raises InputError."""
    from brainseg_engine.prepare import files
    from brainseg_engine.studies.checks import check_study

    made = files.load(folder)
    study = replace(made.study, id=raw.study.id, folder=folder)
    prepared = replace(made, study=study)
    acquired = Acquired(prepared, raw.study.volumes, raw.titles, raw.place)
    mask, trouble = _mask(raw.mask, prepared) if raw.mask is not None else (None, ())
    findings = tuple(check_study(study))
    return OpenStudy(
        study, problems=(*prepared.warnings, *trouble), findings=findings, truth=mask, acquired=acquired, day=raw.day
    )


def _mask(path: Path, prepared: Prepared) -> tuple[Segmentation | None, tuple[str, ...]]:
    """The mask beside the series, carried onto the aligned grid, and why it was left out."""
    from brainseg_engine.prepare.masks import read_mask

    try:
        mask, _ = read_mask(path, prepared)
    except BrainsegError as e:
        return None, (f"The images were opened without their mask. {e}",)
    return laid_out(replace(mask, path=path)), ()


def workspace() -> UnpackedFolder:
    """A folder for this user alone to prepare a study in: what is kept moves out of it, the rest goes with it. Raises
    OutputError."""
    from brainseg_engine.prepare import kept

    home = kept.root()
    holding = contextlib.ExitStack()
    try:
        return UnpackedFolder(holding.enter_context(paths.part_folder(home)), holding.close)
    except OSError as e:
        raise OutputError(f"There is no place to work in: {home} takes no files. Free some space.") from e


def title(facts: SeriesFacts) -> str:
    """A series in a line: "5: t1_tse_tra_km"."""
    number = "" if facts.number is None else f"{facts.number}: "
    return f"{number}{facts.label or facts.description or 'without a description'}"


def extent(series: ImageSeries) -> str:
    """Plane, matrix × slices and spacing: "axial 256×256×24, 0.9×0.9×5.5 mm"."""
    facts = series.facts
    if facts.shape is None or facts.spacing is None:
        return "no volume"
    axis = facts.spacing.index(max(facts.spacing)) if max(facts.spacing) > 1.05 * min(facts.spacing) else 2
    order = [i for i in range(3) if i != axis] + [axis]
    shape = [facts.shape[i] for i in order]
    sides = "×".join(f"{facts.spacing[i]:.2g}" for i in order)
    size = "×".join(str(n) for n in shape)
    return f"{facts.plane} {size}, {f'{sides} mm' if facts.calibrated else 'voxel size unknown'}".strip()
