"""Image files as series: NIfTI, MetaImage and NRRD with any names, BIDS folders, the channels of a Decathlon image.

Whose they are, the folders tell: a BIDS subject is a patient and a session a visit; elsewhere the files of one folder are
those of one visit, and an image of several channels is a visit of its own. A folder that holds one image and bears a series' name
("T1/scan.nii.gz") belongs to the folder above.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from brainseg_engine.core.errors import Cancelled, InputError
from brainseg_engine.core.events import CancelCheck, Progress, ProgressCallback, never, silent
from brainseg_engine.io import decathlon
from brainseg_engine.io.file_facts import file_facts
from brainseg_engine.io.formats import read_header
from brainseg_engine.io.found import ImageSeries, Patient, Remark, Skipped, Visit
from brainseg_engine.io.naming import MASK, classify, stem
from brainseg_engine.io.sessions import NO_NAME

_Home = tuple[str, str]
"""Labels of a patient and of a visit."""


def list_files(
    files: Sequence[Path], root: Path, progress: ProgressCallback = silent, cancelled: CancelCheck = never
) -> tuple[tuple[Patient, ...], tuple[Skipped, ...]]:
    """The image files below ``root`` as patients, visits and series; what is a mask or cannot be read is skipped.

    No voxel is read. Raises Cancelled.
    """
    kinds = _kinds(files)
    homes: dict[_Home, list[ImageSeries]] = defaultdict(list)
    skipped: dict[tuple[str, bool], list[Path]] = defaultdict(list)
    for i, path in enumerate(files):
        if cancelled():
            raise Cancelled()
        progress(Progress("reading headers", i / len(files)))
        if kinds[path] == MASK or decathlon.is_label(path):
            skipped["is a mask, no image", False].append(path)
            continue
        try:
            series = list(_series(path))
            homes[_home(path, root, files) if len(series) == 1 else (stem(path.name), "study 1")] += series
        except InputError as e:
            skipped[_reason(e, path), True].append(path)
    patients = []
    for label in dict.fromkeys(p for p, _ in homes):
        visits = [Visit(visit, tuple(series)) for (p, visit), series in homes.items() if p == label]
        patients.append(Patient(label, tuple(visits)))
    return tuple(patients), tuple(Skipped(why, tuple(paths), lost) for (why, lost), paths in skipped.items())


def _kinds(files: Sequence[Path]) -> dict[Path, object]:
    """What the names tell, each among those of its folder."""
    kinds: dict[Path, object] = {}
    by_folder: dict[Path, list[Path]] = defaultdict(list)
    for path in files:
        by_folder[path.parent].append(path)
    for beside in by_folder.values():
        kinds |= dict(zip(beside, classify([p.name for p in beside]), strict=True))
    return kinds


def _home(path: Path, root: Path, files: Sequence[Path]) -> _Home:
    entities = dict(re.findall(r"(?:^|[/_\\])(sub|ses)-([A-Za-z0-9]+)", path.relative_to(root.parent).as_posix()))
    if "sub" in entities:
        return f"sub-{entities['sub']}", f"ses-{entities['ses']}" if "ses" in entities else "study 1"
    folder = path.parent
    alone = sum(p.parent == folder for p in files) == 1
    if alone and folder.name.lower() in NO_NAME and folder != root:
        folder = folder.parent
    if alone and folder != root and classify([folder.name]) != [None]:
        folder = folder.parent
    return folder.resolve().name or "patient 1", "study 1"


def _series(path: Path) -> Iterator[ImageSeries]:
    """The image of a file, or those of its channels."""
    header = read_header(path)
    facts = file_facts(path)
    if path.parent.name and classify([path.name]) == [None] and classify([path.parent.name]) != [None]:
        facts = replace(
            facts, description=f"{path.parent.name} {facts.description}", label=f"{path.parent.name}/{facts.label}"
        )
    guessed = (Remark("geometry", "warning", f"Of its geometry, {header.note}."),) if header.note else ()
    if header.channels == 1:
        yield ImageSeries(facts, header.grid, guessed, path=path)
        return
    try:
        names = [m.title for m in decathlon.channels(path)]
    except InputError as e:
        yield ImageSeries(facts, header.grid, (Remark("channels", "error", str(e)),), path=path)
        return
    for i, name in enumerate(names):
        own = replace(facts, id=f"{facts.id}#{i + 1}", label=f"{stem(path.name)}, channel {i + 1} ({name})", description=name,
                      time_points=1)  # fmt: skip
        yield ImageSeries(own, header.grid, guessed, path=path, channel=i)


def _reason(error: InputError, path: Path) -> str:
    """The sentence as a clause about a file that is named elsewhere."""
    text = str(error).removeprefix(f"{path} ")
    return text.split(". ")[0].rstrip(".")
