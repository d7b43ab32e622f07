"""Many studies, one model: results beside each other, one failure is one row, and a second call skips what is done.

While the network works on one study, the next is read and the one before is written: each in a thread of its own.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

from brainseg_engine.core import outputs, plain, records
from brainseg_engine.core.errors import BrainsegError, Cancelled, InputError
from brainseg_engine.core.events import Progress, ProgressCallback
from brainseg_engine.core.paths import check_writable
from brainseg_engine.core.study import Prediction, Study
from brainseg_engine.inference import raw
from brainseg_engine.inference.calibrated import calibrated, trust_fields
from brainseg_engine.inference.finished import (
    Answers,
    PredictSettings,
    coding_of,
    done_before,
    identity,
    known_to_be_done,
    preview_path,
    probability_path,
    slices_folder,
    volumes_in,
    way,
)
from brainseg_engine.inference.ledger import Ledger, LedgerEntry, files_of
from brainseg_engine.inference.rows import PredictOutcome, write_summary
from brainseg_engine.inference.shards import Shard
from brainseg_engine.io import Layout, load_study, save_segmentation, save_slices, save_volume, series_of
from brainseg_engine.io.naming import stem
from brainseg_engine.io.sessions import kept_apart, name_of
from brainseg_engine.prepare import PrepareOptions
from brainseg_engine.scores import volumes
from brainseg_engine.studies.checks import Finding, require_usable
from brainseg_engine.studies.incoming import find_study, study_id
from brainseg_engine.studies.pseudonymous import renamed
from brainseg_engine.studies.sources import expand

__all__ = [
    "NEED_BYTES",
    "PredictOutcome",
    "PredictSettings",
    "expand",
    "made_before",
    "predict_many",
    "report",
    "write_summary",
]
_log = logging.getLogger(__name__)
_T = TypeVar("_T")
NEED_BYTES = 64 * 2**20


@dataclass(frozen=True)
class _Read:
    """A study that is to be segmented, and what was found while it was read."""

    id: str
    study: Study
    doubts: Sequence[Finding]
    options: PrepareOptions | None
    wanted: dict[str, Any]
    known: LedgerEntry
    began: float
    seconds: float


@dataclass(frozen=True)
class _Over:
    """A study that is done already, and what was learnt of its images."""

    row: PredictOutcome
    known: LedgerEntry


def _as_it_is(_: Path, row: PredictOutcome) -> PredictOutcome:
    """Where nothing is added to a study's results."""
    return row


def predict_many(
    predictor: Answers,
    sources: Sequence[Path],
    settings: PredictSettings,
    progress: Callable[[Path], ProgressCallback],
    *,
    shard: Shard | None = None,
    ended: Callable[[Path, PredictOutcome], PredictOutcome] = _as_it_is,
) -> Iterator[PredictOutcome]:
    """Yield one row a study, in order; ``ended`` is called as soon as a study's results are there, from another thread, and
    gives the row that counts.

    Of the sources, ``shard`` takes its part. Raises OutputError before the first inference when nothing can be written, and
    Cancelled or KeyboardInterrupt at once; what was finished stays.
    """
    if settings.coding:
        coding_of(predictor, settings.coding)
    outputs.claim(settings.out, outputs.Use.MASKS, need_bytes=NEED_BYTES, made_before=made_before)
    work = [(source, name) for source, name in _ids(sources, settings).items() if shard is None or shard.holds(name)]
    ledger = Ledger(settings.out, settings.pseudonyms)
    ledger.plan(name for _, name in work)
    batch = _Batch(predictor, settings, ledger, ended)
    with ThreadPoolExecutor(1, "reading") as reader, ThreadPoolExecutor(1, "writing") as writer:
        reading = [reader.submit(batch.read, *work[0])] if work else []
        writing: list[Future[PredictOutcome]] = []
        for n, (source, name) in enumerate(work):
            prepared_case = reading.pop().result()
            if n + 1 < len(work):
                reading.append(reader.submit(batch.read, *work[n + 1]))
            made = batch.infer(prepared_case, name, progress(source)) if isinstance(prepared_case, _Read) else None
            if writing:
                yield writing.pop().result()
            writing.append(writer.submit(batch.write, made, source, name, prepared_case))
        if writing:
            yield writing.pop().result()
    ledger.done()


@dataclass(frozen=True)
class _Batch:
    """The three steps of a study; each gives a row instead where the study ends there."""

    predictor: Answers
    settings: PredictSettings
    ledger: Ledger
    ended: Callable[[Path, PredictOutcome], PredictOutcome]

    def read(self, source: Path, name: str) -> _Read | _Over | PredictOutcome:
        """The study, or the row of one that is done already."""
        return _guarded(name, lambda: self._read(source, name))

    def infer(self, case: _Read, name: str, progress: ProgressCallback) -> raw.RawPrediction | PredictOutcome:
        """The model's answer to one study, or the row of a study that fails."""

        def heard(event: Progress) -> None:
            self.ledger.beat(name)
            progress(event)

        def work() -> raw.RawPrediction:
            check_writable(self.settings.out, NEED_BYTES)  # it may have filled up since the last study
            return raw.answer(
                self.predictor.predict,
                case.study,
                self.settings.on,
                case.options,
                probabilities=self.settings.probabilities,
                progress=heard,
            )

        self.ledger.begin(name)
        return _guarded(name, work)

    def write(
        self,
        made: raw.RawPrediction | PredictOutcome | None,
        source: Path,
        name: str,
        case: _Read | _Over | PredictOutcome,
    ) -> PredictOutcome:
        """The results onto the disk, and what came of the study into the ledger."""
        if isinstance(case, PredictOutcome):
            row = case
        elif isinstance(case, _Over):
            row = case.row
        elif isinstance(made, raw.RawPrediction):
            row = _guarded(name, functools.partial(self._write, made, source, case))
        else:
            row = made or PredictOutcome(name, "failed", "It was not segmented.")
        row = self.ended(source, row)
        known = self.ledger.known(name) if isinstance(case, PredictOutcome) else case.known
        self.ledger.end(name, row, known)
        return row

    def _read(self, source: Path, name: str) -> _Read | _Over:
        began = time.perf_counter()
        predictor, settings = self.predictor, self.settings
        if settings.like_input:
            _require_slices(source, predictor)
        series = renamed(find_study(source, settings.assign, which=settings.which), settings.pseudonyms)
        case_id = name if settings.pseudonyms is None else series.id
        path = settings.out / f"{case_id}_seg.nii.gz"
        files, earlier = files_of(series), self.ledger.known(name)
        done = known_to_be_done(path, predictor, series, files, earlier, settings)
        if done is not None:
            return _Over(PredictOutcome(case_id, "skipped", "done before", str(path), **done), earlier)
        study = load_study(series, segmentation=False)  # a damaged mask beside the images is no reason to stop
        needed = predictor.recipe.needed
        is_raw = bool(raw.is_raw(study))
        options = settings.prepare if is_raw else None
        doubts: Sequence[Finding] = ()
        if options is None:
            doubts = require_usable(study, needed)
        else:
            raw.require_series(study, needed)
        raw.target_grid(settings.on, study)
        known = LedgerEntry(files, {m.value: v.sha256 for m, v in study.volumes.items()}, is_raw)
        wanted = identity(predictor, known.images, study.coding, settings) | way(options, settings)
        done = done_before(path, predictor, wanted, settings)
        if done is not None:
            return _Over(PredictOutcome(case_id, "skipped", "done before", str(path), **done), known)
        return _Read(case_id, study, doubts, options, wanted, known, began, time.perf_counter() - began)

    def _write(self, answer: raw.RawPrediction, source: Path, case: _Read) -> PredictOutcome:
        path = self.settings.out / f"{case.id}_seg.nii.gz"
        prepared, doubts = answer.prepared, case.doubts
        if prepared is not None:
            doubts = require_usable(prepared.study, self.predictor.recipe.needed)
        sidecar = _sidecar(self.predictor, answer, case.study, case.seconds, doubts) | case.wanted
        _write(answer, prepared.study if prepared else case.study, source, path, self.settings, sidecar)
        messages = [*(prepared.warnings if prepared else ()), *(d.message for d in doubts)]
        messages += [self.predictor.card.expectation(case.study.volumes), answer.seen.specks, answer.seen.fallen]
        messages += [answer.seen.unlike, answer.seen.uncovered, answer.seen.displaced]
        seconds = round(time.perf_counter() - case.began, 2)
        return PredictOutcome(
            case.id, "done", " ".join(m for m in messages if m), str(path), seconds=seconds, **volumes_in(sidecar)
        )


def _guarded(name: str, work: Callable[[], _T]) -> _T | PredictOutcome:
    """What the work gives, or the row of a study that fails."""
    try:
        return work()
    except Cancelled:
        raise
    except BrainsegError as e:
        return PredictOutcome(name, "failed", str(e))
    except Exception as e:  # a bug met by one study: the others are worth going on for
        _log.debug("%s failed", name, exc_info=True)
        return PredictOutcome(
            name, "failed", f"Unexpected {type(e).__name__}: {str(e)[:300]}. Run it again with -v for the details."
        )


def _ids(sources: Sequence[Path], settings: PredictSettings) -> dict[Path, str]:
    """Source → the id of its results, unique: of a source that cannot be looked at, its name."""
    ids: dict[Path, str] = {}
    for source in sources:
        try:
            ids[source] = study_id(source, settings.assign, settings.which)
        except Exception:  # whatever it is, the reading of that one study says it
            ids[source] = stem(name_of(source))
    return kept_apart(ids)


def made_before(out: Path) -> bool:
    """Whether version 0.1 wrote its results into that folder, which it did not mark: a summary or a sidecar says so."""
    try:
        head = plain.read(out / "summary.csv", 2**26).partition(b"\n")[0].decode("utf-8", "replace")
        if head.startswith("id,status,message,output,seconds"):
            return True
    except OSError:
        pass
    for sidecar in sorted(out.glob("*_seg.json"))[:1]:
        with contextlib.suppress(OSError, ValueError):
            return str(records.read_object(sidecar).get("software", "")).startswith("napari-brainseg ")
    return False


def _sidecar(
    predictor: Answers, answer: raw.RawPrediction, study: Study, read: float, doubts: Sequence[Finding]
) -> dict[str, Any]:
    """What is kept beside the mask. The doubts by their codes: their sentences name files."""
    prepared = answer.prepared
    seconds = {"read": read, **(prepared.seconds if prepared else {}), **answer.prediction.seconds}
    seen = any(v.sha256 in predictor.card.training_hashes for v in study.volumes.values())
    return (
        report(answer.prediction, study, seconds)
        | {
            "seen_in_training": seen,
            "warnings": [d.code for d in doubts],
            "expected_dice": dict(predictor.card.expected_dice(study.volumes)),
        }
        | raw.fields(prepared)
    )


def _write(
    answer: raw.RawPrediction,
    shown: Study,
    source: Path,
    path: Path,
    settings: PredictSettings,
    sidecar: Mapping[str, Any],
) -> None:
    """The mask last: where it is, everything beside it is."""
    prediction, segmentation = answer.prediction, answer.prediction.segmentation
    shown_as = calibrated(prediction.probabilities or {}, prediction.scaling) if settings.probabilities else {}
    for region, p in shown_as.items():
        save_volume(p.astype("float32"), segmentation.grid, probability_path(path, region))
    if settings.like_input:
        save_slices(segmentation, source, slices_folder(path), overwrite=True)
    if settings.preview:
        from brainseg_engine.figures import overlay_figure

        overlay_figure(shown, answer.seen.segmentation, preview_path(path))
    save_segmentation(segmentation, path, reference=answer.reference, coding=sidecar["coding"], sidecar=sidecar)


def _require_slices(source: Path, predictor: Answers) -> None:
    """Raise unless the study came as slices and their masks can hold what the model gives."""
    if series_of(source).layout is not Layout.SLICES:
        raise InputError(
            f"{source} does not consist of image slices, so --like-input can write no masks like them. Leave it out."
        )
    coding_of(predictor, "lgg")


def report(prediction: Prediction, study: Study, seconds: Mapping[str, float]) -> dict[str, Any]:
    """The sidecar of a prediction: volumes, model, device, seconds a stage. It holds no path and no name of a person."""
    seg = prediction.segmentation
    return {
        "id": prediction.study_id,
        "regions": [r.value for r in seg.regions],
        **volumes.volume_fields(
            {r.value: n for r, n in volumes.voxel_counts(seg.labels, seg.regions).items()}, seg.grid
        ),
        "model": prediction.model,
        "model_version": prediction.model_version,
        "made_by": seg.made_by,
        "rests_on": [m.value for m in prediction.rests_on],
        "dropped_ml": {r.value: round(ml, 3) for r, ml in prediction.dropped_ml.items()},
        **trust_fields(prediction),
        "reference": study.reference.modality.value,
        "spacing_mm": [round(s, 3) for s in seg.grid.spacing] if seg.grid.calibrated else None,
        "slice_thickness_mm": round(max(seg.grid.spacing), 3) if seg.grid.calibrated else None,
        "device": prediction.device,
        "plan": prediction.plan,
        "seconds": {k: round(v, 3) for k, v in seconds.items()},
        "software": f"napari-brainseg {metadata.version('napari-brainseg')}",
        "note": "for research use only",
    }
