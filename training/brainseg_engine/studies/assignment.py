"""Series assigned by hand: what a user names for a use stands above every proposal.

The same for folders of files and for series out of DICOM, and for the commands, the window and the API: a mapping from use
to what the user wrote (a path, a file name, a description, a series number like ``#7``, or a pattern with ``*``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from brainseg_engine.core import plain
from brainseg_engine.core.errors import BrainsegError, InputError
from brainseg_engine.core.records import parse_json, parse_toml
from brainseg_engine.core.series import SeriesFacts
from brainseg_engine.core.study import Modality, Volume
from brainseg_engine.io.file_facts import file_facts
from brainseg_engine.io.formats import read_image
from brainseg_engine.io.image import unreadable
from brainseg_engine.io.layouts import ambiguity, find_series, missing_series, sort_series
from brainseg_engine.io.naming import MASK, stem
from brainseg_engine.io.series import Layout, Series
from brainseg_engine.studies.appearance import look
from brainseg_engine.studies.identify import Choices, SeriesProposal, identify

Wanted = Mapping[Modality, str | None]
"""Use → what names its series; None for a use that shall stay empty."""
_ALSO = {"t1n": "t1", "t1c": "t1ce", "t1gd": "t1ce", "t2w": "t2", "t2f": "flair"}
_MOST = 2**20
MOST_IMAGES = 12
"""More images of one folder are not read for a proposal."""


def assign(series: Sequence[SeriesFacts], wanted: Wanted, choices: Choices | None = None) -> Choices:
    """The choices with what the user named; the rest stays as proposed (``choices``, else :func:`identify`).

    A series taken from another use leaves that one to its next candidate. Raises InputError for a name that fits no
    series or several, and for one series named twice.
    """
    proposed = identify(series) if choices is None else choices
    given = {m: None if what is None else matching(series, what, m).id for m, what in wanted.items()}
    taken = [i for i in given.values() if i is not None]
    for m, i in given.items():
        if i is not None and taken.count(i) > 1:
            other = next(n for n, j in given.items() if j == i and n is not m)
            label = next(f.label for f in series if f.id == i)
            raise InputError(f"'{label}' was given for {m.title} and for {other.title}. Give each its own series.")
    chosen: dict[Modality, str] = {}
    for m in Modality:
        if m in given:
            candidates: Sequence[str | None] = [given[m]]
        else:
            candidates = [proposed.chosen.get(m), *proposed.alternatives.get(m, ())]
        free = [
            c for c in candidates if c is not None and (m in given or (c not in taken and c not in chosen.values()))
        ]
        if free:
            chosen[m] = free[0]
    return _choices(proposed, chosen, {i: m for m, i in given.items() if i is not None})


def matching(series: Sequence[SeriesFacts], what: str, m: Modality) -> SeriesFacts:
    """The one series that the user's word names. Raises InputError for none or several."""
    exact = [
        f for f in series if what in _names(f) or what.casefold() in {n.casefold() for n in (f.label, f.description)}
    ]
    path = str(Path(what).absolute())
    fitting = exact or [f for f in series if f.file_name and str(Path(f.id).absolute()) == path]
    fitting = fitting or [f for f in series if any(fnmatchcase(n.casefold(), what.casefold()) for n in _names(f) if n)]
    if len(fitting) == 1:
        return fitting[0]
    labels = ", ".join(f"'{f.label}'" for f in (fitting or series)[:8]) or "none"
    if fitting:
        raise InputError(
            f"'{what}', given for {m.title}, fits several series: {labels}. Write more of the name, or its number."
        )
    raise InputError(f"'{what}', given for {m.title}, fits no series; there are {labels}.")


def assigned(source: Path | Sequence[Path], wanted: Wanted) -> Series:
    """The files of a study folder, or files as given, with what the user named; the rest by the files' names.

    A file that is named by its path may lie elsewhere. Raises InputError as :func:`assign`, and for studies whose series
    are no files of their own.
    """
    many = not isinstance(source, Path) or not source.is_dir()
    paths = [source] if isinstance(source, Path) else list(source)
    named = [Path(w) for w in wanted.values() if w and Path(w).is_file()]
    series = sort_series(list(dict.fromkeys([*paths, *named]))) if many else find_series(paths[0])
    if series.layout is not Layout.FILES:
        raise InputError(f"{series.folder} holds {series.layout.value}, which cannot be assigned one by one.")
    several = [p for what, some in series.ambiguous.items() if what != MASK for p in some]
    images = [*series.files.values(), *series.unknown, *several]
    known = {p.absolute() for p in images}
    images += [p for p in named if p.absolute() not in known]
    facts = [SeriesFacts(str(p), label=p.name, description=stem(p.name), file_name=p.name) for p in images]
    by_name = Choices(tuple(SeriesProposal(f, None, "") for f in facts), {m: str(p) for m, p in series.files.items()})
    chosen = assign(facts, wanted, by_name).chosen
    files = {m: Path(chosen[m]) for m in Modality if m in chosen}
    ambiguous = {what: some for what, some in series.ambiguous.items() if what not in wanted}
    still = {*files.values(), *(p for some in ambiguous.values() for p in some)}
    unknown = tuple(p for p in images if p not in still)
    problems = [*missing_series(files, ambiguous, unknown), *(ambiguity(k, some) for k, some in ambiguous.items())]
    return replace(series, files=files, ambiguous=ambiguous, unknown=unknown, problems=problems, mixed="")


def proposed(series: Series) -> Choices:
    """For images whose names do not tell: what they are by their sidecars and by what their voxels look like.

    What a name tells stays. Images that cannot be read are left out; at most :data:`MOST_IMAGES` are read.
    """
    several = [p for what, some in series.ambiguous.items() if what != MASK for p in some]
    facts, looks = [], {}
    for path in [*series.files.values(), *several, *series.unknown][:MOST_IMAGES]:
        try:
            facts_of_file = file_facts(path)
            image = read_image(path)
        except BrainsegError:
            continue
        facts.append(facts_of_file)
        seen = look(Volume(image.data, image.grid, Modality.T1, path)) if image.calibrated else None
        if seen is not None:
            looks[facts_of_file.id] = seen
    return identify(facts, looks, {str(p): m for m, p in series.files.items()})


def read_assignment(path: Path) -> dict[Modality, str | None]:
    """The mapping in a TOML or JSON file: ``t1ce = "*GD*"``; "" or false leaves a use empty. Raises InputError."""
    try:
        if path.stat().st_size > _MOST:
            raise InputError(f'{path} is too large for an assignment. It names four series, like t1ce = "*GD*".')
        text = plain.read(path, _MOST).decode("utf-8")
        tree = parse_json(text) if path.suffix.lower() == ".json" else parse_toml(text)
    except OSError as e:
        raise unreadable(path, e) from e
    except ValueError as e:
        raise InputError(f'{path} cannot be understood ({e}). It is TOML, with lines like t1ce = "*GD*".') from e
    return wanted_of(tree, str(path))


def wanted_of(tree: Any, where: str) -> dict[Modality, str | None]:
    """Modality → pattern of a series' name (None: none is wanted), from a table such as ``t1ce = "*GD*"``; ``where`` names its
    file in messages. Raises InputError naming the key that is wrong."""
    if not isinstance(tree, dict):
        raise InputError(f'{where} names no uses. Write lines like t1ce = "*GD*", for t1, t1ce, t2 and flair.')
    wanted: dict[Modality, str | None] = {}
    for key, value in tree.items():
        name = _ALSO.get(key.lower(), key.lower())
        if name not in list(Modality):
            raise InputError(f"{where}: '{key}' is no use of a series; these are t1, t1ce, t2 and flair.")
        if not isinstance(value, str) and value is not False:
            raise InputError(f"{where}: {key} is a file, a description or a pattern, as text.")
        wanted[Modality(name)] = value or None
    return wanted


def _names(facts: SeriesFacts) -> set[str]:
    number = set() if facts.number is None else {f"#{facts.number}"}
    return {facts.id, facts.label, facts.description, facts.file_name, facts.protocol} - {""} | number


def _choices(proposed: Choices, chosen: Mapping[Modality, str], by_hand: Mapping[str, Modality]) -> Choices:
    uses = {i: m for m, i in chosen.items()}
    proposals = tuple(_assigned(p, uses.get(p.series.id), by_hand) for p in proposed.proposals)
    alternatives = {}
    for m in Modality:
        before = [
            i for i in (proposed.chosen.get(m), *proposed.alternatives.get(m, ())) if i is not None and i not in uses
        ]
        if before:
            alternatives[m] = tuple(before)
    return Choices(proposals, dict(chosen), alternatives)


def _assigned(p: SeriesProposal, use: Modality | None, by_hand: Mapping[str, Modality]) -> SeriesProposal:
    if p.series.id in by_hand:
        return replace(
            p, use=use, reason=f"{by_hand[p.series.id].title}: assigned by hand.", confidence=1.0, could_be=()
        )
    if use is p.use:
        return p
    if use is None:
        assert p.use is not None
        return replace(
            p, use=None, reason=f"Not used: another series was assigned to {p.use.title}.", could_be=(p.use,)
        )
    return replace(p, use=use, reason=f"{use.title}: the next candidate.", could_be=())
