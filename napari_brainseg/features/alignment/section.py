"""Connects the alignment view and its verbs."""

from __future__ import annotations

from napari_brainseg.display.compare import Mix
from napari_brainseg.features.alignment.comparing import changed_by
from napari_brainseg.features.alignment.verbs import AlignmentVerbs
from napari_brainseg.features.alignment.view import AlignmentShown, AlignmentView
from napari_brainseg.features.context import Context


class AlignmentSection:
    """Between the alignment view and its verbs."""

    def __init__(self, view: AlignmentView, verbs: AlignmentVerbs, context: Context) -> None:
        self._view, self._verbs, self._session = view, verbs, context.session
        view.shown_chosen.connect(verbs.show)
        view.mix_chosen.connect(lambda mix: verbs.check(Mix(mix) if mix else None))
        view.series_chosen.connect(verbs.choose)
        view.swiped.connect(verbs.comparing.swipe)
        view.moved.connect(self._move)
        view.undo_requested.connect(verbs.comparing.undo)
        view.register_requested.connect(verbs.register)
        view.use_requested.connect(verbs.use)
        context.follow(verbs.changed, self._show)
        context.follow(context.session.job_changed, self._show)
        self._show()

    def _move(self, i: int, value: float) -> None:
        comparing = self._verbs.comparing
        comparing.move(changed_by(comparing.nudge, "shift_mm" if i < 3 else "turn_deg", i % 3, value))

    def _show(self) -> None:
        self._view.show_state(state_of(self._verbs, busy=self._session.job is not None))


def state_of(verbs: AlignmentVerbs, *, busy: bool) -> AlignmentShown:
    """What there is to show."""
    acquired, comparing = verbs.acquired, verbs.comparing
    if acquired is None:
        return AlignmentShown()
    reference = acquired.prepared.reference.title
    others = []
    for m in verbs.others:
        quality = acquired.prepared.quality.get(m)
        mark = "" if quality is None else " · ✓ aligned" if quality.good else " · ⚠ look"
        others.append((f"{m.title} on {reference}{mark}", m, acquired.titles.get(m, m.title)))
    figures, quality = "", comparing.quality
    if quality is not None:
        figures = (
            f"Match {quality.peak:.2f} · shows {quality.cover:.0%} of the head · heads overlap by {quality.dice:.0%}"
        )
        figures += "" if quality.good else ". ⚠ This is not what two series of one head give: look closely."
    return AlignmentShown(
        series=tuple(acquired.volumes),
        shown=verbs.reading.shown,
        others=others,
        compared=comparing.series,
        mix=comparing.mix.value if comparing.mix is not None else "",
        where=comparing.where,
        numbers=(*comparing.nudge.shift_mm, *comparing.nudge.turn_deg),
        can_undo=comparing.can_undo,
        moved=bool(comparing.moved),
        figures=figures,
        doubtful=quality is not None and not quality.good,
        busy=busy,
    )
