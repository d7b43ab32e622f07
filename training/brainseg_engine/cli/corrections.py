"""`napari-brainseg corrections`.

Corrections that people accepted in the window: list them, check that all is sound, accept drafts, hand them on in another
layout. A folder of corrections explains itself (see its README); without DIR, the folder that the window uses.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brainseg_engine.cli.dispatch import CommandApp
from brainseg_engine.cli.options import JsonOption
from brainseg_engine.cli.printing import say, say_json

if TYPE_CHECKING:
    from brainseg_engine.corrections import Correction, Store

app = CommandApp(__doc__)
Folder = Annotated[
    Path | None,
    typer.Argument(metavar="DIR", help="Folder of corrections; the window's own if none is named.", show_default=False),
]
PROBLEMS = 3
"""Exit code of ``check`` when something must not be used."""


@app.command("list")
def list_(
    folder: Folder = None,
    as_json: JsonOption = False,
    every: Annotated[bool, typer.Option("--all", help="Excluded ones and older versions too.")] = False,
) -> None:
    """List the corrections: whose study, by whom, when, how much was changed, held out or not.

    Shown is the newest accepted version of each study, and drafts.
    """
    from brainseg_engine.corrections import CorrectionState

    store = _store(folder)
    corrections = store.corrections()
    if not every:
        newest = {c.id for c in store.latest().values()}
        corrections = [c for c in corrections if c.id in newest or c.state is CorrectionState.DRAFT]
    if as_json:
        _print_json({"folder": str(store.path), "corrections": [_plain(c) for c in corrections]})
        return
    if not corrections:
        say(f"There is no correction in {store.path}.")
        return
    _print_table(corrections)
    held = sum(c.held_out for c in corrections)
    say(f"{len(corrections)} in {store.path}, {held} held out for testing")


@app.command()
def add(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="The study that was corrected.", show_default=False)],
    mask: Annotated[
        Path,
        typer.Option(
            "--mask", help="The corrected mask, as ITK-SNAP, 3D Slicer and others save it.", show_default=False
        ),
    ],
    folder: Annotated[
        Path | None, typer.Option("--in", metavar="DIR", help="Folder of corrections; else the window's own.")
    ] = None,
    base: Annotated[
        Path | None,
        typer.Option(
            "--base", help="The model's mask that was corrected; what was changed is then known.", show_default=False
        ),
    ] = None,
    coding: Annotated[
        str | None,
        typer.Option(
            "--coding",
            help="Label coding of the mask, like brats2021; default: the base's, or by naming.",
            show_default=False,
        ),
    ] = None,
    by: Annotated[str, typer.Option("--by", help="Who corrected it.")] = "",
    minutes: Annotated[float, typer.Option("--minutes", min=0.0, help="How long it took.")] = 0.0,
    draft: Annotated[bool, typer.Option("--draft", help="Keep it as a draft, to be accepted later.")] = False,
    empty: Annotated[bool, typer.Option("--empty", help="The mask may be empty: this patient has no tumour.")] = False,
    named: Annotated[bool, typer.Option("--named", help="Record the study's id and folder too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Keep a mask that was corrected in another program, as if it had been accepted in the window.

    The mask must lie on the grid of the study's T1ce (or its first series), as the masks of 'predict' do.

    Examples:

      napari-brainseg corrections add patient1 --mask patient1_corrected.nii.gz --base masks/patient1_seg.nii.gz --by anna
    """
    from brainseg_engine.core import labels
    from brainseg_engine.corrections import CorrectionState, Store, default_store
    from brainseg_engine.corrections.foreign import from_files

    if coding is not None:
        labels.coding(coding)
    corrected = from_files(study, mask, base, coding, empty=empty)
    store = Store(folder if folder is not None else default_store())
    state = CorrectionState.DRAFT if draft else CorrectionState.ACCEPTED
    made = store.add(
        corrected.study,
        corrected.mask,
        base=corrected.base,
        model=corrected.model,
        by=by,
        minutes=minutes,
        state=state,
        named=named,
    )
    if as_json:
        _print_json(_plain(made))
        return
    say(f"{made.id} is {made.state}, in {store.path}.")


@app.command()
def check(
    folder: Folder = None,
    as_json: JsonOption = False,
    images: Annotated[
        bool,
        typer.Option("--images/--no-images", help="Read the studies too, and compare them with what was corrected."),
    ] = True,
) -> None:
    """Tell what is wrong: masks or studies that changed, several people's corrections of one study, empty masks, …

    The exit code is 3 when something must not be used as it is, else 0.
    """
    store = _store(folder)
    findings = store.check(images=images)
    if as_json:
        _print_json({"folder": str(store.path), "findings": [f.to_dict() for f in findings]})
    else:
        for f in findings:
            say(f"{f.severity}: {f.message}")
        if not findings:
            say(f"{len(store.corrections())} corrections in {store.path}: all is sound.")
    if any(f.severity == "error" for f in findings):
        raise typer.Exit(PROBLEMS)


@app.command()
def export(
    out: Annotated[Path, typer.Option("--out", help="Folder to write into.", show_default=False)],
    folder: Folder = None,
    layout: Annotated[str, typer.Option(help="brats: <case>/<case>-seg.nii.gz; bids: as they are.")] = "brats",
    coding: Annotated[
        str | None, typer.Option(help="Label coding of the masks (brats layout).", show_default=False)
    ] = None,
    images: Annotated[
        bool, typer.Option("--images", help="Write the four series beside the masks, so that one can train on them.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write the newest accepted version of each study in a layout that other tools read.

    Neither names nor paths go with it, unless they were recorded on purpose; where the images lie on this machine
    (sources.local.json) is never copied.
    """
    store = _store(folder)
    written = store.export(out, layout, coding=coding, images=images)
    if as_json:
        _print_json({"folder": str(store.path), "written": [str(p) for p in written]})
        return
    for path in written:
        say(str(path))
    say(f"{len(written)} corrections written into {out}", err=True)


@app.command()
def accept(
    drafts: Annotated[list[str], typer.Argument(metavar="ID…", help="As 'list' calls them.", show_default=False)],
    folder: Annotated[
        Path | None, typer.Option("--in", metavar="DIR", help="Folder of corrections; else the window's own.")
    ] = None,
    empty: Annotated[
        bool, typer.Option("--empty", help="Masks without any labelled voxel too: these patients have no tumour.")
    ] = False,
) -> None:
    """Accept drafts: from then on they count as corrections. All of them, or none where one of them cannot be accepted."""
    store = _store(folder)
    for id in drafts:
        _look_at(store, id, empty)
    for c in store.accept_all(drafts):
        say(f"{c.id} is accepted.")


def _look_at(store: Store, id: str, empty: bool) -> None:
    """Raises InputError where that draft had better not be accepted."""
    from brainseg_engine.core.errors import InputError
    from brainseg_engine.corrections import CorrectionState

    c = store.get(id)
    if c.state is CorrectionState.EXCLUDED:
        raise InputError(f"The correction '{id}' is excluded, and only a draft can be accepted.")
    if not store.read(c).labels.any() and not empty:
        raise InputError(
            f"The mask of '{id}' is empty: no voxel is labelled. Say --empty if that patient has no tumour."
        )


@app.command()
def exclude(
    correction: Annotated[str, typer.Argument(metavar="ID", help="As 'list' calls it.", show_default=False)],
    why: Annotated[str, typer.Option("--why", help="The reason, for the log.", show_default=False)],
    folder: Folder = None,
) -> None:
    """Use a version no more. It stays where it is, and the version before it counts again."""
    made = _store(folder).exclude(correction, why)
    say(f"{made.id} is {made.state}.")


@app.command()
def hold_out(
    correction: Annotated[str, typer.Argument(metavar="ID", help="As 'list' calls it.", show_default=False)],
    folder: Folder = None,
    undo: Annotated[bool, typer.Option("--undo", help="Let it be trained on again.")] = False,
) -> None:
    """Keep a patient's corrections for testing: they are never trained on."""
    concerned = _store(folder).set_held_out(correction, not undo)
    say(f"{', '.join(c.id for c in concerned)}: {'for training' if undo else 'held out for testing'}.")


def _store(folder: Path | None) -> Store:
    from brainseg_engine.corrections import Store, default_store

    return Store.existing(folder if folder is not None else default_store())


def _plain(c: Correction) -> dict[str, Any]:
    return c.to_dict() | {"state": c.state.value, "held_out": c.held_out, "mask": str(c.mask)}


def _print_json(content: Mapping[str, Any]) -> None:
    say_json(content)


def _print_table(corrections: list[Correction]) -> None:
    from rich.table import Table

    from brainseg_engine.cli.printing import console

    table = Table(box=None, padding=(0, 2, 0, 0))
    for column, justify in (("correction", "left"), ("state", "left"), ("by", "left"), ("when (UTC)", "left"),
                            ("minutes", "right"), ("added", "right"), ("removed", "right"), ("model", "left")):  # fmt: skip
        table.add_column(column, justify=justify, no_wrap=column == "correction")  # type: ignore[arg-type]
    for c in corrections:
        added, removed = (sum(getattr(t, what) for t in c.changed.values()) for what in ("added", "removed"))
        state = f"{c.state}{', held out' if c.held_out else ''}"
        when = c.when[:16].replace("T", " ")
        model = f"{c.base.name} {c.base.version}".strip()
        name = f"{c.id} ({c.study_id})" if c.study_id else c.id
        table.add_row(name, state, c.people, when, f"{c.minutes:.1f}", f"{added:,}", f"{removed:,}", model)
    console().print(table)
