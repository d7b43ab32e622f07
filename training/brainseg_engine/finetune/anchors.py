"""Cases on which the model is to stay as good as it was: some are replayed while it learns, others are scored."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from brainseg_engine import dataset, phantom
from brainseg_engine.core.errors import BrainsegError, InputError
from brainseg_engine.core.events import Progress, ProgressCallback
from brainseg_engine.finetune.collecting import CorrectedCase
from brainseg_engine.phantom.files import cached
from brainseg_engine.recipe import Recipe
from brainseg_engine.studies import cohort

_log = logging.getLogger(__name__)
REPLAYED, SCORED = 12, 12
"""At most so many cases: reading more takes minutes and tells little more."""
PHANTOMS_REPLAYED = tuple(900_000 + n for n in range(4))
PHANTOMS_SCORED = tuple(phantom.HELD_OUT_SEED + 300 + n for n in range(3))
PHANTOM_SHAPE = phantom.SHAPE


@dataclass
class Anchors:
    """Name → what ``load_study`` takes: ``replayed`` in training, ``choosing`` how far the weights are moved, and ``scored``
    to judge the model. ``words`` say what they are; ``real``: of patients, not phantoms."""

    replayed: dict[str, Path]
    choosing: dict[str, Path]
    scored: dict[str, Path]
    words: str
    real: bool
    notes: list[str] = field(default_factory=list)
    patients: dict[str, str] = field(default_factory=dict)
    """Of those that are scored: a pseudonym of each one's patient."""


def phantoms(report: ProgressCallback, stop: Callable[[], None]) -> Anchors:
    """The phantoms, made once and kept in the user's folder."""
    seeds = (*PHANTOMS_REPLAYED, *PHANTOMS_SCORED)
    cases: dict[str, Path] = {}
    for n, seed in enumerate(seeds):
        stop()
        report(Progress(f"making phantom {n + 1} of {len(seeds)}", n / len(seeds)))
        name = phantom.study_id(seed)
        cases[name] = cached(name, lambda seed=seed: phantom.phantom_study(seed, PHANTOM_SHAPE))  # type: ignore[misc]
    names, replayed = list(cases), len(PHANTOMS_REPLAYED)
    note = "Forgetting is measured on phantoms, since no case was given: nothing is claimed about patients' cases."
    return Anchors(
        {n: cases[n] for n in names[:replayed]}, {n: cases[n] for n in names[replayed : replayed + 1]},
        {n: cases[n] for n in names[replayed + 1 :]}, "phantoms", False, [note],
    )  # fmt: skip


def of_folder(
    folder: Path,
    split: Path | None,
    cases: Sequence[CorrectedCase],
    recipe: Recipe,
    seed: int,
    learnt: Collection[str],
    report: ProgressCallback,
    stop: Callable[[], None],
    coding: str | None = None,
) -> Anchors:
    """Anchors of a data folder. Without a split, a third of its patients (two at least) is scored and the others are replayed.

    No study and no patient of the corrections is among them. Cases that the base model has learnt from (``learnt``: hashes
    of its training images) are scored only where there are no others: it is better on them than on any other case, so
    that every change seems to lose there. Half of the patients that are scored choose, half judge. Raises InputError when
    nothing is left to score.
    """
    replay, score = _sides(folder, split, seed)
    known = {name.casefold() for case in cases for name in (*case.known_as, case.name)}
    images = {h for case in cases for h in case.images}
    notes: list[str] = []
    sides: list[dict[str, Path]] = []
    patients: dict[str, str] = {}
    with dataset.reported_once() as doubts:
        for side, most in ((score, SCORED), (replay, REPLAYED)):
            taken: dict[str, Path] = {}
            seen: dict[str, Path] = {}
            for case in _shuffled(side, seed):
                if len(taken) == most:
                    break
                stop()
                report(Progress(f"reading {case.name}", (len(sides) + len(taken) / most) / 2))
                hashes, why = _images(case, recipe, known, images, coding, doubts)
                patients[case.name] = case.patient
                if why:
                    notes.append(f"The anchor {case.name} is left out: {why}")
                    _log.warning("the anchor %s is left out: %s", case.name, why)
                elif side is score and not set(hashes).isdisjoint(learnt):
                    seen[case.name] = case.source
                else:
                    taken[case.name] = case.source
            if side is score and seen and not taken:
                taken = dict(list(seen.items())[:most])
                notes.append(
                    "The base model has learnt from every anchor that is scored, and is better there than elsewhere: the guard "
                    "is too careful. Name anchors that it has never seen."
                )
            sides.append(taken)
    return _divided(folder, sides[0], sides[1], patients, notes)


def _divided(
    folder: Path, scored: dict[str, Path], replayed: dict[str, Path], patients: Mapping[str, str], notes: list[str]
) -> Anchors:
    """The anchors, those that are scored divided into those that choose and those that judge. Raises InputError."""
    if not scored:
        raise InputError(
            f"No case of {folder} can be used to measure what is forgotten. {notes[0] if notes else ''}".strip()
        )
    if not replayed:
        notes.append("No anchor is replayed in training: all are scored.")
    count = f"{len(scored)} case{'s' if len(scored) > 1 else ''}"
    choosing, judging = _halves(scored, patients)
    if not judging:
        notes.append("One patient's anchor chooses how far the model is moved, and none is left to judge it.")
    pseudonyms = {n: hashlib.sha256(patients[n].encode()).hexdigest()[:12] for n in judging}
    return Anchors(replayed, choosing, judging, f"{count} of {folder.name}", True, notes, pseudonyms)


def _halves(scored: Mapping[str, Path], patients: Mapping[str, str]) -> tuple[dict[str, Path], dict[str, Path]]:
    """Every other patient's cases, beginning with the first."""
    order = list(dict.fromkeys(patients[n] for n in scored))
    first = set(order[::2])
    sides = [{n: p for n, p in scored.items() if (patients[n] in first) == side} for side in (True, False)]
    return sides[0], sides[1]


def _sides(folder: Path, split: Path | None, seed: int) -> tuple[list[cohort.CohortCase], list[cohort.CohortCase]]:
    listed = cohort.list_cases(folder)
    if split is not None:
        subset = cohort.read_split(split)
        return tuple([c for c in listed if subset.get(c.name) == s] for s in ("train", "validation"))  # type: ignore[return-value]
    patients = list(dict.fromkeys(c.patient for c in _shuffled(listed, seed)))
    least = 2 if len(patients) > 2 else 1  # one to choose by, one to judge by
    scored = set(patients[: max(least, len(patients) // 3)])
    return [c for c in listed if c.patient not in scored], [c for c in listed if c.patient in scored]


def _images(
    case: cohort.CohortCase,
    recipe: Recipe,
    known: Collection[str],
    images: Collection[str],
    coding: str | None,
    doubts: dataset.Doubts,
) -> tuple[tuple[str, ...], str]:
    """The hashes of its images, and why it cannot be an anchor, "" when it can."""
    if {case.name.casefold(), case.patient.casefold()} & set(known):
        return (), "its patient is among the corrections."
    try:
        study, _ = dataset.usable(case.source, recipe, doubts, coding)
        hashes = dataset.hashes_of(study, recipe)
        return hashes, "it is a study that was corrected." if any(h in images for h in hashes) else ""
    except BrainsegError as e:
        return (), str(e)


def _shuffled(cases: Sequence[cohort.CohortCase], seed: int) -> Iterator[cohort.CohortCase]:
    """In an order that only names and seed decide, whole patients together."""

    def key(case: cohort.CohortCase) -> tuple[str, str]:
        return hashlib.sha256(f"{seed}:{case.patient}".encode("utf-8", "surrogatepass")).hexdigest(), case.name

    return iter(sorted(cases, key=key))
