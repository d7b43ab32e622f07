"""Many studies, one model: results beside each other, one failure is one row, and a second call skips what is done."""

from __future__ import annotations

import contextlib
import csv
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from brainseg_engine.core import outputs, plain, records
from brainseg_engine.core.errors import BrainsegError, Cancelled, CodingError, InputError, OutputError
from brainseg_engine.core.events import ProgressCallback
from brainseg_engine.core.labels import Label, Region, choices
from brainseg_engine.core.labels import coding as coding_named
from brainseg_engine.core.locks import held
from brainseg_engine.core.paths import atomic, check_writable
from brainseg_engine.core.study import Prediction, Study
from brainseg_engine.core.text import printable
from brainseg_engine.inference import raw
from brainseg_engine.inference.predictor import Predictor
from brainseg_engine.io import (
    Layout,
    Series,
    load_study,
    save_segmentation,
    save_slices,
    save_volume,
    series_of,
)
from brainseg_engine.io.derived.pseudonyms import Pseudonyms
from brainseg_engine.io.naming import stem
from brainseg_engine.io.segmentation import read_sidecar, sidecar_state
from brainseg_engine.io.sessions import kept_apart, name_of
from brainseg_engine.prepare import PrepareOptions
from brainseg_engine.scores import volumes
from brainseg_engine.studies.assignment import Wanted
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
NEED_BYTES = 64 * 2**20
_DIFFERENCE = {
    "model": "another model",
    "model_version": "another model",
    "model_sha256": "another model",
    "coding": "another label coding",
    "tta": "another --tta setting",
    "images": "other images",
    "on": "another --on grid",
    "preparing": "another way of preparing",
}
"""What a result's sidecar tells → how a difference in it is named."""


_UNITS = ("ml", "voxels")


@dataclass(frozen=True)
class PredictOutcome:
    """One study in the summary; ``status`` is done, skipped or failed. Seconds are for the whole study.

    Volumes are in mL, or in voxels where the study does not tell the size of those.
    """

    id: str
    status: str
    message: str = ""
    output: str = ""
    volumes_ml: Mapping[str, float] = field(default_factory=dict)
    seconds: float | None = None
    volumes_voxels: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class PredictSettings:
    """What the caller chose. ``assign``: series named by hand, for every study; ``prepare``: how a raw study is made ready,
    None to take every study as it is; ``on``: the grid the mask lies on (see :func:`brainseg_engine.inference.raw.answer`);
    ``preview``: a picture beside it; ``pseudonyms``: nothing that is written tells whose it is."""

    out: Path
    coding: str | None = None
    probabilities: bool = False
    overwrite: bool = False
    like_input: bool = False
    assign: Wanted = field(default_factory=dict)
    prepare: PrepareOptions | None = field(default_factory=PrepareOptions)
    on: str = ""
    preview: bool = False
    pseudonyms: Pseudonyms | None = None


def predict_many(
    predictor: Predictor,
    sources: Sequence[Path],
    settings: PredictSettings,
    progress: Callable[[Path], ProgressCallback],
) -> Iterator[PredictOutcome]:
    """Yield one row a study as it ends. Raises OutputError before the first inference when nothing can be written, and
    Cancelled or KeyboardInterrupt at once; what was finished stays."""
    if settings.coding:
        _coding(predictor, settings.coding)
    outputs.claim(settings.out, outputs.Use.MASKS, need_bytes=NEED_BYTES, made_before=made_before)
    ids = _ids(sources, settings)
    for source in sources:
        name = ids[source]
        try:
            yield _one(predictor, source, name, settings, progress(source))
        except Cancelled:
            raise
        except BrainsegError as e:
            yield PredictOutcome(name, "failed", str(e))
        except Exception as e:  # a bug met by one study: the others are worth going on for
            _log.debug("%s failed", name, exc_info=True)
            yield PredictOutcome(
                name, "failed", f"Unexpected {type(e).__name__}: {str(e)[:300]}. Run it again with -v for the details."
            )


def _ids(sources: Sequence[Path], settings: PredictSettings) -> dict[Path, str]:
    """Source → the id of its results, unique: of a source that cannot be looked at, its name."""
    found: dict[Path, str] = {}
    for source in sources:
        try:
            found[source] = study_id(source, settings.assign)
        except Exception:  # whatever it is, the reading of that one study says it
            found[source] = stem(name_of(source))
    return kept_apart(found)


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


def _series(source: Path, settings: PredictSettings) -> Series:
    """The study's series: by names, tags and voxels, and as they were assigned by hand."""
    return find_study(source, settings.assign)


def _one(
    predictor: Predictor, source: Path, id_: str, settings: PredictSettings, progress: ProgressCallback
) -> PredictOutcome:
    began = time.perf_counter()
    if settings.like_input:
        _require_slices(source, predictor)
    # a damaged mask beside the images is no reason to stop
    series = renamed(_series(source, settings), settings.pseudonyms)
    study = load_study(series, segmentation=False)
    id_ = id_ if settings.pseudonyms is None else series.id
    path = settings.out / f"{id_}_seg.nii.gz"
    needed = predictor.recipe.needed
    options = settings.prepare if settings.prepare is not None and raw.is_raw(study) else None
    if options is None:
        doubts = require_usable(study, needed)
    else:
        raw.require_series(study, needed)
    raw.target_grid(settings.on, study)
    read = time.perf_counter() - began
    wanted = _identity(predictor, study, settings) | _way(options, settings)
    done = _done_before(path, predictor, wanted, settings)
    if done is not None:
        return PredictOutcome(id_, "skipped", "done before", str(path), **done)
    check_writable(settings.out, NEED_BYTES)  # it may have filled up since the last study
    answer = raw.answer(
        predictor.predict, study, settings.on, options, probabilities=settings.probabilities, progress=progress
    )
    prepared = answer.prepared
    if prepared is not None:
        doubts = require_usable(prepared.study, needed)
    sidecar = _sidecar(predictor, answer, study, read, doubts) | wanted
    _write(answer, prepared.study if prepared else study, source, path, settings, sidecar)
    messages = [*(prepared.warnings if prepared else ()), *(d.message for d in doubts)]
    messages += [predictor.card.expectation(study.volumes), answer.seen.specks]
    seconds_all = round(time.perf_counter() - began, 2)
    told = " ".join(m for m in messages if m)
    return PredictOutcome(id_, "done", told, str(path), seconds=seconds_all, **_volumes(sidecar))


def _sidecar(
    predictor: Predictor, answer: raw.RawPrediction, study: Study, read: float, doubts: Sequence[Finding]
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
    for region, p in (prediction.probabilities or {}).items() if settings.probabilities else ():
        save_volume(p.astype("float32"), segmentation.grid, _probability_path(path, region))
    if settings.like_input:
        save_slices(segmentation, source, _slices_folder(path), overwrite=True)
    if settings.preview:
        from brainseg_engine.figures import overlay_figure

        overlay_figure(shown, answer.seen.segmentation, _preview_path(path))
    save_segmentation(segmentation, path, reference=answer.reference, coding=sidecar["coding"], sidecar=sidecar)


def _way(options: PrepareOptions | None, settings: PredictSettings) -> dict[str, Any]:
    """How the answer came to its grid, as far as it is not the ordinary way; it must be equal for a result to count."""
    on = {"on": settings.on} if settings.on else {}
    return on | ({} if options is None else {"preparing": options.to_dict()})


def _done_before(
    path: Path, predictor: Predictor, wanted: Mapping[str, Any], settings: PredictSettings
) -> dict[str, Any] | None:
    """The volumes of an equal result that is there already (as a row tells them), else None. Raises OutputError when another
    result is."""
    if not path.exists() or settings.overwrite:
        return None
    if sidecar_state(path) == "torn":  # a kill came between the two names: the sidecar says what was being written
        return None
    if sidecar_state(path) == "changed":
        raise OutputError(f"{path} exists and was changed since it was made. Add --overwrite to replace it or name another "
                          "--out folder.")  # fmt: skip
    earlier = read_sidecar(path)
    other = [_DIFFERENCE.get(k, k) for k, v in wanted.items() if earlier.get(k) != v]
    if other:
        raise OutputError(
            f"{path} exists and was made with {' and '.join(dict.fromkeys(other))}. Add --overwrite to replace it "
            "or name another --out folder."
        )
    asked = predictor.recipe.output.regions if settings.probabilities else ()
    if not all(_probability_path(path, region).exists() for region in asked):
        return None  # the mask is there, what was asked for beside it is not
    if settings.like_input and not _slices_folder(path).is_dir():
        return None
    if settings.preview and not _preview_path(path).exists():
        return None
    return _volumes(earlier)


def _volumes(sidecar: Mapping[str, Any]) -> dict[str, Any]:
    """The volumes that a sidecar tells, as fields of a row."""
    return {key: sidecar.get(key) or {} for key in ("volumes_ml", "volumes_voxels")}


def _require_slices(source: Path, predictor: Predictor) -> None:
    """Raise unless the study came as slices and their masks can hold what the model gives."""
    if series_of(source).layout is not Layout.SLICES:
        raise InputError(
            f"{source} does not consist of image slices, so --like-input can write no masks like them. Leave it out."
        )
    _coding(predictor, "lgg")


def _slices_folder(mask: Path) -> Path:
    """Where the masks of slices lie, beside the one of the whole study."""
    return mask.with_name(mask.name.removesuffix("_seg.nii.gz"))


def _preview_path(mask: Path) -> Path:
    return mask.with_name(mask.name.removesuffix("_seg.nii.gz") + "_preview.png")


def _probability_path(mask: Path, region: Region) -> Path:
    return mask.with_name(mask.name.removesuffix("_seg.nii.gz") + f"_prob-{region}.nii.gz")


def _coding(predictor: Predictor, name: str) -> str:
    """The coding's name. Raises CodingError before the inference when it cannot express what the model gives."""
    coding = coding_named(name)
    gives = {Label.TUMOUR} if _wt_only(predictor) else {Label.NCR, Label.ED, Label.ET}
    if not gives <= set(coding.writes):
        raise CodingError(
            f"The coding '{coding.name}' ({coding.description}) cannot express what the model '{predictor.card.name}' gives; "
            + choices()
        )
    return coding.name


def _identity(predictor: Predictor, study: Study, settings: PredictSettings) -> dict[str, Any]:
    """What must be equal for a result to count as done."""
    secret = settings.pseudonyms
    return {
        "model": predictor.card.name,
        "model_version": predictor.card.version,
        "model_sha256": predictor.sha256,
        "coding": _coding(
            predictor, settings.coding or ("lgg" if _wt_only(predictor) else study.coding or "brats2023")
        ),
        "tta": predictor.tta,
        "images": {
            m.value: study.volumes[m].sha256 if secret is None else secret.digest(study.volumes[m].sha256)
            for m in predictor.recipe.modalities
            if m in study.volumes
        },
    }


def _wt_only(predictor: Predictor) -> bool:
    return set(predictor.recipe.output.regions) == {Region.WT}


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
        "reference": study.reference.modality.value,
        "spacing_mm": [round(s, 3) for s in seg.grid.spacing] if seg.grid.calibrated else None,
        "slice_thickness_mm": round(max(seg.grid.spacing), 3) if seg.grid.calibrated else None,
        "device": prediction.device,
        "seconds": {k: round(v, 3) for k, v in seconds.items()},
        "software": f"napari-brainseg {metadata.version('napari-brainseg')}",
        "note": "for research use only",
    }


def hidden(row: PredictOutcome, pseudonyms: Pseudonyms | None) -> PredictOutcome:
    """The row as a de-identified summary may hold it: without what names files and folders."""
    if pseudonyms is None:
        return row
    id_ = pseudonyms.patient(row.id) if row.status == "failed" else row.id
    return replace(row, id=id_, message="", output=Path(row.output).name)


def write_summary(rows: Sequence[PredictOutcome], path: Path) -> None:
    """All rows as CSV, a column per region's volume (in mL, or in voxels).

    Rows of earlier calls and of other processes stay, unless a study stands here anew. Raises OutputError, for a table of
    another program too.
    """
    with held(path.with_name(".summary.lock")):
        table = {r["id"]: r for r in _earlier(path)}
        for row in rows:
            values = asdict(row)
            volumes = {f"{r}_{unit}": v for unit in _UNITS for r, v in values.pop(f"volumes_{unit}").items()}
            shown = {k: printable(v) if isinstance(v, str) else v for k, v in (values | volumes).items()}
            table[shown["id"]] = shown
        measured = [c for c in dict.fromkeys(c for r in table.values() for c in r) if c.endswith(_UNITS)]
        with atomic(path) as part, part.open("w", newline="", encoding="utf-8") as f:
            writer = csv.DictWriter(f, [*_COLUMNS, *measured], extrasaction="ignore")
            writer.writeheader()
            writer.writerows(table.values())


_COLUMNS = [f.name for f in fields(PredictOutcome) if not f.name.startswith("volumes_")]


def _earlier(path: Path) -> list[dict[str, Any]]:
    """The rows that are there. Raises OutputError for a table that is none of ours."""
    try:
        lines = plain.read(path).decode("utf-8", "replace").splitlines(keepends=True)
    except FileNotFoundError:
        return []
    except OSError as e:
        raise OutputError(f"{path} cannot be read: {e.strerror or e}. Move it away.") from e
    reader = csv.DictReader(lines)
    try:
        if lines and not set(_COLUMNS) <= set(reader.fieldnames or ()):
            raise OutputError(f"{path} is no summary of this program, and would be lost. Move it away.")
        return [row for row in reader if row.get("id")]
    except csv.Error as e:
        raise OutputError(f"{path} is damaged ({e}). Move it away.") from e
