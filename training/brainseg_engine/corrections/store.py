"""The store of corrections: a folder that explains itself. What is accepted is immutable; what changes is appended.

Layout (a BIDS derivative)::

    dataset_description.json, README, dseg.tsv     what this is, and what the values of the masks mean
    sub-<label>/anat/sub-<label>_space-orig_desc-correction<NN>_dseg.nii.gz    the mask
                     …_dseg.json                   its record
                     …_steps.jsonl                 the steps that led to it
    log.jsonl                                      one line for everything that happened to the store

``<label>`` is made of the images' hashes, so that no name is in it, unless the study is to be named. A version is there
when its record is: the mask is written before it, and what a crash leaves without a record counts for nothing.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from brainseg_engine.core import labels as codings
from brainseg_engine.core import plain, records
from brainseg_engine.core.errors import GeometryError, InputError, OutputError
from brainseg_engine.core.events import CancelCheck, never
from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import Label, LabelArray
from brainseg_engine.core.locks import held
from brainseg_engine.core.names import inside
from brainseg_engine.core.paths import check_writable, home, private_folder, sweep
from brainseg_engine.core.study import Segmentation, Study
from brainseg_engine.corrections import checking, exporting, files, readme, sources
from brainseg_engine.corrections.identity import image_hashes, key_of, label_of, pseudonym
from brainseg_engine.corrections.reading import labels_hash, read_record, require_own
from brainseg_engine.corrections.record import BaseModel, Correction, CorrectionState, Writers, proposed_of, tally
from brainseg_engine.io import nifti
from brainseg_engine.io.segmentation import load_segmentation
from brainseg_engine.studies.cohort import patient_of

_log = logging.getLogger(__name__)
_AGAIN = 100  # versions of one study that are tried before giving up


def default_store() -> Path:
    """Where corrections are kept unless another folder is chosen."""
    return home() / "corrections"


class Store:
    """The store in the folder ``path``. Made when the first correction is added; reading needs no lock."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    @classmethod
    def existing(cls, path: Path | str) -> Store:
        """The store that is there. Raises InputError where there is none."""
        store = cls(path)
        if not readme.is_store(store.path):
            raise InputError(f"{path} is no folder of corrections (its dataset_description.json does not say so). Name "
                             "the folder that corrections were accepted into.")  # fmt: skip
        return store

    # --- writing

    def add(
        self,
        study: Study,
        segmentation: Segmentation,
        *,
        base: Segmentation | None = None,
        model: BaseModel | None = None,
        by: str = "",
        minutes: float = 0.0,
        steps: Sequence[Mapping[str, Any]] = (),
        state: CorrectionState = CorrectionState.ACCEPTED,
        named: bool = False,
        writers: Writers | None = None,
    ) -> Correction:
        """Keep that segmentation of the study as a new version, and return its record.

        ``base`` is the answer that was corrected, ``model`` whose it was, ``steps`` JSON objects, one for each edit: whoever
        is named in them (``by``) beside ``by`` is recorded as one who worked on it too. ``writers``: who wrote the labels,
        where proposals were taken over. ``named`` records the study's id and folder too. Raises OutputError when it cannot
        be written, GeometryError when the mask is not on the grid of the study's reference series, CodingError for classes
        that no coding holds.
        """
        reference = study.reference
        if not segmentation.grid.same_as(reference.grid):
            raise GeometryError("The correction lies on another grid than the study's reference series.")
        images = image_hashes(study)
        key = key_of(images)
        label = label_of(study.id) if named else pseudonym(key)
        before = base.labels if base is not None else None
        answer = replace(model or BaseModel(), answer_sha256=labels_hash(before) if before is not None else "")
        coding = "lgg" if _unknown_class_only(segmentation.labels) else "brats2024"
        record = Correction(
            id="", study=key, mask=Path(), images=images, reference=reference.modality, coding=coding,
            study_coding=segmentation.coding, base=answer, when=_now(), mask_sha256="", by=by.strip(), minutes=minutes,
            steps=len(steps), changed=tally(segmentation.labels, before), regions=segmentation.regions, state=state,
            study_id=study.id if named else "", folder=str(study.folder or "") if named else "",
            others=_others(steps, by.strip()), proposed=proposed_of(segmentation.labels, writers),
        )  # fmt: skip
        content = _encoded(segmentation, coding)
        log = b"".join(records.dumps(s).encode() + b"\n" for s in steps)
        with self._writing():
            made = self._put(record, label, content, log, _who_wrote(record, writers, segmentation.grid))
            self._note("added", id=made.id, state=state.value)
            self._keep_out(made, study.id)
        sources.remember(study, key)
        return self.get(made.id)

    def accept(self, id: str) -> Correction:
        """A draft is accepted. Raises InputError when there is no such draft."""
        return self._move(id, CorrectionState.DRAFT, "accepted")

    def accept_all(self, ids: Sequence[str]) -> list[Correction]:
        """The drafts are accepted, all of them or none: also when it is killed meanwhile. Raises InputError."""
        with self._writing():
            there = {c.id: c for c in self.corrections()}
            for id in ids:
                c = there.get(id) or self.get(id)
                if c.state is CorrectionState.EXCLUDED:
                    raise InputError(f"The correction '{id}' is excluded, and only a draft can be accepted.")
            drafts = [id for id in dict.fromkeys(ids) if there[id].state is CorrectionState.DRAFT]
            if drafts:
                self._note("accepted", ids=drafts)  # one line of the log: it is there or it is not
        there = {c.id: c for c in self.corrections()}
        return [there[id] for id in ids]

    def exclude(self, id: str, why: str) -> Correction:
        """A version is not to be used any more; it stays where it is. Raises InputError when there is none of that id."""
        return self._move(id, CorrectionState.ACCEPTED, "excluded", why=why)

    def set_held_out(self, id: str, value: bool = True) -> tuple[Correction, ...]:
        """Keep all versions of that version's patient for testing (or for training again); returns those concerned.

        Studies of one patient are known by the ids they had on this machine; elsewhere each study is its own patient.
        """
        patient = _patient(self.get(id))
        concerned = [c for c in self.corrections() if _patient(c) == patient]
        with self._writing():
            for study in sorted({c.study for c in concerned}):
                self._note("held_out", study=study, value=value)
        return tuple(replace(c, held_out=value) for c in concerned)

    # --- reading

    def corrections(self, states: Collection[CorrectionState] = tuple(CorrectionState)) -> list[Correction]:
        """All versions in those states, by study and number; those whose record is damaged are left out (see check)."""
        state, held_out = self._changes()
        order = {id: n for n, id in enumerate(self._added(), start=1)}
        corrections = []
        for sidecar in self.sidecars():
            try:
                c = read_record(sidecar)
            except InputError as e:
                _log.warning("%s", e)
                continue
            c = replace(
                c, state=state.get(c.id, c.state), held_out=held_out.get(c.study, False), order=order.get(c.id, 0)
            )
            if c.state in states:
                corrections.append(c)
        return corrections

    def get(self, id: str) -> Correction:
        """The version of that id. Raises InputError naming what there is."""
        by_id = {c.id: c for c in self.corrections()}
        if id not in by_id:
            listed = ", ".join(list(by_id)[:5]) + (", …" if len(by_id) > 5 else "")
            raise InputError(f"There is no correction '{id}' in {self.path}; there are: {listed or 'none'}.")
        return by_id[id]

    def latest(self, states: Collection[CorrectionState] = (CorrectionState.ACCEPTED,)) -> dict[str, Correction]:
        """Study key → its newest version in those states."""
        by_age = sorted(self.corrections(states), key=lambda c: c.age)
        return {c.study: c for c in by_age}

    def patients(self) -> dict[str, list[Correction]]:
        """Accepted newest versions by patient, as far as this machine knows who is the same."""
        grouped: dict[str, list[Correction]] = {}
        for c in self.latest().values():
            grouped.setdefault(_patient(c), []).append(c)
        return grouped

    def read(self, correction: Correction) -> Segmentation:
        """The mask of a version, in the study's own coding. Raises InputError when it is not what was accepted."""
        require_own(self.path, correction.mask)
        if plain.sha256_if_readable(correction.mask) != correction.mask_sha256:
            raise InputError(f"{correction.mask} is not what was accepted (its SHA-256 differs). Restore it from a copy, "
                             f"or exclude the correction '{correction.id}'.")  # fmt: skip
        return replace(load_segmentation(correction.mask), coding=correction.study_coding, made_by=correction.made_by)

    def writers(self, correction: Correction) -> Writers | None:
        """Who wrote the labels of a version; None where no proposal had a part in it. Raises InputError as ``read`` does."""
        if not correction.writers_sha256:
            return None
        require_own(self.path, correction.writers)
        if plain.sha256_if_readable(correction.writers) != correction.writers_sha256:
            raise InputError(
                f"{correction.writers} is not what was accepted (its SHA-256 differs). Restore it from a copy."
            )
        return nifti.read(correction.writers).data.astype(np.uint8)

    def check(self, *, images: bool = True, cancelled: CancelCheck = never) -> list[checking.StoreFinding]:
        """What is wrong with the store; with ``images`` the studies themselves are read and compared. Raises Cancelled."""
        return checking.check(self, images=images, cancelled=cancelled)

    def export(
        self, out: Path, layout: str = "brats", *, coding: str | None = None, images: bool = False
    ) -> list[Path]:
        """Write the newest accepted versions into ``out`` in another layout: see :func:`exporting.export`."""
        return exporting.export(self, out, layout, coding=coding, images=images)

    # --- within

    @property
    def log(self) -> Path:
        """One line for everything that happened."""
        return self.path / "log.jsonl"

    def sidecars(self) -> list[Path]:
        """The records of all corrections, each beside its mask."""
        return sorted(self.path.glob("sub-*/anat/*_desc-correction*_dseg.json"))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        if not self.path.exists():
            private_folder(self.path)
        check_writable(self.path)
        sweep(self.path)
        with held(self.path / ".lock"):
            readme.prepare(self.path)
            yield

    def _put(self, record: Correction, label: str, content: bytes, log: bytes, writers: bytes) -> Correction:
        try:
            folder = inside(self.path, f"sub-{label}", "anat")
            folder.mkdir(parents=True, exist_ok=True)
            sweep(folder)
        except ValueError as e:
            raise OutputError(f"Nothing is written through links: {e}. Choose another folder.") from e
        except OSError as e:
            raise OutputError(f"Cannot write into {self.path}: {e.strerror or e}. Choose another folder.") from e
        number = 1 + max((_number(p) for p in folder.glob("*_desc-correction*")), default=0)
        for n in range(number, number + _AGAIN):
            mask = folder / f"sub-{label}_space-orig_desc-correction{n:02d}_dseg.nii.gz"
            if not mask.exists():
                break
        digest = hashlib.sha256(content).hexdigest()
        made = replace(record, id=f"{label}_{n:02d}", mask=mask, mask_sha256=digest)
        if writers:
            made = replace(made, writers_sha256=hashlib.sha256(writers).hexdigest())
            files.write_once(made.writers, writers)
        files.write_once(made.log, log)
        files.write_once(made.mask, content)
        entry = records.dumps(made.to_dict(), indent=2) + "\n"
        files.write_once(made.sidecar, entry.encode())
        return made

    def _keep_out(self, made: Correction, study_id: str) -> None:
        """A new study of a patient who is held out is held out too."""
        _, held_out = self._changes()
        patient = patient_of(study_id)
        if made.study not in held_out and any(
            value and (source := sources.source_of(study)) is not None and patient_of(source.study_id) == patient
            for study, value in held_out.items()
        ):
            self._note("held_out", study=made.study, value=True)

    def _move(self, id: str, before: CorrectionState, what: str, **entry: Any) -> Correction:
        with self._writing():
            c = self.get(id)
            if c.state.value == what:
                return c
            if what == "accepted" and c.state is not before:
                raise InputError(f"The correction '{id}' is {c.state.value}, and only a draft can be accepted.")
            self._note(what, id=id, **entry)
        return self.get(id)

    def _note(self, what: str, **entry: Any) -> None:
        files.append(self.log, {"when": _now(), "what": what, **entry})

    def _added(self) -> list[str]:
        """The ids of all versions, in the order in which they came."""
        return [str(line.get("id")) for line in files.lines(self.log) if line.get("what") == "added"]

    def _changes(self) -> tuple[dict[str, CorrectionState], dict[str, bool]]:
        """Id → state and study → held out, as the log tells."""
        state: dict[str, CorrectionState] = {}
        held_out: dict[str, bool] = {}
        for line in files.lines(self.log):
            if line.get("what") in ("accepted", "excluded"):
                several = line.get("ids")
                for id in several if isinstance(several, list) else [line.get("id")]:
                    state[str(id)] = CorrectionState(line["what"])
            elif line.get("what") == "held_out":
                held_out[str(line.get("study"))] = bool(line.get("value"))
        return state, held_out


def _who_wrote(record: Correction, writers: Writers | None, grid: Grid) -> bytes:
    """The image of who wrote which voxel, as a file; b"" where nothing of it was a proposal."""
    return nifti.encode(writers, grid, None, compress=True) if record.proposed and writers is not None else b""


def _encoded(segmentation: Segmentation, coding: str) -> bytes:
    """The mask as a file, with a header of our own: that of the source may hold a name."""
    values = codings.coding(coding).from_canonical(segmentation.labels, "The correction")
    return nifti.encode(values, segmentation.grid, None, compress=True)


def _others(steps: Iterable[Mapping[str, Any]], by: str) -> tuple[str, ...]:
    """Who is named in the steps beside that person, in the order of their first steps."""
    named = dict.fromkeys(s["by"].strip() for s in steps if isinstance(s.get("by"), str))
    return tuple(name for name in named if name not in ("", by))


def _unknown_class_only(labels: LabelArray) -> bool:
    counts = np.bincount(labels.ravel(), minlength=256)
    return bool(counts[Label.TUMOUR]) and counts.sum() == counts[0] + counts[Label.TUMOUR]


def _patient(c: Correction) -> str:
    source = sources.source_of(c.study)
    return patient_of(source.study_id if source is not None else c.study_id or c.study)


def _number(path: Path) -> int:
    digits = path.name.partition("_desc-correction")[2].partition("_")[0]
    return int(digits) if digits.isdigit() else 0


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def names(corrections: Iterable[Correction]) -> str:
    """Their ids, for a message."""
    return ", ".join(c.id for c in corrections)
