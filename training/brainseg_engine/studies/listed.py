"""What is wrong with a list of series as a whole, before anything is chosen from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from brainseg_engine.io.found import ImageSeries, Listing
from brainseg_engine.studies.checks import Finding

FEWEST_SLICES = 8
"""Fewer show no whole tumour: localisers and single sections."""
_NAMES = {"CT": "CT", "PT": "PET", "US": "ultrasound", "CR": "X-ray", "DX": "X-ray", "XA": "angiography", "NM": "scintigraphy",
          "SC": "screen captures", "OT": "other pictures", "SEG": "segmentations"}  # fmt: skip


def check_listing(listing: Listing) -> list[Finding]:
    """What a person must know of it, errors first.

    Errors: ``no-mr``, ``no-volume`` (nothing that could be one of the four series). Warnings: ``several-patients``,
    ``several-dates``, ``skipped`` (files that should have been images).
    """
    series = list(listing.series)
    findings = list(_nothing_usable(series))
    if len(listing.patients) > 1:
        text = f"These are {len(listing.patients)} patients, who are never mixed: choose one."
        findings.append(Finding("several-patients", "warning", text))
    for patient in listing.patients:
        if len(patient.visits) > 1:
            days = ", ".join(v.day.isoformat() if v.day else "no date" for v in patient.visits)
            text = f"{patient.label.capitalize()} has {len(patient.visits)} studies ({days}): choose one."
            findings.append(Finding("several-dates", "warning", text))
    for s in listing.skipped:
        if s.lost:
            files, again = ("1 file", "it") if s.count == 1 else (f"{s.count} files, each of which", "them")
            findings.append(Finding("skipped", "warning", f"{files} {s.reason}. Export or copy {again} again."))
    return sorted(findings, key=lambda f: f.severity != "error")


def is_volume(series: ImageSeries) -> bool:
    """Whether the series could be one of the four: an MR volume that can be read, with enough slices in one direction."""
    facts = series.facts
    enough = series.grid is not None and min(series.grid.shape) >= FEWEST_SLICES
    return series.usable and enough and facts.modality in ("MR", "") and facts.orientations == 1


def _nothing_usable(series: list[ImageSeries]) -> Iterable[Finding]:
    kinds = Counter(_NAMES.get(s.facts.modality, s.facts.modality or "unknown") for s in series)
    if not any(s.facts.modality in ("MR", "") for s in series):
        yield Finding("no-mr", "error", f"There is no MR among these series, but {_listed(kinds)}. Give the MR study.")
    elif not any(is_volume(s) for s in series):
        yield Finding("no-volume", "error",
                      f"None of the {len(series)} series is a volume of at least {FEWEST_SLICES} slices (localisers and single "
                      "pictures only). Export the whole study.")  # fmt: skip


def _listed(kinds: Counter[str]) -> str:
    return ", ".join(kinds)
