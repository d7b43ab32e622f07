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
    name; a header that tells nothing belongs to the person of its study, where that is one person.
    """
    known: list[list[str]] = []
    of: dict[tuple[_Who, str], int] = {}
    keys = {(_normalised(f.instance.patient), f.instance.study_uid) for f in frames}
    told = sorted((k for k in keys if k[0][0] or k[0][1]), key=lambda k: (-sum(map(bool, k[0])), k))
    for who, study in told:
        of[who, study] = _find(known, who)
    in_study = defaultdict(set)
    for (_, study), person in of.items():
        in_study[study].add(person)
    for who, study in sorted(keys - set(told)):
        if len(in_study[study]) != 1:
            known.append(["", "", ""])
            in_study[study].add(len(known) - 1)
            of[who, study] = len(known) - 1
        else:
            of[who, study] = next(iter(in_study[study]))
    groups: dict[int, list[Frame]] = defaultdict(list)
    for f in frames:
        groups[of[_normalised(f.instance.patient), f.instance.study_uid]].append(f)
    return sorted(groups.values(), key=lambda g: min(f.instance.study_date or "~" for f in g))


def _find(known: list[list[str]], who: _Who) -> int:
    for i, person in enumerate(known):
        agree = all(not a or not b or a == b for a, b in zip(person, who, strict=True))
        if agree and any(a and a == b for a, b in zip(person[:2], who[:2], strict=True)):
            known[i] = [a or b for a, b in zip(person, who, strict=True)]
            return i
    known.append(list(who))
    return len(known) - 1


def _normalised(patient: _Who) -> _Who:
    """Id, name and birth date without what only spelling tells apart: case, padding, empty components."""
    name = unicodedata.normalize("NFKC", patient[1].split("=")[0]).casefold()
    return patient[0].strip().casefold(), " ".join(name.replace("^", " ").split()), patient[2].strip()
