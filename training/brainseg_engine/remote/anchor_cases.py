"""The anchors of a fine-tuning elsewhere: chosen here, where their names are known, and sent under names that tell nothing.

A case's name there is made of a pseudonym of its patient (of this run alone) and of the hash of its images, so that it goes over
once, whatever breaks. What is sent are its voxels, place and mask; no header's text.
"""

from __future__ import annotations

import csv
import hashlib
import io
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainseg_engine import dataset
from brainseg_engine.core.errors import Cancelled
from brainseg_engine.core.events import CancelCheck, Event, Progress
from brainseg_engine.core.paths import atomic
from brainseg_engine.corrections import Correction, source_of
from brainseg_engine.finetune import FinetuneOptions, anchors
from brainseg_engine.finetune.collecting import CorrectedCase
from brainseg_engine.io import save_segmentation, save_volume
from brainseg_engine.models import checkpoint
from brainseg_engine.phantom.files import ENDINGS
from brainseg_engine.recipe import Recipe
from brainseg_engine.remote.tuning_there import ANCHOR_SPLIT, ANCHORS
from brainseg_engine.studies import cohort

FILE = "anchors.csv"
"""Of the run folder: which case each name of an anchor stands for."""
Put = Callable[[str, bytes], None]


@dataclass(frozen=True)
class _Named:
    """One anchor: what it is called there and here, where it lies here, on which side of the split it is."""

    there: str
    here: str
    files: Mapping[str, bytes]
    side: str


def send(
    options: FinetuneOptions, base: Path, latest: Sequence[Correction], run: str, put: Put, report: Callable[[Event], None],
    cancelled: CancelCheck,
) -> None:  # fmt: skip
    """Choose the anchors as a fine-tuning here would, and put them there. ``base``: the model's file, ``run``: the run's id,
    which salts the pseudonyms. Raises as :func:`brainseg_engine.finetune.anchors.of_folder`, and Cancelled."""

    def stop() -> None:
        if cancelled():
            raise Cancelled

    if options.anchors is None:
        return
    card, recipe = checkpoint.read_metadata(base)
    chosen = anchors.of_folder(
        options.anchors, options.anchor_split, [_known(c) for c in latest], recipe, options.seed or 0,
        card.training_hashes, report, stop, options.anchor_coding,
    )  # fmt: skip
    sides = {"train": chosen.replayed, "validation": {**chosen.choosing, **chosen.scored}}
    patients = {c.name: c.patient for c in cohort.list_cases(options.anchors)}
    named: list[_Named] = []
    for side, cases in sides.items():
        for name, place in cases.items():
            stop()
            report(Progress(f"sending the anchor {name}", 0.0, len(named), sum(map(len, sides.values()))))
            case = _named(name, place, patients[name], side, recipe, options, run)
            for file, content in case.files.items():
                put(f"{ANCHORS}/{case.there}/{file}", content)
            named.append(case)
    put(ANCHOR_SPLIT, _table(("case", "split"), [(c.there, c.side) for c in named]))
    with atomic(options.out / FILE) as part:
        part.write_bytes(_table(("there", "here", "split"), [(c.there, c.here, c.side) for c in named]))


def _known(correction: Correction) -> CorrectedCase:
    """Of a correction what no anchor may be: its study's names and images."""
    source = source_of(correction.study)
    names = () if source is None else (source.study_id, cohort.patient_of(source.study_id))
    folder = () if source is None or source.folder is None else (source.folder.name,)
    return CorrectedCase(
        correction.id, correction.mask_sha256, "", tuple(correction.images.values()), known_as=(*names, *folder)
    )


def _named(
    name: str, place: Path, patient: str, side: str, recipe: Recipe, options: FinetuneOptions, run: str
) -> _Named:
    study, _ = dataset.with_truth(place, recipe, options.anchor_coding)
    images = "|".join(dataset.hashes_of(study, recipe))
    there = f"sub-{_digest(f'{run}:{patient}')}_ses-{_digest(images)}"
    mask = study.segmentation
    assert mask is not None  # with_truth says so
    with tempfile.TemporaryDirectory() as folder:
        for modality in recipe.modalities:
            volume = study.volumes[modality]
            save_volume(volume.data, volume.grid, Path(folder) / f"{there}-{ENDINGS[modality]}.nii.gz")
        save_segmentation(mask, Path(folder) / f"{there}-seg.nii.gz", sidecar={"made_by": "reference"})
        files = {p.name: p.read_bytes() for p in sorted(Path(folder).iterdir())}
    return _Named(there, name, files, side)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([head, *rows])
    return text.getvalue().encode()
