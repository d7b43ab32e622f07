"""The record of one result: every number that a report, its JSON, its CSV or an SR tells, computed once.

The schema is :data:`SCHEMA`; ``docs/reference.md`` lists its fields. A reader refuses a schema it does not know.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from brainseg_engine.core.errors import InputError
from brainseg_engine.core.labels import LABEL_NAMES, REGION_NAMES, Label, Region, region_mask
from brainseg_engine.core.records import read_object
from brainseg_engine.core.study import Modality, Segmentation, Study
from brainseg_engine.report import growth
from brainseg_engine.scores import diameters, drawn, follow_up, overlap, side, volumes

SCHEMA = "napari-brainseg-report/1"
NOTE = "For research use only, not for diagnosis."

Record = dict[str, Any]

_MARKS, _MOVES = ("peak", "cover", "dice"), ("moved_mm", "turned_deg")  # of an alignment, as `prepare` records it


def build(
    segmentation: Segmentation,
    study: Study | None = None,
    *,
    id: str = "",
    sidecar: Mapping[str, Any] | None = None,
    prior: Mapping[str, Any] | None = None,
    identity: Mapping[str, str] | None = None,
    now: datetime | None = None,
    deidentified: bool = False,
    examined: str | None = None,
) -> Record:
    """The record of a segmentation, JSON-ready.

    ``study`` are its images, ``sidecar`` what was written beside its mask, ``prior`` the record of an earlier result,
    ``identity`` name, id and birth date where the user wants them shown, ``examined`` the day of the examination (2025-03-14,
    None: not known). Diameters that a person set (``diameters`` in the
    sidecar, as :func:`diameters.to_json` gives them) count instead of the measured ones of their region. Regions that the
    model does not measure are None. ``deidentified``: ids stand for others, and ``now`` is moved as the patient's dates are.
    Raises InputError where ``prior`` is of a later examination.
    """
    written, grid = sidecar or {}, segmentation.grid
    record: Record = {
        "schema": SCHEMA,
        "id": id or (study.id if study else "") or str(written.get("id") or written.get("study") or "unnamed"),
        "created": (now or datetime.now(UTC)).isoformat(timespec="seconds"),
        "examined": examined,
        "identity": dict(identity) if identity else None,
        "deidentified": deidentified,
        "model": _model(written),
        "made_by": segmentation.made_by or None,
        "corrected_by_hand": _corrected(written),
        "reference": study.reference.modality.value if study else written.get("reference"),
        "grid": _grid(grid),
        "series": [_series(study, m) for m in study.volumes] if study else [],
        "preparation": _preparation(written.get("prepared")),
        "warnings": [
            str(w)
            for w in (
                *_list(written.get("warnings")),
                *_list(_object(written.get("prepared")).get("warnings")),
                *(written[key] for key in ("unlike", "uncovered", "displaced") if written.get(key)),
            )
        ],
        "regions": _regions(segmentation, study, written.get("diameters"), _intervals(written)),
        "confidence": _confidence(written) if segmentation.labels.any() else None,
        "classes": _classes(segmentation),
        "drawn": _drawn(written.get("drawn")),
        "software": f"napari-brainseg {metadata.version('napari-brainseg')}",
        "note": NOTE,
    }
    growth.require_later(examined, prior)
    record["prior"] = (
        None if prior is None else {k: prior.get(k) for k in ("id", "created", "examined", "model", "made_by")}
    )
    record["history"] = growth.history(prior)
    record["change"] = None if prior is None else _changes(record, prior)
    record["rano_range"] = None if prior is None else _rano_range(record, prior)
    return record


def _regions(
    segmentation: Segmentation, study: Study | None, by_hand: Any, intervals: Mapping[str, list[float]]
) -> dict[str, dict[str, Any] | None]:
    """Region → volume (and its limits where the model's own answer has them), side and diameters, None where the model does not
    measure it; ``by_hand``: diameters of a sidecar."""
    grid = segmentation.grid
    lengths = diameters.to_json(lengths_of(segmentation, by_hand)) if grid.calibrated else {}
    counts, sides = volumes.voxel_counts(segmentation.labels, segmentation.regions), sides_of(segmentation, study)
    out: dict[str, dict[str, Any] | None] = dict.fromkeys(r.value for r in Region)
    for r, n in counts.items():
        amount = _amount(n, grid.voxel_ml)
        limits, ml = intervals.get(r.value), amount["volume_ml"]
        within = limits if limits is not None and ml is not None and limits[0] <= ml <= limits[1] else None
        out[r.value] = {**amount, "interval_ml": within, "side": sides.get(r), "diameters": lengths.get(r.value)}
    return out


def _intervals(written: Mapping[str, Any]) -> dict[str, list[float]]:
    """Region → [low, high] in mL of a sidecar; {} where a person has changed the mask since, or nothing is recorded."""
    if _corrected(written) is not False:
        return {}
    found = _object(written.get("volume_intervals_ml"))
    pairs = {r: _list(limits) for r, limits in found.items()}
    return {r: x for r, x in pairs.items() if len(x) == 2 and all(isinstance(v, int | float) for v in x)}


def _confidence(written: Mapping[str, Any]) -> float | None:
    """The Dice that the model expects of its answer, of a sidecar; None as :func:`_intervals`."""
    found = written.get("confidence")
    return float(found) if _corrected(written) is False and isinstance(found, int | float) and 0 <= found <= 1 else None


def _classes(segmentation: Segmentation) -> dict[str, dict[str, float | int | None]]:
    """Class → volume; none of a model that gives fewer regions, which says nothing of the classes they are made of."""
    if set(segmentation.regions) != set(Region):
        return {}
    labels = segmentation.labels
    classes = [c for c in Label if c and (c in volumes.CLASSES or (labels == c).any())]
    counts = volumes.class_voxel_counts(labels, classes)
    return {c.name: _amount(n, segmentation.grid.voxel_ml) for c, n in counts.items()}


def read(path: Path) -> Record:
    """The record in that JSON file. Raises InputError when it is none."""
    try:
        record = read_object(path)
    except OSError as e:
        raise InputError(f"{path} cannot be read: {e.strerror or e}. Check the path.") from e
    except ValueError as e:
        raise InputError(f"{path} is no report of this program: {e}. Name the .json that 'report' wrote.") from e
    schema = str(record.get("schema"))[:80]
    if schema != SCHEMA:
        raise InputError(f"{path} is no report of this program (its schema is {schema!r}, and {SCHEMA!r} is expected).")
    try:
        _changes(record, record)
        growth.history(record)
        (record["model"] or {}).get("name"), str(record["id"]), str(record["created"])
    except (AttributeError, KeyError, TypeError, ValueError) as e:
        raise InputError(f"{path} is damaged: its numbers are not all there. Write the report again.") from e
    return record


def quantities(record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The record's numbers one by one, as rows of the CSV: region, lesion ("" for the region), quantity, unit, value.

    What is not measured has the value None.
    """
    classes = {c: measured for c, measured in record["classes"].items() if c not in record["regions"]}  # ET is both
    for name, measured in (*record["regions"].items(), *classes.items()):
        unit = "mL" if record["grid"]["calibrated"] else "voxels"
        value = None if measured is None else measured["volume_ml" if unit == "mL" else "volume_voxels"]
        yield {"region": name, "lesion": "", "quantity": "volume", "unit": unit, "value": value}
        for end, limit in zip(("low", "high"), (measured or {}).get("interval_ml") or (), strict=False):
            yield {"region": name, "lesion": "", "quantity": f"volume, {end}", "unit": "mL", "value": limit}
        if name in record["regions"] and measured is not None and measured.get("side"):
            yield {"region": name, "lesion": "", "quantity": "side", "unit": "", "value": measured["side"]}
        lengths = (measured or {}).get("diameters")
        if lengths is not None:
            yield from _lengths(name, lengths)
    if record.get("confidence") is not None:
        yield {"region": "", "lesion": "", "quantity": "expected mean Dice", "unit": "", "value": record["confidence"]}
    for number, one in enumerate(record.get("drawn", ()), 1):
        row = {"region": "", "lesion": str(number)}
        for key, quantity in (("first", one["kind"]), ("second", f"{one['kind']}, second")):
            if one[key] is not None:
                yield {**row, "quantity": quantity, "unit": "mm", "value": one[key]["mm"]}
        if one["product_mm2"] is not None:
            yield {**row, "quantity": "product", "unit": "mm²", "value": one["product_mm2"]}
        if one["volume_ml"] is not None:
            yield {**row, "quantity": "volume", "unit": "mL", "value": one["volume_ml"]}
        for series, s in one["statistics"].items():
            for key in ("mean", "sd"):
                yield {**row, "quantity": f"{key} of {series}", "unit": "", "value": s[key]}


def _lengths(region: str, lengths: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    row = {"region": region, "lesion": ""}
    largest = lengths["largest_3d"]
    yield {**row, "quantity": "largest diameter 3D", "unit": "mm", "value": largest["mm"] if largest else None}
    yield {**row, "quantity": "lesions", "unit": "", "value": lengths["lesion_count"]}
    yield {**row, "quantity": "measurable lesions", "unit": "", "value": lengths["measurable_count"]}
    for key, name in (("rano", "RANO"), ("rano2", "RANO 2.0")):
        value = lengths[f"sum_of_products_{key}_mm2"]
        yield {**row, "quantity": f"sum of products {name}", "unit": "mm²", "value": value}
    for number, lesion in enumerate(lengths["lesions"], 1):
        row["lesion"] = str(number)
        for key in ("longest", "perpendicular"):
            yield {**row, "quantity": f"{key} diameter", "unit": "mm", "value": lesion[key]["mm"]}
        yield {**row, "quantity": "product", "unit": "mm²", "value": lesion["product_mm2"]}
        yield {**row, "quantity": "volume", "unit": "mL", "value": lesion["volume_ml"]}


def name_of(item: str) -> str:
    """A region or class in words."""
    return REGION_NAMES[Region(item)] if item in Region.__members__ else LABEL_NAMES[Label[item]]


def expected_in_words(record: Mapping[str, Any]) -> str:
    """Which overlap the model expects of its answer, in a sentence; "" where that is not known."""
    confidence = record.get("confidence")
    if confidence is None:
        return ""
    return (
        f"{overlap.expected(confidence)}, as the mean over the regions. The true one is often lower: it tells how closely "
        "to look."
    )


def lengths_of(segmentation: Segmentation, written: Any) -> dict[Region, diameters.Diameters]:
    """Region → diameters: those that a person set, where there are any, else as measured."""
    try:
        given = diameters.from_json(written) if isinstance(written, Mapping) else {}
    except (KeyError, TypeError, ValueError):  # a sidecar of something else
        given = {}
    edited = {r: d for r, d in given.items() if r in segmentation.regions and any(x.edited for x in d.lesions)}
    rest = [r for r in segmentation.regions if r not in edited]
    return {**diameters.diameters(segmentation.labels, segmentation.grid, rest), **edited}


def sides_of(segmentation: Segmentation, study: Study | None) -> dict[Region, side.Side | None]:
    """Region → the side it lies on, by the symmetry of the study's reference series; {} where that does not tell."""
    if study is None or not study.reference.grid.same_as(segmentation.grid):
        return {}
    plane = side.midline(study.reference.data, study.reference.grid, region_mask(segmentation.labels, Region.WT))
    if plane is None:
        return {}
    return {
        r: side.side_of(region_mask(segmentation.labels, r), segmentation.grid, plane) for r in segmentation.regions
    }


def _drawn(written: Any) -> list[dict[str, Any]]:
    """What a person drew to measure; [] where nothing of that kind is recorded."""
    try:
        return drawn.to_json(drawn.from_json(written)) if written else []
    except (AttributeError, KeyError, TypeError, ValueError):  # a sidecar of something else
        return []


def _amount(voxels: int, voxel_ml: float | None) -> dict[str, float | int | None]:
    return {"volume_ml": None if voxel_ml is None else round(voxels * voxel_ml, 3), "volume_voxels": voxels}


def _model(written: Mapping[str, Any]) -> dict[str, str] | None:
    if not written.get("model"):
        return None
    return {"name": str(written["model"]), "version": str(written.get("model_version") or "")}


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _preparation(prepared: Any) -> dict[str, Any] | None:
    """How the brain was found, and how well each series was aligned; None where nothing of that kind is recorded."""
    if not isinstance(prepared, Mapping):
        return None
    quality = {}
    for modality in Modality:
        alignment = prepared.get(modality.value)
        if isinstance(alignment, Mapping) and all(isinstance(alignment.get(k), int | float) for k in _MARKS):
            numbers = {k: float(alignment[k]) for k in (*_MARKS, *_MOVES) if isinstance(alignment.get(k), int | float)}
            quality[modality.value] = {**dict.fromkeys(_MOVES), **numbers, "good": bool(alignment.get("good"))}
    brain = str(prepared["brain"]) if "brain" in prepared else None
    return {"brain": brain, "quality": quality} if quality or brain else None


def _corrected(written: Mapping[str, Any]) -> bool | None:
    """Whether a person changed it; None where nobody recorded that."""
    if "edited" in written:
        return bool(written["edited"])
    return False if written.get("model") else None


def _grid(grid: Any) -> dict[str, Any]:
    return {
        "shape": list(grid.shape),
        "spacing_mm": [round(s, 4) for s in grid.spacing] if grid.calibrated else None,
        "orientation": grid.orientation,
        "obliquity_deg": round(grid.obliquity_deg, 1),
        "calibrated": grid.calibrated,
    }


def _series(study: Study, modality: Any) -> dict[str, Any]:
    grid = study.volumes[modality].grid
    apart = round(grid.spacing[diameters.slice_axis(grid)], 3) if grid.calibrated else None
    plane = {"R": "sagittal", "L": "sagittal", "A": "coronal", "P": "coronal"}
    across = grid.orientation[diameters.slice_axis(grid)]
    return {"modality": modality.value, "plane": plane.get(across, "axial"), "slice_distance_mm": apart, **_grid(grid)}


def _rano_range(record: Record, prior: Mapping[str, Any]) -> str | None:
    """In which range of RANO the sum of products falls, as arithmetic over all known dates, or of two results where the dates
    are not known; None where either was not measured."""
    if record["examined"] is not None and prior.get("examined") is not None:
        points = [p for p in record["history"] if p["date"] != record["examined"]] + [growth.time_point(record)]
        known = [p["sum_of_products_rano_mm2"] for p in points]
        if None in known[-1:]:
            return None
        return follow_up.rano_range([s for s in known if s is not None]) or None
    sums = [
        (((r.get("regions") or {}).get("ET") or {}).get("diameters") or {}).get("sum_of_products_rano_mm2")
        for r in (prior, record)
    ]
    measured = [float(s) for s in sums if s is not None]
    return (follow_up.rano_range(measured) or None) if len(measured) == len(sums) else None


def _changes(record: Record, prior: Mapping[str, Any]) -> dict[str, Any]:
    """Region → quantity → prior value, difference and percent; what either lacks is left out."""
    out: dict[str, Any] = {}
    for name, now in record["regions"].items():
        before = (prior.get("regions") or {}).get(name)
        if now is None or not before:
            continue
        pairs = {"volume_ml": (now["volume_ml"], before["volume_ml"])}
        a, b = now["diameters"] or {}, before.get("diameters") or {}
        for key in ("sum_of_products_rano_mm2", "sum_of_products_rano2_mm2", "lesion_count"):
            pairs[key] = (a.get(key), b.get(key))
        pairs["largest_3d_mm"] = tuple((d.get("largest_3d") or {}).get("mm") for d in (a, b))  # type: ignore[assignment]
        out[name] = {k: _change(x, y) for k, (x, y) in pairs.items() if x is not None and y is not None}
    return out


def _change(now: float, before: float) -> dict[str, float | None]:
    percent = round(100 * (now - before) / before, 1) if before else None
    return {"prior": before, "difference": round(now - before, 3), "percent": percent}
