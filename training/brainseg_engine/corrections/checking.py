"""What can be wrong with a store of corrections, reported before anything is trained on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainseg_engine.core.errors import BrainsegError, Cancelled, InputError
from brainseg_engine.core.events import CancelCheck, never
from brainseg_engine.corrections import sources
from brainseg_engine.corrections.identity import image_hashes
from brainseg_engine.corrections.record import Correction, CorrectionState

if TYPE_CHECKING:
    from brainseg_engine.corrections.store import Store


@dataclass(frozen=True)
class StoreFinding:
    """``severity`` is "error" (not to be used), "warning" (look at it) or "info". ``correction``: its id, "" for the store.

    Codes: record_damaged, mask_absent, mask_changed, coding, empty, untouched, study_absent, study_changed, two_people,
    superseded, unfinished, one_only.
    """

    code: str
    severity: str
    message: str
    correction: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)


def check(store: Store, *, images: bool = True, cancelled: CancelCheck = never) -> list[StoreFinding]:
    """All findings; with ``images`` each study is read (seconds each) and its hashes are compared. ``cancelled`` is asked
    before each mask and each study. Raises Cancelled."""
    from brainseg_engine.corrections.reading import read_record

    findings: list[StoreFinding] = []
    for sidecar in store.sidecars():
        try:
            read_record(sidecar)
        except InputError as e:
            findings.append(StoreFinding("record_damaged", "error", str(e), sidecar.name))
    findings += _unfinished(store)
    current = store.corrections((CorrectionState.ACCEPTED, CorrectionState.DRAFT))
    for c in current:
        _stop(cancelled)
        findings += _mask(store, c)
    latest = store.latest()
    for c in latest.values():
        _stop(cancelled)
        findings += _study(c, images)
    findings += _rivals(current)
    if len(store.patients()) == 1:
        one = "There is one patient only, so nothing can be held out: what training on it gains cannot be measured."
        findings.append(StoreFinding("one_only", "info", one))
    return findings


def _stop(cancelled: CancelCheck) -> None:
    if cancelled():
        raise Cancelled("Checking the corrections was stopped.")


def _unfinished(store: Store) -> Iterator[StoreFinding]:
    for mask in sorted(store.path.glob("sub-*/anat/*_dseg.nii.gz")):
        if not mask.with_name(mask.name.removesuffix(".nii.gz") + ".json").exists():
            message = f"{mask} has no record beside it: accepting it was interrupted. It counts for nothing; delete it."
            yield StoreFinding("unfinished", "warning", message)


def _mask(store: Store, c: Correction) -> Iterator[StoreFinding]:
    if not c.mask.is_file():
        yield StoreFinding(
            "mask_absent", "error", f"The mask of '{c.id}' is gone ({c.mask}). Restore it from a copy.", c.id
        )
        return
    try:
        labels, _ = store.read(c).labels, store.writers(c)
    except BrainsegError as e:
        code = "coding" if "coding" in str(e) else "mask_changed"
        yield StoreFinding(code, "error", str(e), c.id)
        return
    if not labels.any():
        message = f"'{c.id}' is empty: no voxel is labelled. Exclude it unless the patient has no tumour."
        yield StoreFinding("empty", "warning", message, c.id)
    elif c.untouched:
        message = (
            f"'{c.id}' equals the answer of {c.base.name or 'the model it began from'}: it teaches it nothing new."
        )
        yield StoreFinding("untouched", "info", message, c.id)


def _study(c: Correction, images: bool) -> Iterator[StoreFinding]:
    source = sources.source_of(c.study)
    if source is None or not source.there:
        where = f"; it lay in {_place(source)}" if source is not None else ""
        message = (
            f"The images of '{c.id}' are not known on this machine{where}. Open the study once to tell where it is."
        )
        yield StoreFinding("study_absent", "warning", message, c.id)
        return
    if not images:
        return
    from brainseg_engine.io import load_study

    try:
        now = image_hashes(load_study(source.files, segmentation=False))
    except BrainsegError as e:
        yield StoreFinding("study_absent", "error", f"The images of '{c.id}' cannot be read: {e}", c.id)
        return
    changed = [m.title for m, h in c.images.items() if now.get(m) != h]
    if changed:
        message = (
            f"The study of '{c.id}' has changed since it was corrected: {', '.join(changed)} in {_place(source)} "
            "differs. Correct it anew, or put the images back."
        )
        yield StoreFinding("study_changed", "error", message, c.id)


def _place(source: sources.StudySource) -> Path:
    return source.folder or next(iter(source.files.values())).parent


def _rivals(current: list[Correction]) -> Iterator[StoreFinding]:
    """Several accepted versions of one study: of several people, or of one."""
    by_study: dict[str, list[Correction]] = {}
    for c in current:
        if c.state is CorrectionState.ACCEPTED:
            by_study.setdefault(c.study, []).append(c)
    for versions in by_study.values():
        if len(versions) < 2:
            continue
        versions.sort(key=lambda c: c.age)
        last, people = versions[-1], {c.by for c in versions}
        listed = ", ".join(f"'{c.id}'{f' by {c.people}' if c.people else ''}" for c in versions)
        if len(people) > 1:
            message = (
                f"One study was corrected by several people: {listed}. The newest is used ('{last.id}'); exclude the "
                "others, or it."
            )
            yield StoreFinding("two_people", "warning", message, last.id)
        else:
            yield StoreFinding("superseded", "info", f"Of {listed} the newest is used ('{last.id}').", last.id)
