"""Frames → series: what belongs on one grid, and what of it was measured at another echo, time or b-value."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.io.dicom.geometry import direction
from brainseg_engine.io.dicom.headers import Frame
from brainseg_engine.io.found import Remark

ORIENTATION, SPACING = 1e-3, 1e-4
"""Direction cosines and pixel spacings (mm) that differ by no more are the same."""
SAME_PLACE_MM = 0.01
FEW_SLICES = 10
"""Directions of a series with fewer slices make no volume of their own (localisers, radial reformats)."""
MOST_PARTS = 8
"""Time points that are listed one by one; longer dynamic series are one entry."""


@dataclass(frozen=True)
class Part:
    """Frames of one series on one grid, at most one at a place, and how they differ from the series' others.

    ``name`` like "echo 2 of 2" ("" for a series that is one part). ``axes``: see :func:`geometry.direction`.
    ``directions``: how many slice directions the series has; ``time_points``: images a place.
    """

    frames: tuple[Frame, ...]
    axes: NDArray[np.float64]
    name: str = ""
    echo: int | None = None
    echoes: int = 1
    directions: int = 1
    time_points: int = 1
    remarks: tuple[Remark, ...] = field(default=())


def parts(frames: Sequence[Frame]) -> list[Part]:
    """The parts of one series (one series UID) that may each be a volume. Frames without a place are left out."""
    frames, copies = _without_copies([f for f in frames if _placed(f)])
    groups = _on_one_grid(frames)
    directions = _directions(groups)
    if len(groups) > 1:
        groups = _worth_listing(groups)
    parts_of = []
    for i, group in enumerate(groups):
        axes, jitter = _axes(group)
        remarks = (*jitter, *copies) if i == 0 else tuple(jitter)
        split = _split(group, axes)
        for part in split:
            name = ", ".join(n for n in (f"stack {i + 1} of {len(groups)}" if len(groups) > 1 else "", part.name) if n)
            parts_of.append(
                Part(part.frames, axes, name, part.echo, part.echoes, directions, part.time_points,
                     (*remarks, *part.remarks))
            )  # fmt: skip
    return parts_of


def _placed(f: Frame) -> bool:
    if f.position is None or f.orientation is None or f.spacing is None:
        return False
    try:
        direction(f.orientation)
    except ValueError:
        return False
    return True


def _without_copies(frames: Iterable[Frame]) -> tuple[list[Frame], list[Remark]]:
    """Each image once, whole files before damaged ones; a UID that two images at different places bear counts for both."""
    seen: dict[object, Frame] = {}
    copies = 0
    for f in sorted(frames, key=lambda f: f.instance.truncated):
        key = (f.instance.sop_uid or f.instance.path, f.index, f.position, f.echo_time, f.number)
        if key in seen:
            copies += 1
        else:
            seen[key] = f
    if not copies:
        return list(seen.values()), []
    return list(seen.values()), [
        Remark("duplicate", "note", f"{_images(copies)} there twice, as copies; each was taken once.")
    ]


def _images(n: int) -> str:
    return "1 image is" if n == 1 else f"{n} images are"


def _on_one_grid(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Frames of one matrix, direction and pixel spacing together; the largest group first."""
    groups: list[list[Frame]] = []
    by_matrix: dict[tuple[int, int], list[list[Frame]]] = defaultdict(list)
    for f in frames:
        near = by_matrix[f.instance.rows, f.instance.columns]
        home = next((g for g in near if _same_plane(g[0], f)), None)
        if home is None:
            near.append([f])
            groups.append(near[-1])
        else:
            home.append(f)
    return sorted(groups, key=len, reverse=True)


def _same_plane(a: Frame, b: Frame) -> bool:
    assert a.orientation and b.orientation and a.spacing and b.spacing
    turned = max(abs(x - y) for x, y in zip(a.orientation, b.orientation, strict=True))
    scaled = max(abs(x - y) for x, y in zip(a.spacing, b.spacing, strict=True))
    return turned <= ORIENTATION and scaled <= SPACING


def _directions(groups: Sequence[Sequence[Frame]]) -> int:
    """How many slice directions there are; 1 where nearly all slices (80 %) have the same."""
    normals: list[tuple[NDArray[np.float64], int]] = []
    for g in groups:
        assert g[0].orientation
        normal = direction(g[0].orientation)[2]
        for i, (n, count) in enumerate(normals):
            if abs(n @ normal) > 1 - 1e-4:
                normals[i] = n, count + len(g)
                break
        else:
            normals.append((normal, len(g)))
    total = sum(count for _, count in normals)
    return 1 if not normals or max(count for _, count in normals) >= 0.8 * total else len(normals)


def _worth_listing(groups: list[list[Frame]]) -> list[list[Frame]]:
    """The groups that could be volumes; where none could, the largest stands for the series."""
    return [g for g in groups if len(g) >= FEW_SLICES] or groups[:1]


def _axes(group: Sequence[Frame]) -> tuple[NDArray[np.float64], list[Remark]]:
    """The group's directions: the median where they differ by a hair, and a note then."""
    every = np.array([f.orientation for f in group])
    middle = np.median(every, axis=0)
    spread = float(np.abs(every - middle).max())
    axes = direction(tuple(middle))
    if spread < 1e-6:
        return axes, []
    return axes, [
        Remark(
            "orientation-jitter", "note", f"Its slices' directions differ by up to {spread:.1g}; the median was taken."
        )
    ]


# --- several images at one place ------------------------------------------------------------------------------------------

_Key = Callable[[Frame], object]
_KEYS: tuple[tuple[str, _Key], ...] = (
    ("time point", lambda f: f.temporal),
    ("echo", lambda f: None if f.echo_time is None else round(f.echo_time, 3)),
    ("b-value", lambda f: round(f.b_value) if f.b_value is not None and f.b_value > 0 else 0),
    ("inversion", lambda f: None if f.inversion_time is None else round(f.inversion_time, 3)),
    ("kind", lambda f: f.image_type),
    ("acquisition", lambda f: f.acquisition),
)


def _split(group: list[Frame], axes: NDArray[np.float64]) -> list[Part]:
    """The group's frames in parts that have one image a place, as what they bear tells them apart."""
    places = _places(group, axes)
    if max(Counter(places).values()) == 1:
        return [Part(tuple(group), axes)]
    for what, key in _KEYS:
        classes: dict[object, list[Frame]] = defaultdict(list)
        for f in group:
            classes[key(f)].append(f)
        if len(classes) < 2 or not _tells_apart(group, places, classes, axes):
            continue
        named = sorted(classes.items(), key=lambda item: _sortable(item[0]))
        if what in ("time point", "acquisition") and len(named) > MOST_PARTS:
            return [_first_of_many(_split(named[0][1], axes), len(named))]
        return [
            Part(inner.frames, axes, _joined(_part_name(what, value, i, len(named)), inner.name),
                 i + 1 if what == "echo" else inner.echo, len(named) if what == "echo" else inner.echoes,
                 1, max(inner.time_points, len(named)) if what == "time point" else inner.time_points, inner.remarks)
            for i, (value, members) in enumerate(named) for inner in _split(members, axes)
        ]  # fmt: skip
    return _by_rank(group, places, axes)


def _places(group: Sequence[Frame], axes: NDArray[np.float64]) -> list[int]:
    """Per frame, the number of its place along the normal."""
    along = np.array([f.position for f in group], dtype=np.float64) @ axes[2]
    order = np.argsort(along, kind="stable")
    rank = np.concatenate([[0], np.cumsum(np.diff(along[order]) > SAME_PLACE_MM)])
    places = np.empty(len(group), dtype=np.int64)
    places[order] = rank
    return [int(p) for p in places]


def _tells_apart(
    group: Sequence[Frame], places: Sequence[int], classes: dict[object, list[Frame]], axes: NDArray[np.float64]
) -> bool:
    """Whether the classes have fewer repeated places than the group, and are no more than images at a place."""
    if len(classes) > max(Counter(places).values()):
        return False
    left = sum(len(c) - len(set(_places(c, axes))) for c in classes.values())
    return left < len(group) - len(set(places))


def _by_rank(group: list[Frame], places: Sequence[int], axes: NDArray[np.float64]) -> list[Part]:
    """Images that nothing but time or number tells apart: time points when each place has as many, else duplicates."""
    at: dict[int, list[Frame]] = defaultdict(list)
    for f, place in zip(group, places, strict=True):
        at[place].append(f)
    for frames in at.values():
        frames.sort(key=lambda f: (f.time, f.number or 0, f.index))
    first = tuple(frames[0] for frames in at.values())
    counts = {len(frames) for frames in at.values()}
    same = all(len({(f.time, f.number) for f in frames}) == 1 for frames in at.values())
    if len(counts) > 1 or same:
        more = len(group) - len(first)
        text = f"At {sum(len(f) > 1 for f in at.values())} of {len(at)} places there is more than one image and no tag tells "
        return [
            Part(
                first,
                axes,
                remarks=(Remark("repeated", "warning", f"{text}them apart: the first was taken, {more} left out."),),
            )
        ]
    count = counts.pop()
    if count > MOST_PARTS:
        return [_first_of_many([Part(first, axes)], count)]
    return [
        Part(tuple(frames[i] for frames in at.values()), axes, f"time point {i + 1} of {count}", time_points=count)
        for i in range(count)
    ]


def _first_of_many(first: list[Part], count: int) -> Part:
    p = first[0]
    note = Remark("dynamic", "note", f"It has {count} time points; the first is what would be read.")
    return Part(p.frames, p.axes, "", p.echo, p.echoes, 1, count, (*p.remarks, note))


def _part_name(what: str, value: object, i: int, count: int) -> str:
    if what == "kind":
        return (
            "/".join(v for v in value if v not in ("ORIGINAL", "DERIVED", "PRIMARY", "SECONDARY"))
            if isinstance(value, tuple)
            else ""
        )
    return f"b {value}" if what == "b-value" else f"{what} {i + 1} of {count}"


def _joined(*names: str) -> str:
    return ", ".join(n for n in names if n)


def _sortable(value: object) -> tuple[bool, float, str]:
    """Numbers in their order, then the rest by its words; what has neither comes first."""
    return (
        value is not None and not isinstance(value, (int, float)),
        float(value) if isinstance(value, (int, float)) else -1,
        str(value),
    )
