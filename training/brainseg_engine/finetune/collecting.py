"""The accepted corrections that a model can learn from, as a data folder: the images linked, the corrected masks beside."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from brainseg_engine import dataset
from brainseg_engine.core import outputs
from brainseg_engine.core.errors import BrainsegError, InputError, OutputError
from brainseg_engine.core.events import Progress, ProgressCallback
from brainseg_engine.core.labels import Region
from brainseg_engine.core.names import inside
from brainseg_engine.core.study import SeriesNeeded
from brainseg_engine.corrections import Correction, Store, image_hashes, source_of
from brainseg_engine.finetune.usable import SHARE, share_of, unfit
from brainseg_engine.io import load_study, save_segmentation
from brainseg_engine.io.formats import beside
from brainseg_engine.phantom.files import ENDINGS
from brainseg_engine.recipe import Recipe
from brainseg_engine.studies import cohort
from brainseg_engine.studies.checks import require_usable

_log = logging.getLogger(__name__)
_REPORTED = ("record_damaged", "two_people", "empty")


@dataclass(frozen=True)
class CorrectedCase:
    """One correction as a case of the data folder. ``patient`` is a pseudonym, ``images`` the hashes of its images."""

    name: str
    mask_sha256: str
    patient: str
    images: tuple[str, ...]
    held_out: bool = False
    edited: tuple[Region, ...] | None = None
    """See :class:`brainseg_engine.finetune.plan.Learnt`."""
    known_as: tuple[str, ...] = ()
    """Names of study and patient on this machine: no anchor may bear them."""


@dataclass
class Collected:
    """``refused``: correction → why it is not used. ``notes``: what else should be known."""

    cases: list[CorrectedCase]
    refused: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def collect(store: Store, recipe: Recipe, data: Path, report: ProgressCallback, stop: Callable[[], None]) -> Collected:
    """Take the newest accepted correction of each study into the new folder ``data``.

    One that cannot be used is named in ``refused``. Raises InputError when none is left.
    """
    outputs.remove(data.parent, data.name)
    data = outputs.subfolder(data.parent, data.name)
    latest = sorted(store.latest().values(), key=lambda c: c.id)
    if not latest:
        raise InputError(f"There is no accepted correction in {store.path}. Accept one first.")
    patients = {c.id: patient for patient, group in store.patients().items() for c in group}
    collected = Collected([], notes=[f.message for f in store.check(images=False) if f.code in _REPORTED])
    for n, c in enumerate(latest):
        stop()
        report(Progress(f"collecting {c.id}", n / len(latest)))
        try:
            case = _taken(store, c, recipe, data, patients[c.id])
            collected.cases.append(replace(case, held_out=c.held_out))
            if c.untouched:
                collected.notes.append(
                    f"'{c.id}' equals the answer that it began from: it is learnt from, and is no evidence where it is held out."
                )
        except BrainsegError as e:
            collected.refused[c.id] = str(e)
            shutil.rmtree(inside(data, c.id), ignore_errors=True)
            _log.warning("the correction %s is left out: %s", c.id, e)
    if not collected.cases:
        why = next(iter(collected.refused.values()))
        raise InputError(f"None of the {len(latest)} corrections in {store.path} can be used. The first: {why}")
    return collected


def _taken(store: Store, c: Correction, recipe: Recipe, data: Path, patient: str) -> CorrectedCase:
    why = unfit(c, recipe.output.regions, recipe.modalities)
    if why:
        raise InputError(why)
    source = source_of(c.study)
    if source is None or not source.there:
        raise InputError(f"The images of the correction '{c.id}' are not known on this machine. Open the study once.")
    if len(set(source.files.values())) < len(source.files):
        raise InputError(
            f"The images of the correction '{c.id}' lie together in {next(iter(source.files.values()))}; fine-tuning wants a "
            "file for each series. Write them apart and open the study once."
        )
    folder = inside(data, c.id)
    folder.mkdir()
    mask = store.read(c)
    for m, path in source.files.items():
        name = f"{c.id}-{ENDINGS[m]}"
        _link(path, folder / f"{name}{_suffix(path)}")
        for other, ending in beside(path).items():  # voxels in a file of their own
            own = ending.startswith(".")
            _link(other, folder / (f"{name}{ending}" if own else ending), soft=own)  # no header leads through a link
    save_segmentation(replace(mask, coding=c.coding), folder / f"{c.id}-seg.nii.gz", sidecar={"made_by": c.made_by})
    study = load_study(folder)
    now = image_hashes(study)
    changed = [m.title for m, h in c.images.items() if now.get(m) != h]
    if changed:
        raise InputError(
            f"The study of the correction '{c.id}' has changed since it was corrected: {', '.join(changed)} differs. Correct "
            "it anew, or put the images back."
        )
    for doubt in require_usable(study, SeriesNeeded(recipe.modalities)):
        _log.warning("%s: %s", c.id, doubt.message)
    known = (
        source.study_id,
        patient,
        cohort.patient_of(source.study_id),
        *([source.folder.name] if source.folder else []),
    )
    pseudonym = hashlib.sha256(patient.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return CorrectedCase(
        c.id, c.mask_sha256, pseudonym, dataset.hashes_of(study, recipe), edited=c.edited, known_as=known
    )


def _suffix(path: Path) -> str:
    return "".join(path.suffixes[-2:]) if path.name.endswith(".gz") else path.suffix


def _link(source: Path, target: Path, *, soft: bool = True) -> None:
    """The image under a name of ours: a link (``soft``: one that may lead to another disk), or a copy where there are none.

    Raises OutputError where the name is taken: a copy would be written through the link."""
    if target.is_symlink() or target.exists():
        raise OutputError(f"Two images keep their voxels in files called {target.name}. Convert them to .nii.gz.")
    for make in ([Path.symlink_to] if soft else []) + [Path.hardlink_to]:
        try:
            return make(target, source.resolve())
        except OSError:
            continue
    try:
        shutil.copyfile(source, target)
    except OSError as e:
        raise OutputError(f"Cannot write {target}: {e.strerror or e}. Choose another --out folder.") from e


def hold_out(cases: Sequence[CorrectedCase], store: Store) -> tuple[list[CorrectedCase], list[str]]:
    """The cases, some of them held out by patient, and what to say of it.

    What the store says counts. Where it holds out none and there are three patients or more, about a quarter of them is
    chosen, always the same ones, and the store remembers it. Raises InputError when nothing is left to train on.
    """
    cases = list(cases)
    notes = []
    chosen = {c.patient for c in cases if c.held_out}
    patients = sorted({c.patient for c in cases})  # pseudonyms are hashes: this order is as good as one drawn
    if not chosen and share_of(len(patients)):
        chosen = set(patients[: share_of(len(patients))])
        notes.append(_remember(store, [c for c in cases if c.patient in chosen]))
    cases = [replace(c, held_out=c.patient in chosen) for c in cases]
    if all(c.held_out for c in cases):
        raise InputError(
            f"All usable corrections in {store.path} are held out for testing, so there is nothing to train on. Let some be "
            "trained on: napari-brainseg corrections hold-out ID --undo."
        )
    unchanged = [c.name for c in cases if c.held_out and c.edited == ()]
    if unchanged:
        notes.append(f"Held out, but never edited, and so no evidence: {', '.join(unchanged)}.")
    if not chosen:
        one = "There is one correction only" if len(cases) == 1 else f"There are {len(patients)} patients only"
        notes.append(
            f"{one}, so nothing is held out: whether the new model is better on studies like these cannot be said, and no "
            "claim is made. It can only be checked that it has not forgotten what it knew."
        )
    elif len(chosen) < SHARE / 2 * len(patients):
        notes.append(
            f"Only {len(chosen)} of {len(patients)} patients are held out: what is measured on them is uncertain."
        )
    return cases, notes


def _remember(store: Store, cases: Sequence[CorrectedCase]) -> str:
    named = ", ".join(c.name for c in cases)
    try:
        for case in cases:
            store.set_held_out(case.name)
    except BrainsegError as e:
        return f"Held out for testing: {named}; that could not be recorded in the store ({e})"
    return f"Held out for testing from now on, by patient: {named} (napari-brainseg corrections hold-out changes it)."


def visits(training: int, replayed: int, mix: float) -> Mapping[str, int]:
    """How often an epoch sees each correction and each anchor, so that the share ``mix`` of samples is of anchors."""
    if not replayed or mix <= 0:
        return {"corrections": 1, "anchors": 1}
    wanted = mix / (1 - mix) * training / replayed  # visits of an anchor for one of a correction
    if wanted >= 1:
        return {"corrections": 1, "anchors": round(wanted)}
    return {"corrections": round(1 / wanted), "anchors": 1}
