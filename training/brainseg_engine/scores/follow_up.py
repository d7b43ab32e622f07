"""Two or more time points: what changed in mL and %, and in which range of the RANO criteria the arithmetic falls.

The ranges are those of Wen et al. 2010 (doi:10.1200/JCO.2009.26.3541) for the sum of products of the enhancing target lesions:
at least half less than at the baseline, at least a quarter more than the least sum so far (the nadir), nothing left, or in
between. This is arithmetic of one of several criteria: steroids, clinical state, FLAIR, new lesions and confirmation after four
weeks are not looked at, so that it is no response assessment. For research use.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

PARTIAL, PROGRESSION = -50.0, 25.0
"""Percent of the baseline, and of the nadir."""
CAVEAT = "Arithmetic of the sum of products alone, for research use: no response assessment."


@dataclass(frozen=True)
class Change:
    """A number before and now; ``percent`` None where nothing was there before."""

    before: float
    now: float

    @property
    def difference(self) -> float:
        """Now minus before."""
        return self.now - self.before

    @property
    def percent(self) -> float | None:
        """Of what was there before."""
        return None if self.before <= 0 else 100 * self.difference / self.before

    def words(self, unit: str, digits: int = 1) -> str:
        """Like "12.0 → 18.0 mL (+6.0, +50 %)"."""
        share = "" if self.percent is None else f", {self.percent:+.0f} %"
        return (
            f"{self.before:.{digits}f} → {self.now:.{digits}f} {unit} ({self.difference:+.{digits}f}{share})".replace(
                "-", "\N{MINUS SIGN}"
            )
        )


def rano_range(sums_mm2: Sequence[float]) -> str:
    """The range that the last of the sums (mm², oldest first) falls into, in words; "" for fewer than two, and where there was
    nothing to measure.
    """
    if len(sums_mm2) < 2:
        return ""
    *earlier, now = sums_mm2
    baseline, nadir = earlier[0], min(earlier)
    if now <= 0:
        return "nothing measurable is left (range of complete response)" if max(earlier) > 0 else ""
    if nadir <= 0:
        return "measurable again, or for the first time (range of progression)"
    of_nadir, of_baseline = 100 * (now - nadir) / nadir, 100 * (now - baseline) / baseline
    if of_nadir >= PROGRESSION:
        return _signed(of_nadir, "the least sum", "progression", f"at least +{PROGRESSION:.0f} %")
    if of_baseline <= PARTIAL:
        return _signed(of_baseline, "the first sum", "partial response", f"at least −{-PARTIAL:.0f} %")
    return _signed(of_baseline, "the first sum", "stable disease", "in between")


def _signed(percent: float, of: str, name: str, rule: str) -> str:
    return f"{percent:+.0f} % of {of} (range of {name}: {rule})".replace("-", "\N{MINUS SIGN}")
