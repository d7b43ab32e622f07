"""Whose files these are: people kept apart, whatever is left out or written differently from file to file."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Sequence

from brainseg_engine.io.dicom.headers import Frame

_Who = tuple[str, str, str]


def persons(frames: Sequence[Frame]) -> list[list[Frame]]:
    """The frames of each person, in the order of their first studies.

    Two headers are of one person when no element that both have (id, name, birth date) differs, and they share an id or a
    name; a header without either belongs to the person of its study that it does not contradict, where that is one person.
    """
    known: list[list[str]] = []
    of: dict[tuple[_Who, str], int] = {}
    keys = {(_normalised(f.instance.patient), f.instance.study_uid) for f in frames}
    named = sorted((k for k in keys if k[0][0] or k[0][1]), key=lambda k: (-sum(map(bool, k[0])), k))
    for who, study in named:
        of[who, study] = _find(known, who)
    in_study = defaultdict(set)
    for (_, study), person in of.items():
        in_study[study].add(person)
    for who, study in sorted(keys - set(named), key=lambda k: (-len(k[0][2]), k)):
        fitting = [i for i in in_study[study] if _agree(known[i], who)]
        if len(fitting) == 1:
            known[fitting[0]] = [a or b for a, b in zip(known[fitting[0]], who, strict=True)]
            of[who, study] = fitting[0]
        else:
            known.append(list(who))
            in_study[study].add(len(known) - 1)
            of[who, study] = len(known) - 1
    groups: dict[int, list[Frame]] = defaultdict(list)
    for f in frames:
        groups[of[_normalised(f.instance.patient), f.instance.study_uid]].append(f)
    return sorted(groups.values(), key=lambda g: min(f.instance.study_date or "~" for f in g))


def _find(known: list[list[str]], who: _Who) -> int:
    for i, person in enumerate(known):
        if _agree(person, who) and any(a and a == b for a, b in zip(person[:2], who[:2], strict=True)):
            known[i] = [a or b for a, b in zip(person, who, strict=True)]
            return i
    known.append(list(who))
    return len(known) - 1


def _agree(person: Sequence[str], who: _Who) -> bool:
    """True when nothing that both have differs."""
    return all(not a or not b or a == b for a, b in zip(person, who, strict=True))


def _normalised(patient: _Who) -> _Who:
    """Id, name and birth date without what only spelling tells apart: case, padding, empty components."""
    name = unicodedata.normalize("NFKC", patient[1].split("=")[0]).casefold()
    return patient[0].strip().casefold(), " ".join(name.replace("^", " ").split()), patient[2].strip()
