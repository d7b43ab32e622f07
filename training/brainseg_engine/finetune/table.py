"""The table before/after of a report, for the terminal, its page and the window alike. Light: no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from brainseg_engine.core.labels import Region
from brainseg_engine.finetune.wording import interval, number, signed

MEAN = ""
"""The name of the row that holds the means over the cases."""
NUMBERS = (("dice", 3), ("hd95_mm", 1))
"""Metric, and its digits."""

Pair = tuple[str, str, str]
"""Before, after, and the difference, as text; a dash for what was not measured."""


@dataclass(frozen=True)
class ScoreRow:
    """One region of one case (``MEAN`` for the means). ``sign``: of the Dice's difference as it is shown (−1, 0, 1)."""

    case: str
    region: str
    dice: Pair
    hd95: Pair
    sign: int = 0


def rows(scores: Mapping[str, Any]) -> list[ScoreRow]:
    """Of one set of a report (as in ``report.json``), the regions measured alone, case by case, the means last."""
    before, after = scores["before"], scores["after"]
    pairs = [(case, before["cases"][case], after["cases"][case]) for case in before["cases"]]
    out = []
    for case, one, two in (*pairs, (MEAN, before["mean"], after["mean"])):
        for region in Region:
            b, a = one.get(region.value, {}), two.get(region.value, {})
            if b.get("dice") is not None or a.get("dice") is not None:
                dice, hd95 = (_pair(b.get(key), a.get(key), digits) for key, digits in NUMBERS)
                gain = round((a.get("dice") or 0.0) - (b.get("dice") or 0.0), NUMBERS[0][1])
                out.append(ScoreRow(case, region.value, dice, hd95, (gain > 0) - (gain < 0)))
    return out


def differences(scores: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Region, and the mean differences of Dice and of HD95 in mm with their intervals, as text."""
    out = []
    for region, measured in scores["comparison"]["regions"].items():
        if measured["dice"]["n"]:
            both = ((measured[key], digits) for key, digits in NUMBERS)
            dice, hd95 = (interval(p["difference"], p["low"], p["high"], digits) for p, digits in both)
            out.append((str(region), dice, hd95))
    return out


def _pair(before: float | None, after: float | None, digits: int) -> Pair:
    change = None if before is None or after is None else after - before
    return number(before, digits), number(after, digits), signed(change, digits)
