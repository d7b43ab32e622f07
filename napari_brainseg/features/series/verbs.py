"""Studies as acquired: the series at a place, and which of them is which. What prepares them is in ``preparing``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from psygnal import Signal

from brainseg_engine.core.errors import Cancelled
from brainseg_engine.core.events import Progress
from brainseg_engine.core.study import Modality
from napari_brainseg.features.context import Context
from napari_brainseg.features.series import listing
from napari_brainseg.features.series.preparing import Preparations
from napari_brainseg.features.series.thumbnails import Picture, pictures
from napari_brainseg.jobs import Aside
from napari_brainseg.session import Kind, OpenStudy, Placing

if TYPE_CHECKING:
    from brainseg_engine.io.found import Visit
    from brainseg_engine.prepare import Prepared
    from brainseg_engine.studies.incoming import Incoming

LOOK_S = 0.1
"""How often the bar follows what a thread lists."""


class Watched:
    """How far a thread is, and whether it is wanted still: it writes the one and reads the other."""

    def __init__(self) -> None:
        self.stage, self.fraction = "looking for files", 0.0
        self.stopped = self.over = False

    def __call__(self, event: Progress) -> None:
        """A ``ProgressCallback``."""
        self.stage, self.fraction = event.stage, event.fraction

    def cancelled(self) -> bool:
        """A ``CancelCheck``."""
        return self.stopped


class SeriesVerbs:
    """What the buttons of the section of series mean."""

    changed = Signal()
    listing_changed = Signal()
    """The listing of a place has got on, begun or ended."""

    def __init__(self, context: Context) -> None:
        self._context, self._session = context, context.session
        self.listed: listing.FoundVisits | None = None
        self.visit: int | None = None
        self.incoming: Incoming | None = None
        self.prepared: Prepared | None = None
        """What the last preparation made of the choices as they are."""
        self.pictures: Mapping[str, Picture] = {}
        """Id of a series → a small picture of it; they come a moment after the table."""
        self._proposed: Incoming | None = None
        self._by_hand: dict[Modality, str | None] = {}
        self.preparing = Preparations(context)
        self._listing: Watched | None = None
        self._look = context.later(LOOK_S, self._follow_listing, True)
        context.follow(context.session.series_requested, self.list)
        context.follow(context.session.placing_requested, self.place)

    # --- which series is which

    def list(self, source: listing.Source | None) -> None:
        """List the series there. What is open, and what was listed before, stays until that is known. None: none are wanted."""
        if source is None:
            if not self.busy:
                self.close()
            return
        if self._listing is not None:
            self._listing.stopped = True  # of several only the last one asked for counts
        self._listing = watched = Watched()
        name = source.name if isinstance(source, Path) else source[0].name

        def done(made: _Listed) -> None:
            self._end_listing(watched)
            self._show(*made)

        work = partial(_list, source, watched, self._context.aside)
        self._context.read(f"Looking through {name} …", work, done, partial(self._unlisted, watched))
        self._look.start()
        self.listing_changed.emit()

    @property
    def listed_so_far(self) -> tuple[str, float] | None:
        """While a place is listed: (stage in words, fraction)."""
        return (self._listing.stage, self._listing.fraction) if self._listing is not None else None

    def _unlisted(self, watched: Watched, error: Exception) -> None:
        self._end_listing(watched)
        if isinstance(error, Cancelled):
            self._session.say("Cancelled; nothing was changed.", Kind.INFO)
        else:
            self._context.fail(error)

    def _end_listing(self, watched: Watched) -> None:
        if self._listing is watched:
            self._listing = None
            self._look.stop()
            self.listing_changed.emit()

    def _follow_listing(self) -> None:
        """The bar; it goes when the thread has ended, also where something else was opened meanwhile."""
        watched = self._listing
        if watched is not None and watched.over:
            self._end_listing(watched)
        self.listing_changed.emit()

    def _show(self, listed: listing.FoundVisits, incoming: Incoming | None, ready: OpenStudy | None) -> None:
        self.close()
        if ready is not None:
            self._context.run(listed.listing.close, lambda _: None)
            self._session.prepared.emit(ready)
            return
        self.listed = listed
        self._take(0 if incoming is not None else None, incoming)
        if incoming is None:
            self._session.say("There is more than one study: choose one above the table of series.", Kind.INFO)
        else:
            self._say_what_is_missing()

    def choose_visit(self, i: int) -> None:
        """That one of the patients and dates is meant."""
        listed = self.listed
        if listed is None or i == self.visit or self.busy:
            return
        work = partial(listing.identify, listed, i, aside=self._context.aside)
        self._context.read("Looking at the series …", work, partial(self._chosen, listed, i))

    def _chosen(self, listed: listing.FoundVisits, i: int, incoming: Incoming) -> None:
        if self.listed is listed:
            self._take(i, incoming)
            self._say_what_is_missing()

    def _take(self, i: int | None, incoming: Incoming | None) -> None:
        self.visit, self.incoming, self._proposed, self._by_hand, self.prepared = i, incoming, incoming, {}, None
        self.pictures = {}
        self.changed.emit()
        if incoming is not None:
            visit = incoming.visit
            draw = partial(self._context.aside, pictures, visit.series, cancelled=lambda: self.visit_shown is not visit)
            self._context.run(draw, partial(self._picture, visit), lambda _: None)

    @property
    def visit_shown(self) -> Visit | None:
        """The visit whose series are in the table."""
        return self.incoming.visit if self.incoming is not None else None

    def _picture(self, visit: Visit, made: Mapping[str, Picture]) -> None:
        if self.visit_shown is visit:
            self.pictures = made
            self.changed.emit()

    def assign(self, series_id: str, use: Modality | None) -> None:
        """Take that series as ``use`` (None: not at all); the others as proposed, as far as they are free."""
        from brainseg_engine.studies.assignment import assign

        proposed, incoming = self._proposed, self.incoming
        if proposed is None or incoming is None or self.busy:
            return
        before = next((m for m, i in incoming.choices.chosen.items() if i == series_id), None)
        self._by_hand = {m: i for m, i in self._by_hand.items() if i != series_id}
        if use is not None:
            self._by_hand[use] = series_id
        elif before is not None:
            self._by_hand[before] = None
        facts = [p.series for p in proposed.choices.proposals]
        choices = assign(facts, self._by_hand, proposed.choices)
        chosen = replace(incoming, choices=choices)
        self.incoming, self.prepared = chosen, None
        self.changed.emit()
        if self.listed is not None and not self.missing:  # files on one grid need no preparation
            work = partial(listing.ready, self.listed, chosen, self._context.aside)
            self._context.run(work, partial(self._open_ready, self.listed, chosen))

    def _open_ready(self, listed: listing.FoundVisits, chosen: Incoming, ready: OpenStudy | None) -> None:
        if ready is not None and self.listed is listed and self.incoming is chosen and not self.busy:
            self._remember(chosen)
            self.close()
            self._session.prepared.emit(ready)

    @property
    def missing(self) -> tuple[Modality, ...]:
        """The uses that no series is chosen for."""
        return self.incoming.choices.missing if self.incoming is not None else ()

    def _say_what_is_missing(self) -> None:
        names = " and ".join(m.title for m in self.missing)
        if names:
            self._session.say(
                f"No series was found to be {names}. If it is there, say so in the table of series.", Kind.WARNING
            )
        else:
            self._session.say("The four series are proposed below. Look them over, then prepare them.", Kind.INFO)

    # --- preparing

    @property
    def busy(self) -> bool:
        """True while series are prepared."""
        return self.preparing.busy

    def prepare(self, brain: str = "deepbet") -> None:
        """Align the chosen series, find the brain by that method, and open the result. Where just that was done before, what
        was made then is opened, unless it is on the screen: then it is made anew."""
        listed, incoming, anew = self.listed, self.incoming, self.prepared is not None
        if listed is None or incoming is None or self._session.job is not None:
            return
        self._remember(incoming)
        self.preparing.prepare(listed, incoming, brain, partial(self._made, listed), anew=anew)

    def place(self, placing: Placing) -> None:
        """Prepare the open study anew, its series placed so; see :meth:`Preparations.place`."""
        current = self._session.study
        if current is not None and current.acquired is not None:
            listed = self.listed if self.prepared is current.acquired.prepared else None
            self.preparing.place(current, placing, partial(self._made, listed))

    def _made(self, listed: listing.FoundVisits | None, prepared: Prepared) -> None:
        if listed is not None and self.listed is listed:
            self.prepared = prepared
            self.changed.emit()

    def cancel(self) -> None:
        """Stop listing or preparing; nothing stays behind."""
        if self._listing is not None:
            self._listing.stopped = True
        self.preparing.cancel()

    def _remember(self, incoming: Incoming) -> None:
        """Propose the same for other patients' series of these names."""
        from brainseg_engine.studies.remembered import remember

        by_hand = {i: m for m, i in self._by_hand.items() if i is not None}
        facts = [p.series for p in incoming.choices.proposals]
        if by_hand:
            self._context.run(lambda: remember(facts, by_hand), lambda _: None)

    # --- the end

    def close(self) -> None:
        """Put the table away, and what was unpacked for it; the study that is open stays."""
        self.cancel()
        listed, self.listed = self.listed, None
        if listed is not None:
            self._context.run(listed.listing.close, lambda _: None)  # thousands of files, perhaps
            self._take(None, None)

    def leave(self) -> None:
        """The window closes: nothing that was unpacked or half done stays on the disk."""
        if self._listing is not None:
            self._listing.stopped = True
        if self.listed is not None:
            self.listed.listing.close()
        self.preparing.leave()


_Listed = tuple[listing.FoundVisits, "Incoming | None", OpenStudy | None]


def _list(source: listing.Source, watched: Watched, aside: Aside) -> _Listed:
    """What lies there; where it is one visit, what its series are, and the study itself if nothing is to be prepared. In a
    thread."""
    try:
        listed = listing.find(source, watched, watched.cancelled, aside)
        if len(listed.visits) > 1:
            return listed, None, None
        try:
            watched(Progress("looking at the series", 1.0))
            incoming = listing.identify(listed, 0, watched.cancelled, aside)
            return listed, incoming, listing.ready(listed, incoming, aside)
        except BaseException:
            listed.listing.close()
            raise
    finally:
        watched.over = True
