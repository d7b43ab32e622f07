"""`napari-brainseg models install`, `available`, `verify`, `remove`, `export`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from brainseg_engine.cli.options import JsonOption
from brainseg_engine.cli.printing import say, say_json
from brainseg_engine.core.errors import CheckpointError, InputError


def available(
    update: Annotated[
        Path | None,
        typer.Option("--update", metavar="FILE", help="Take this list from now on.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the models of others that are known and can be installed, with size, licence and limits. Nothing is fetched."""
    from brainseg_engine.models import catalogue

    entries = catalogue.update(update) if update is not None else catalogue.known()
    if as_json:
        say_json({"models": [k.model_dump() for k in entries]})
        return
    for known in entries:
        size = f"{known.size / 1e6:.0f} MB" if known.size else "size not known"
        say(f"{known.name}: {known.title}")
        say(f"  {size}; hash: {known.hash_from or 'published'}; licence: {known.licence}")
        if known.terms:
            say(f"  limits: {known.terms}")


def install(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A known model (see 'models available').")],
    from_file: Annotated[
        Path | None,
        typer.Option("--from-file", help="Its file, brought by hand: nothing is fetched.", show_default=False),
    ] = None,
    mirror: Annotated[
        str | None,
        typer.Option("--mirror", help="A server with the same files; also BRAINSEG_MIRROR.", show_default=False),
    ] = None,
    called: Annotated[
        str | None, typer.Option("--name", help="What it shall be called here.", show_default=False)
    ] = None,
    accept: Annotated[bool, typer.Option("--accept", help="Licence and hash are all right: do not ask.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a model of that name.")] = False,
) -> None:
    """Fetch a known model, check its hash, and make it a model of this program. Its licence is shown first.

    A fetch that was cut off goes on where it ended. Proxies are taken from HTTPS_PROXY and NO_PROXY.

    Examples:

      napari-brainseg models install monai-brats
      napari-brainseg models install monai-brats --from-file brats_mri_segmentation_v0.5.2.zip
    """
    from brainseg_engine.cli.printing import messages, progress_bars
    from brainseg_engine.core.events import Progress
    from brainseg_engine.models import catalogue, fetching, upkeep
    from brainseg_engine.models.importers import ImportOptions, import_foreign
    from brainseg_engine.models.importers.writing import place
    from brainseg_engine.models.lineage import sha256

    entry = catalogue.find(name)
    place(called or entry.name, force)
    say(f"{entry.title}\nfrom {from_file or fetching.address(entry, mirror)}")
    say(f"licence: {entry.licence}" + (f"\nlimits: {entry.terms}" if entry.terms else ""))
    if entry.citation:
        say(f"cite: {entry.citation}")
    _agree("Install it on these terms?", accept)
    if from_file is None:
        with progress_bars(messages()) as bars:
            task = bars.add_task(entry.name, total=1.0)

            def shown(event: Progress) -> None:
                bars.update(task, completed=event.fraction)

            file = fetching.fetched(entry, mirror, progress=shown)
    else:
        file = from_file
        fetching.verify(file, entry)
    if not entry.sha256:
        say(f"Its hash is {entry.hash_from or 'not known'}; what arrived has sha256 {sha256(file)}.")
        _agree("Is that the file you mean?", accept)
    options = ImportOptions(
        called or entry.name, force=force, licence=entry.licence, terms=entry.terms, citation=entry.citation
    )
    path = import_foreign(file, options)
    upkeep.remember(path)
    if from_file is None:
        fetching.discard(entry)
    say(f"{path.stem}: {path}")


def verify(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A model; all where none is named.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check installed models: every weight in its place and a number, and the file as it came in."""
    from brainseg_engine.models import upkeep

    found = upkeep.verify(name)
    if as_json:
        say_json(
            {
                "models": [
                    {"name": c.name, "sha256": c.sha256, "problem": c.problem or None, "note": c.note} for c in found
                ]
            }
        )
    else:
        for c in found:
            hashed = f"  sha256 {c.sha256[:16]}…" if c.sha256 else ""
            say(f"{c.name}: {c.problem or 'sound'}{hashed}{f'  {c.note}' if c.note else ''}")
    wrong = [c.name for c in found if c.problem]
    if wrong:
        raise CheckpointError(f"Not sound: {', '.join(wrong)}. Fetch or import them again.")


def remove(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A model of your own.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Take one of your models away. Masks and records that it made stay."""
    from brainseg_engine.models import upkeep

    _agree(f"Remove the model '{name}' for good?", yes)
    say(f"removed: {upkeep.remove(name)}")


def export(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A model: a name or a file.")],
    out: Annotated[Path, typer.Option("--out", help="The file to write, NAME.onnx.", show_default=False)],
) -> None:
    """Write a model's network as ONNX (extra 'onnx'), for programs without torch. It is compared with torch before it is kept.

    Examples:

      napari-brainseg models export brats-baseline --out baseline.onnx
    """
    from brainseg_engine import models
    from brainseg_engine.models.onnx_export import export_onnx

    if out.suffix.lower() != ".onnx":
        raise InputError(f"{out} must be called *.onnx: that is what is written.")
    say(export_onnx(models.find(name), out))


def _agree(question: str, accept: bool) -> None:
    """Ask, unless it was said beforehand. Raises InputError for no."""
    if accept:
        return
    if not sys.stdin.isatty() or not typer.confirm(question, default=False):
        raise InputError(
            "Nothing was changed. Say --accept (of install) or --yes (of remove) where nobody can be asked."
        )
