"""How `napari-brainseg predict` runs over studies: in this process or by jobs; and how far it is."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from brainseg_engine.cli.printing import complain, folded, is_quiet, messages, say, say_json
from brainseg_engine.core.errors import InputError
from brainseg_engine.core.log import SAID

if TYPE_CHECKING:
    from rich.text import Text

    from brainseg_engine.core.events import ProgressCallback
    from brainseg_engine.inference.finished import Answers, PredictSettings
    from brainseg_engine.inference.ledger import CohortState, Ledger
    from brainseg_engine.inference.rows import PredictOutcome
    from brainseg_engine.inference.shards import Shard

_log = logging.getLogger(__name__)
_LOOK_S = 1.0
Groups = list[tuple["PredictSettings", list[Path]]]


def groups(settings: PredictSettings, models: Sequence[Path], ensemble: bool) -> Groups:
    """What is run one after the other: all models as one, or a folder for each. Raises InputError for models of one name."""
    from brainseg_engine.core import outputs
    from brainseg_engine.core.names import as_model_name
    from brainseg_engine.inference.batch import made_before

    if len(models) == 1 or ensemble:
        return [(settings, list(models))]
    names = [as_model_name(m.stem) for m in models]
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice is not None:
        raise InputError(
            f"Two of the models are called '{twice}', so their masks cannot lie apart. Copy one to another name."
        )
    outputs.claim(settings.out, outputs.Use.MASKS, made_before=made_before)
    return [
        (replace(settings, out=outputs.subfolder(settings.out, name)), [model])
        for name, model in zip(names, models, strict=True)
    ]


@dataclass(frozen=True)
class Division:
    """How many jobs do the work, processes here or SLURM's (``slurm``: what is asked of it); one job is this process itself."""

    jobs: int = 1
    slurm: Mapping[str, str] | None = None
    at_once: int | None = None
    wait: bool = True

    @property
    def in_jobs(self) -> bool:
        """Whether other processes do the work."""
        return self.jobs > 1 or self.slurm is not None


def divided(jobs: int, slurm: Sequence[str] | None, at_once: int | None, wait: bool, shard: Shard | None) -> Division:
    """What the options say. Raises InputError where it cannot be so."""
    from brainseg_engine.inference import cluster

    division = Division(jobs, cluster.slurm_options(slurm) if slurm else None, at_once, wait)
    if division.in_jobs and shard is not None:
        raise InputError("--shard and --jobs contradict each other: the jobs are the shards. Leave one of them out.")
    if division.in_jobs:
        cluster.require(division.slurm)
    return division


def require_device(device: str, division: Division, ensemble: bool) -> None:
    """Raise DeviceError, InputError for a device that cannot be used so."""
    from brainseg_engine.core import device as devices
    from brainseg_engine.remote import Place, is_remote

    if not is_remote(device):
        devices.choose(device)
        return
    Place.of(device)
    for flag, given in (("--jobs", division.in_jobs), ("--ensemble", ensemble)):
        if given:
            raise InputError(f"{flag} computes here, --device {device} elsewhere. Leave one of them out.")


def _predictor(models: Sequence[Path], device: str, tta: bool) -> AbstractContextManager[Answers]:
    """The model, here or elsewhere; its connection ends with the context."""
    from brainseg_engine.remote import is_remote

    if is_remote(device):
        from brainseg_engine.remote.predictor import RemotePredictor

        return RemotePredictor(models[0], device, tta=tta)
    from brainseg_engine.inference.ensemble import predictor_of

    return nullcontext(predictor_of(models, device, tta=tta))


@dataclass
class PredictRun:
    """One call of the command; ``rows`` are those of all models."""

    sources: Sequence[Path]
    device: str
    tta: bool
    shard: Shard | None
    as_json: bool
    also: Callable[[Path, PredictOutcome], list[Path]] | None = None
    rows: list[PredictOutcome] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)
    files: dict[str, list[str]] = field(default_factory=dict)

    def all(self, groups: Groups, division: Division, remote: Sequence[tuple[str, str]]) -> None:
        """Predict with each group's models, one group after the other, then say what came of it. ``remote``: (PACS, study) of
        studies that are fetched first, and removed when all went well."""
        from brainseg_engine.cli import pacs_work

        fetched = [pacs_work.fetched(name, study, None, proposed=True).folder for name, study in remote]
        self.sources = [*self.sources, *fetched]
        for settings, models in groups:
            if division.in_jobs:
                self.by_jobs(settings, models, division)
            else:
                self.here(settings, models)
        if self.complete:
            pacs_work.discard(fetched)
        self.end(groups)

    def here(self, settings: PredictSettings, models: Sequence[Path]) -> None:
        """Predict under a progress bar, show each result as it comes, and write it into the summary."""
        from brainseg_engine.cli.printing import progress_bars
        from brainseg_engine.cli.stopping import terminate_as_interrupt
        from brainseg_engine.inference import batch, cluster

        first = len(self.rows)
        with terminate_as_interrupt(), ExitStack() as stack, progress_bars(messages()) as bars:
            task = bars.add_task("loading the model", total=len(self.sources))
            predictor = stack.enter_context(_predictor(models, self.device, self.tta))
            begun: list[Path] = []

            def follow(source: Path) -> ProgressCallback:
                begun.append(source)
                n, name = len(begun) - 1, source.resolve().name
                return lambda e: bars.update(task, completed=n + e.fraction, description=f"{name}: {e.stage}")

            ended = cluster.Ending(settings, self.also)
            for row in batch.predict_many(predictor, self.sources, settings, follow, shard=self.shard, ended=ended):
                self.rows.append(row)
                self.files.update(ended.files)
                bars.update(task, completed=len(self.rows) - first)
                self._show(row)

    def by_jobs(self, settings: PredictSettings, models: Sequence[Path], division: Division) -> None:
        """Hand the studies to jobs, show each result as it comes, and put the summary together."""
        from brainseg_engine.core import outputs
        from brainseg_engine.inference import batch, cluster
        from brainseg_engine.inference.ledger import Ledger
        from brainseg_engine.inference.rows import SUMMARY, complete_summary

        outputs.claim(settings.out, outputs.Use.MASKS, need_bytes=batch.NEED_BYTES, made_before=batch.made_before)
        tasks = cluster.tasks_of(
            self.sources, settings, models, division.jobs, self.device, self.tta, local=division.slurm is None,
            also=self.also,
        )  # fmt: skip
        began, ledger = time.time(), Ledger(settings.out)
        submitted = cluster.submit(tasks, division.slurm, division.at_once)
        say(f"{len(submitted)} jobs; their logs are in {settings.out / cluster.FOLDER}.", err=True)
        if division.slurm is not None and not division.wait:
            say(f"How they stand: napari-brainseg predict --status {settings.out}", err=True)
            return
        self._follow(submitted, ledger, began)
        state = ledger.state()
        complete_summary(ledger.rows(), settings.out / SUMMARY)
        lost = [*state.waiting, *(i for i, r in state.records.items() if r.state in ("lost", "running"))]
        self.unfinished += lost
        for job in submitted:
            if job.state not in ("FINISHED", "COMPLETED") or job.exception() is not None:
                complain(f"The job {job.job_id} ended before its work did ({job.state}); see {cluster.log_of(job)}.")

    def _follow(self, submitted: Sequence[Any], ledger: Ledger, began: float) -> None:
        """Show the results since ``began`` until the jobs have ended; interrupted, they are cancelled."""
        from brainseg_engine.cli.stopping import terminate_as_interrupt

        shown: set[str] = set()
        try:
            with terminate_as_interrupt():
                while True:
                    over = all(job.done() for job in submitted)
                    for record in ledger.state().records.values():
                        if record.row.id not in shown and record.ended >= began:
                            shown.add(record.row.id)
                            self.rows.append(record.row)
                            self._show(record.row)
                    if over:
                        break
                    time.sleep(_LOOK_S)
        except KeyboardInterrupt:
            for job in submitted:
                job.cancel(check=False)
            raise

    @property
    def complete(self) -> bool:
        """Whether every study has its mask."""
        return not self.unfinished and all(r.status != "failed" for r in self.rows)

    def end(self, groups: Groups) -> None:
        """What is said last; the exit code is 3 where a study failed or was not finished."""
        from brainseg_engine.inference.ledger import Ledger
        from brainseg_engine.inference.rows import SUMMARY, complete_summary

        for settings, _ in groups:
            if settings.pseudonyms is None:  # else the summary has all that may be said
                complete_summary(Ledger(settings.out).rows(), settings.out / SUMMARY)
        summaries = [str(settings.out / SUMMARY) for settings, _ in groups]
        if self.as_json:
            content: dict[str, Any] = {"results": [self._plain(r) for r in self.rows], "summary": summaries[0]}
            if len(summaries) > 1:
                content["summaries"] = summaries
            say_json(content, indent=None)
        failed = sum(r.status == "failed" for r in self.rows)
        if failed:
            complain(f"{failed} of {len(self.rows)} studies failed; {', '.join(summaries)} says why.")
        if self.unfinished:
            complain(f"{len(self.unfinished)} studies were not finished. Call it again: what is done is skipped.")
        if failed or self.unfinished:
            raise typer.Exit(InputError.exit_code)

    def _show(self, row: PredictOutcome) -> None:
        from brainseg_engine.cli.printing import console as results

        _log.log(SAID, "%s", _line(row).plain)
        if not self.as_json and not is_quiet():
            # on a terminal the bar and the results share one console, or they would overwrite each other
            shown = messages() if sys.stdout.isatty() else results()
            shown.print(_line(row), soft_wrap=True)
            for file in folded(self.files.get(row.id, ())):
                shown.print(f"         {file}", soft_wrap=True, markup=False, highlight=False)

    def _plain(self, row: PredictOutcome) -> dict[str, Any]:
        return asdict(row) | ({"files": self.files[row.id]} if row.id in self.files else {})


def show_status(out: Path, as_json: bool) -> None:
    """How many studies of that output folder are done, which failed and why, what is running where."""
    from brainseg_engine.inference.ledger import FOLDER, Ledger
    from brainseg_engine.inference.rows import SUMMARY, complete_summary

    folders = [f for f in (out, *sorted(p for p in out.glob("*") if p.is_dir())) if (f / FOLDER).is_dir()]
    if not folders:
        raise InputError(f"{out} holds no work of 'predict'. Name the folder that was given as --out.")
    states = {}
    for folder in folders:
        state = Ledger(folder).state()
        rows = [r for r in Ledger(folder).rows() if r.status in ("done", "failed")]
        complete_summary(rows, folder / SUMMARY)
        states[folder] = state
    if as_json:
        say_json([
            {
                "folder": str(folder), "waiting": list(state.waiting), "summary": str(folder / SUMMARY),
                "studies": [asdict(r.row) | {"state": r.state, "host": r.host, "began": r.began, "ended": r.ended}
                            for r in state.records.values()],
            } for folder, state in states.items()
        ])  # fmt: skip
        return
    for folder, state in states.items():
        _show_state(folder, state)


def _show_state(folder: Path, state: CohortState) -> None:
    from brainseg_engine.cli.printing import console

    shown = console()
    counts = [f"{state.count(s)} {s}" for s in ("done", "skipped", "failed", "running", "lost") if state.count(s)]
    shown.print(f"{folder}: {', '.join([*counts, f'{len(state.waiting)} not begun'])}", soft_wrap=True)
    for record in state.records.values():
        if record.state == "failed":
            shown.print(_line(record.row), soft_wrap=True)
        elif record.state == "running":
            shown.print(
                f"running  {record.row.id}: on {record.host} for {time.time() - record.began:.0f} s", soft_wrap=True
            )
        elif record.state == "lost":
            shown.print(
                f"lost     {record.row.id}: {record.host} has ended without it; call predict again", soft_wrap=True
            )


def _limits(row: PredictOutcome, region: str) -> str:
    if region not in row.volumes_low_ml or region not in row.volumes_high_ml:
        return ""
    from brainseg_engine.scores.volumes import limits

    return f" ({limits((row.volumes_low_ml[region], row.volumes_high_ml[region]))})"


def _line(row: PredictOutcome) -> Text:
    from rich.text import Text

    if row.status == "failed":
        return Text.assemble(("failed", "red"), f"   {row.id}: {row.message}")
    volumes = "  ".join(
        [f"{r} {v:.1f} mL{_limits(row, r)}" for r, v in row.volumes_ml.items()]
        + [f"{r} {n:,} voxels" for r, n in row.volumes_voxels.items()]
    )
    took = f"  ({row.seconds:.1f} s)" if row.seconds is not None else ""
    doubts = f"\n         {row.message}" if row.status == "done" and row.message else ""
    return Text.assemble((f"{row.status:8}", "green"), f" {row.id}: {volumes}{took} → {row.output}", (doubts, "yellow"))
