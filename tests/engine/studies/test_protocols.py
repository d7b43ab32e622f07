"""Whole protocols, as hospitals of several countries and vendors name them: the four a radiologist would take are taken."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from brainseg_engine.core.series import SeriesFacts
from brainseg_engine.core.study import Modality
from brainseg_engine.io.naming import classify, contrast_named
from brainseg_engine.studies.identify import identify

TABLE = Path(__file__).with_name("protocols.txt")
PLANES = {"axi": ("axial", (0, 1, 2)), "cor": ("coronal", (0, 2, 1)), "sag": ("sagittal", (2, 0, 1))}


def _facts(n: int, name: str, times: str, sequence: str, grid: str, more: str) -> SeriesFacts:
    te, tr, ti = (float(x) if x else None for x in times.split("/"))
    values = dict(word.replace("~", " ").partition("=")[::2] for word in more.split())
    plane, where = PLANES[grid[:3]]
    mm, _, slices = grid[3:].partition("x")
    spacing = (0.9, 0.9, float(mm)) if slices else (1.0, 1.0, 1.0)
    extent = (230.0, 230.0, float(mm) * int(slices)) if slices else (256.0, 256.0, 176.0)
    kind = ("DERIVED", "SECONDARY", *values["type"].split("/")) if "type" in values else ("ORIGINAL", "PRIMARY")
    return SeriesFacts(
        f"{n}", label=name, description=name, te_ms=te, tr_ms=tr, ti_ms=ti, scanning_sequence=tuple(sequence.split("+")),
        acquired=datetime(2001, 2, 3, 9) + timedelta(minutes=3 * n), shape=(256, 256, int(slices or 176)), spacing=spacing,
        plane=plane, coverage_mm=tuple(extent[i] for i in where), image_type=kind, contrast=values.get("agent"),
        time_points=int(values.get("points", 1)), orientations=3 if "localiser" in values else 1, number=n,
        b_value=float(values["b"]) if "b" in values else None, protocol=values.get("protocol", ""),
        echo=int(values["echo"]) if "echo" in values else None, echoes=2 if "echo" in values else 1,
    )  # fmt: skip


def _protocols() -> dict[str, list[tuple[SeriesFacts, str]]]:
    found: dict[str, list[tuple[SeriesFacts, str]]] = {}
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            found[line[3:]] = rows = []
        elif "|" in line and not line.startswith("#"):
            use, *cells = (cell.strip() for cell in line.split("|"))
            cells += [""] * (5 - len(cells))
            rows.append((_facts(len(rows) + 1, *cells), use))
    return found


PROTOCOLS = _protocols()


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_four_are_those_a_radiologist_takes(name):
    rows = PROTOCOLS[name]
    found = identify([facts for facts, _ in rows])
    wanted = {Modality(use): facts.label for facts, use in rows if use != "-"}
    assert {m: found.of(i).series.label for m, i in found.chosen.items()} == wanted
    assert dict(found.chosen) == {Modality(use): facts.id for facts, use in rows if use != "-"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("T1 nach KM", True), ("T1 vor KM", False), ("T1 o. KM", False), ("T1 ohne Kontrast", False), ("T1 nativ", False),
        ("T1 INJECTÉ", True), ("T1 sans injection", False), ("T1 avec IV", True), ("T1 IV-", False), ("T1 natif", False),
        ("T1 S/C", False), ("T1 C/C", True), ("T1 CIV", True), ("T1 sin contraste", False), ("T1 con contraste", True),
        ("T1 senza mdc", False), ("T1 m.d.c.", True), ("T1 zonder gado", False), ("T1 na gadolinium", True),
        ("T1 blanco", False), ("T1 u/k", False), ("T1 m/k", True), ("T1FLAIR+C", True), ("T1 +C - AXIAL", True),
        ("T1 Gd(-)", False), ("T1 Gd(+)", True), ("Gd-T1WI", True), ("T1 w/o", False), ("T1 W/WO", None),
        ("T1 post op", None), ("T1 pre op", None), ("T1 post gad post op", True), ("T1 增强", True), ("T1 平扫", False),
        ("T1 axial", None), ("T1_C-_3", False), ("t1_mprage_C+", True), ("T1 POSTGAD", True), ("T1 pregad", False),
    ],
)  # fmt: skip
def test_contrast_in_the_words_of_many_languages(name, content):
    assert contrast_named(name) is content
    expected = Modality.T1CE if content else Modality.T1
    assert classify([name]) == [expected]
