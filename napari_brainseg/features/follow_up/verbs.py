"""Two time points side by side: an earlier study aligned with the open one, and what changed since."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from psygnal import Signal

from brainseg_engine.core.labels import Region
from brainseg_engine.scores.follow_up import CAVEAT, Change, rano_range
from napari_brainseg.display import layers
from napari_brainseg.display.side_by_side import SideBySide
from napari_brainseg.features.context import Context, Newest
from napari_brainseg.session import Kind

if TYPE_CHECKING:
    from brainseg_engine.core.study import Segmentation, Study
    from brainseg_engine.prepare.prior import AlignedPrior


@dataclass(frozen=True)
class TimePoint:
    """Region → mL, and the sum of products of the enhancing target lesions in mm² (None: not measured)."""

    ml: Mapping[Region, float]
    product_mm2: float | None


class FollowUpVerbs:
    """What the follow-up section shows and asks for. ``prior``: the name of the earlier study ("" for none)."""

    changed = Signal()

    def __init__(self, context: Context) -> None:
        self._context, self._session, self._viewer = context, context.session, context.viewer
        self.prior = ""
        self.lines: tuple[str, ...] = ()
        self.busy = False
        self._aligned: AlignedPrior | None = None
        self._days: tuple[str, ...] = ()
        self._beside = SideBySide(context.viewer)
        self._newest = Newest()
        context.follow(context.session.study_changed, self.drop)

    def close(self) -> None:
        """Take the earlier study off the canvas."""
        self._beside.close()

    @property
    def study(self) -> Study | None:
        """The earlier study that is shown."""
        return self._aligned.study if self._aligned is not None else None

    @property
    def possible(self) -> bool:
        """There is a study to compare with."""
        return self._session.study is not None

    def open(self, folder: Path) -> None:
        """Read the earlier study in that folder, align it with the open one, and show both."""
        current, layer = self._session.study, self._context.labels
        if current is None:
            self._session.say("Open the present study first.", Kind.WARNING)
            return
        self.drop()
        self.busy = True

        def work() -> tuple[AlignedPrior, tuple[str, ...], tuple[str, ...]]:
            from brainseg_engine.prepare.prior import align_prior
            from brainseg_engine.report.identity import examined_on
            from brainseg_engine.report.sources import study_with_mask

            prior = study_with_mask(folder)
            aligned = align_prior(prior, current.study, threads=1)
            now = layers.segmentation_of(layer) if layer is not None else None
            day = current.day.isoformat() if current.day else examined_on(current.study.reference)
            days = days_of(examined_on(prior.reference), day)
            return aligned, days, _compared(prior.segmentation, now)

        def done(made: tuple[AlignedPrior, tuple[str, ...], tuple[str, ...]]) -> None:
            self.busy = False
            if self._session.study is not current:
                return
            self._aligned, self._days, lines = made
            self.lines = (*self._days, *lines)
            self.prior = self._aligned.study.id
            shown = self._aligned.volumes.get(current.study.reference.modality) or next(
                iter(self._aligned.volumes.values())
            )
            with self._context.own_changes():
                self._beside.show(shown, self._aligned.labels)
            self._session.say(f"{self.prior} is aligned and shown to the right; both scroll together.", Kind.GOOD)
            self.changed.emit()

        def failed(error: Exception) -> None:
            self.busy = False
            self._context.fail(error)
            self.changed.emit()

        self._context.run(work, done, failed, current=self._newest.next())
        self._session.say("Reading and aligning the earlier study …")
        self.changed.emit()

    def measure(self) -> None:
        """The numbers again, of the labels as they are now."""
        aligned, layer = self._aligned, self._context.labels
        if aligned is None or layer is None:
            return

        def done(lines: tuple[str, ...]) -> None:
            self.lines = (*self._days, *lines)
            self.changed.emit()

        self._context.run(lambda: _compared(aligned.study.segmentation, layers.segmentation_of(layer)), done)

    def drop(self) -> None:
        """One study fills the canvas again."""
        self._newest.next()
        self._aligned, self.prior, self.lines, self.busy = None, "", (), False
        with self._context.own_changes():
            self._beside.hide()
        self.changed.emit()


def time_point(segmentation: Segmentation) -> TimePoint:
    """The volumes (mL by region) and the sum of products of diameters (mm²) of a segmentation, measured on its own grid."""
    from brainseg_engine.scores.diameters import diameters
    from brainseg_engine.scores.volumes import volumes_ml

    ml = {
        r: v
        for r, v in volumes_ml(segmentation.labels, segmentation.grid, segmentation.regions).items()
        if v is not None
    }
    product = None
    if Region.ET in segmentation.regions and segmentation.grid.calibrated:
        product = diameters(segmentation.labels, segmentation.grid, (Region.ET,))[Region.ET].sum_of_products_mm2()
    return TimePoint(ml, product)


def days_of(before: str | None, now: str | None) -> tuple[str, ...]:
    """The days of both examinations in a line, where they are known."""
    if before is None or now is None:
        return ()
    apart = (date.fromisoformat(now) - date.fromisoformat(before)).days
    order = "" if apart >= 0 else ": the earlier study is the later one"
    return (f"{before} → {now} ({abs(apart)} days{order})",)


def _compared(prior: Segmentation | None, now: Segmentation | None) -> tuple[str, ...]:
    """What changed, a line each."""
    if prior is None or now is None:
        whose = "The earlier study" if prior is None else "The open study"
        return (f"{whose} has no mask, so nothing is measured: segment it, and save the mask beside its images.",)
    before, after = time_point(prior), time_point(now)
    lines = [
        f"{r.value}  {Change(before.ml[r], after.ml[r]).words('mL')}"
        for r in Region
        if r in before.ml and r in after.ml
    ]
    if before.product_mm2 is not None and after.product_mm2 is not None:
        lines.append(f"ET products  {Change(before.product_mm2, after.product_mm2).words('mm²', 0)}")
        category = rano_range([before.product_mm2, after.product_mm2])
        if category:
            lines.append(f"{category[0].upper()}{category[1:]}.")
        lines.append(CAVEAT)
    return tuple(lines)
