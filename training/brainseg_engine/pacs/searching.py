"""A search for studies that finds what is there, also where the PACS compares letters in its own way."""

from __future__ import annotations

import fnmatch
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import replace

from brainseg_engine.pacs.records import Pacs, Query, StudyRow

_OTHER = re.compile(r"[^A-Za-z0-9*?^=-]+")


def search(pacs: Pacs, query: Query) -> Iterator[StudyRow]:
    """The studies that fit, as they arrive. Raises as :class:`~brainseg_engine.pacs.records.Pacs` says.

    Servers differ in the letters that they compare (character sets, percent signs in addresses): where a name with other
    letters than A to Z finds nothing, it is asked for with a wildcard in their place, and compared here.
    """
    anything = False
    for row in pacs.studies(query):
        anything = True
        yield row
    asked = query.matching().get("PatientName", "")
    loose = re.sub(r"\*+", "*", re.sub(r"\^", "*", _OTHER.sub("*", asked)))
    if anything or loose in (asked, "*"):
        return
    yield from (row for row in pacs.studies(replace(query, name=loose)) if fits(row.name, asked))


def fits(name: str, asked: str) -> bool:
    """Whether a name fits what was asked for, capitals and accents aside: umlauts too, as ü or ue."""
    wanted = {_plain(asked), _plain(_spelt(asked))}
    return any(fnmatch.fnmatchcase(n, w) for n in {_plain(name), _plain(_spelt(name))} for w in wanted)


def _plain(text: str) -> str:
    apart = unicodedata.normalize("NFKD", text.casefold())
    return "".join(c for c in apart if not unicodedata.combining(c)).replace("[", "[[]")


def _spelt(text: str) -> str:
    for letter, letters in (("ä", "ae"), ("ö", "oe"), ("ü", "ue"), ("ß", "ss")):
        text = unicodedata.normalize("NFC", text.casefold()).replace(letter, letters)
    return text
