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
    from brainseg_engine.report.growth import Chart


@dataclass(frozen=True)
class TimePoint:
    """Region → mL, and of the enhancing lesions the sum of products in mm² and the diameters of the largest in mm (None: not
    measured)."""

    ml: Mapping[Region, float]
    product_mm2: float | None
    largest_mm: tuple[float, float] | None = None


@dataclass(frozen=True)
class Compared:
    """What changed, a line each, and how the tumour grew over the days that are known."""

    lines: tuple[str, ...]
    charts: tuple[Chart, ...] = ()


class FollowUpVerbs:
    """What the follow-up section shows and asks for. ``prior``: the name of the earlier study ("" for none)."""

    changed = Signal()

    def __init__(self, context: Context) -> None:
        self._context, self._session, self._viewer = context, context.session, context.viewer
        self.prior = ""
        self.lines: tuple[str, ...] = ()
        self.charts: tuple[Chart, ...] = ()
        self.busy = False
        self._aligned: AlignedPrior | None = None
        self._day: str | None = None
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

        def work() -> tuple[AlignedPrior, str | None, Compared]:
            from brainseg_engine.prepare.prior import align_prior
            from brainseg_engine.report.identity import examined_on
            from brainseg_engine.report.sources import study_with_mask

            prior = study_with_mask(folder)
            aligned = align_prior(prior, current.study, threads=1)
            now = layers.segmentation_of(layer) if layer is not None else None
            day = current.day.isoformat() if current.day else examined_on(current.study.reference)
            return aligned, day, compared(prior, current.study, now, day)

        def done(made: tuple[AlignedPrior, str | None, Compared]) -> None:
            self.busy = False
            if self._session.study is not current:
                return
            self._aligned, self._day, found = made
            self.lines, self.charts = found.lines, found.charts
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
        aligned, layer, current, day = self._aligned, self._context.labels, self._session.study, self._day
        if aligned is None or layer is None or current is None:
            return

        def done(found: Compared) -> None:
            self.lines, self.charts = found.lines, found.charts
            self.changed.emit()

        self._context.run(
            lambda: compared(aligned.study, current.study, layers.segmentation_of(layer), day),
            done,
            current=self._newest.next(),
        )

    def drop(self) -> None:
        """One study fills the canvas again."""
        self._newest.next()
        self._aligned, self.prior, self.lines, self.charts, self.busy = None, "", (), (), False
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
    if Region.ET not in segmentation.regions or not segmentation.grid.calibrated:
        return TimePoint(ml, None)
    found = diameters(segmentation.labels, segmentation.grid, (Region.ET,))[Region.ET]
    largest = [(x.longest.mm, x.perpendicular.mm) for x in found.lesions[:1]]
    return TimePoint(ml, found.sum_of_products_mm2(), largest[0] if largest else None)


def days_of(before: str | None, now: str | None) -> tuple[str, ...]:
    """The days of both examinations in a line, where they are known."""
    if before is None or now is None:
        return ()
    apart = (date.fromisoformat(now) - date.fromisoformat(before)).days
    order = "" if apart >= 0 else ": the earlier study is the later one"
    return (f"{before} → {now} ({abs(apart)} days{order})",)


def growth_of(prior: Study, current: Study, now: Segmentation, day: str | None) -> tuple[Chart, ...]:
    """How the tumour grew up to the open study (examined on ``day``), from what is known of the earlier one and before it."""
    from brainseg_engine.report import growth
    from brainseg_engine.report.record import build
    from brainseg_engine.report.writing import earlier_record

    earlier = earlier_record(prior)
    last = growth.time_point(build(now, current, sidecar={}, examined=day))
    if last is None:
        return ()
    return tuple(growth.charts([*(p for p in growth.history(earlier) if p["date"] < last["date"]), last]))


def compared(prior: Study, current: Study, now: Segmentation | None, day: str | None) -> Compared:
    """The labels ``now`` of the open study (examined on ``day``, where that is known) with those of an earlier one."""
    from brainseg_engine.report.identity import examined_on

    days = days_of(examined_on(prior.reference), day)
    if prior.segmentation is None or now is None:
        whose = "The earlier study" if prior.segmentation is None else "The open study"
        lack = f"{whose} has no mask, so nothing is measured: segment it, and save the mask beside its images."
        return Compared((*days, lack))
    before, after = time_point(prior.segmentation), time_point(now)
    lines = [
        f"{r.value}  {Change(before.ml[r], after.ml[r]).words('mL')}"
        for r in Region
        if r in before.ml and r in after.ml
    ]
    if before.largest_mm is not None and after.largest_mm is not None:
        lines.append(f"Largest ET lesion  {_across(before.largest_mm)} → {_across(after.largest_mm)} mm")
    if before.product_mm2 is not None and after.product_mm2 is not None:
        lines.append(f"ET products  {Change(before.product_mm2, after.product_mm2).words('mm²', 0)}")
        category = rano_range([before.product_mm2, after.product_mm2])
        if category:
            lines.append(f"{category[0].upper()}{category[1:]}.")
        lines.append(CAVEAT)
    return Compared((*days, *lines), growth_of(prior, current, now, day))


def _across(diameters_mm: tuple[float, float]) -> str:
    return " × ".join(f"{d:.0f}" for d in diameters_mm)
