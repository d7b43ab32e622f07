"""`napari-brainseg models`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from brainseg_engine.cli import models_files
from brainseg_engine.cli.calibrate import calibrate, draw, require_png, told
from brainseg_engine.cli.dispatch import CommandApp
from brainseg_engine.cli.lineage import default, lineage
from brainseg_engine.cli.printing import say, say_json
from brainseg_engine.core.errors import InputError

if TYPE_CHECKING:
    from brainseg_engine.core.study import Modality
    from brainseg_engine.models import ModelInfo
    from brainseg_engine.models.checkpoint import Card, Tuned


app = CommandApp()


@app.callback(invoke_without_command=True)
def models(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole cards as one JSON object.")] = False,
) -> None:
    """List the installed models with their cards: data, scores, licence, known failures.

    A model is one file, <name>.safetensors. Put your own into the folder shown at the end, and use them by name. What other
    programs have saved comes in by 'napari-brainseg models import'.
    """
    if ctx.invoked_subcommand is None:
        _list(as_json)


def _list(as_json: bool) -> None:
    from brainseg_engine.core.paths import models_home
    from brainseg_engine.models import default as used
    from brainseg_engine.models import installed

    registered = installed()
    first = used() if any(m.card is not None for m in registered) else None
    if as_json:
        listed = [_plain(m, default=m.name == first) for m in registered]
        say_json({"models": listed, "folder": str(models_home())})
        return
    for model in registered:
        _print_card(model, default=model.name == first)
    if not registered:
        say("No model is installed. Train one with 'napari-brainseg train'.")
    say(f"Your own models: {models_home()}")


@app.command("import")
def import_(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE",
            help="MONAI bundle, folder of nnU-Net v2, Swin UNETR, Auto3DSeg, ONNX; a .zip of one; or a checkpoint.",
            show_default=False,
        ),
    ],
    name: Annotated[str, typer.Option("--name", help="What the model shall be called.", show_default=False)],
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            help="For plain weights or ONNX: recipe of its system, a name or a TOML file.",
            show_default=False,
        ),
    ] = None,
    preset: Annotated[str | None, typer.Option("--preset", help="Preset of the recipe, if not its first.")] = None,
    series: Annotated[
        str, typer.Option("--series", help="Order of its channels, like t1ce,t1,t2,flair, where its files do not tell.")
    ] = "",
    coding: Annotated[
        str, typer.Option("--coding", help="Its label values, like 1=ED,2=NCR,3=ET, where its files do not tell.")
    ] = "",
    folds: Annotated[str, typer.Option("--folds", help="Of nnU-Net, like 0,1; default: all there are, as one.")] = "",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Change its recipe, like preprocess.orientation=RAS."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a model of that name.")] = False,
) -> None:
    """Make a model of what another program has saved, once: it then runs like any other here.

    How images are prepared, tiled and mirrored, and what its answers mean, is read from its own files as data; nothing in them
    is ever run, and a file with program code in it is refused. A checkpoint of plain weights needs the recipe of its system.
    The model is written into your models folder.

    Examples:

      napari-brainseg models import brats_mri_segmentation.zip --name monai
      napari-brainseg models import nnUNetTrainer__nnUNetPlans__3d_fullres --name ours --folds 0
      napari-brainseg models import unet.pt --recipe unet2d_lgg --name lgg
    """
    from brainseg_engine.models import upkeep
    from brainseg_engine.models.importers import ImportOptions, import_foreign, import_model
    from brainseg_engine.recipe import load_recipe

    chosen_recipe = load_recipe(recipe, preset=preset) if recipe is not None else None
    if chosen_recipe is not None and source.suffix.lower() not in (".onnx", ".zip") and not source.is_dir():
        path = import_model(source, chosen_recipe, name, force=force)
    else:
        options = ImportOptions(
            name, _series(series), coding, tuple(f.strip() for f in folds.split(",") if f.strip()), tuple(settings or ()),
            chosen_recipe, force,
        )  # fmt: skip
        path = import_foreign(source, options)
    upkeep.remember(path)
    _say_terms(path)
    say(f"{name}: {path}")


def _say_terms(path: Path) -> None:
    """The licence of a model that came in, and what its authors ask for."""
    from brainseg_engine.models.checkpoint import read_metadata

    card, _ = read_metadata(path)
    say(f"licence: {card.licence}" + (f" ({card.terms})" if card.terms else ""))
    if card.citation:
        say(f"cite: {card.citation}")


def _series(text: str) -> tuple[Modality, ...]:
    """The series in a list like ``t1ce,t1,t2,flair``."""
    from brainseg_engine.core.study import Modality

    names = [part.strip().lower() for part in text.split(",") if part.strip()]
    wrong = next((n for n in names if n not in list(Modality)), None)
    if wrong is not None or len(set(names)) != len(names):
        raise InputError(
            f"--series {text}: name each of t1, t1ce, t2, flair once, in the order of the model's channels."
        )
    return tuple(Modality(n) for n in names)


@app.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="Print the cards as one JSON object.")] = False) -> None:
    """List the installed models with their cards, as 'models' alone does."""
    _list(as_json)


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A model: a name or a file.", show_default=False)],
    reliability: Annotated[
        Path | None,
        typer.Option(
            "--reliability", metavar="PNG", help="Draw the diagram of its calibration there.", show_default=False
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print card and recipe as one JSON object.")] = False,
) -> None:
    """Show the card of one model: what it is, needs and gives, its licence and limits, where it came from, its scores."""
    from brainseg_engine.models import ModelInfo, find
    from brainseg_engine.models.checkpoint import read_metadata

    require_png(reliability, "--reliability")
    path = find(name)
    card, recipe = read_metadata(path)
    if reliability is not None:
        _draw_reliability(card, reliability)
    if as_json:
        say_json({"path": str(path), "card": card.model_dump(mode="json"), "recipe": recipe.model_dump(mode="json")})
        return
    _print_card(ModelInfo(card.name, path, card, False), default=False)


def _draw_reliability(card: Card, png: Path) -> None:
    if card.calibration is None or any(not c.bins_before for c in card.calibration.regions.values()):
        raise InputError(
            f"The model {card.name} is not calibrated, so there is no diagram to draw. 'models calibrate' measures what its "
            "probabilities are worth."
        )
    draw(card.calibration, card.name, png)
    say(png, err=True)


app.command()(models_files.available)
app.command()(models_files.install)
app.command()(models_files.verify)
app.command()(models_files.remove)
app.command()(models_files.export)
app.command()(calibrate)
app.command()(default)
app.command()(lineage)


def _plain(model: ModelInfo, default: bool) -> dict[str, object]:
    card = model.card.model_dump(mode="json") if model.card is not None else None
    return {
        "name": model.name,
        "path": str(model.path),
        "bundled": model.bundled,
        "default": default,
        "problem": model.problem or None,
        "card": card,
    }


def _print_card(model: ModelInfo, default: bool) -> None:
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    from brainseg_engine.cli.printing import console as results

    console = results()
    marks = [*(["bundled"] if model.bundled else []), *(["used unless another is named"] if default else [])]
    console.print(Text(model.name, style="bold"), Text(f"({', '.join(marks)})" if marks else "", style="dim"))
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")  # a path is never cut short
    for name, value in _rows(model):
        if value:
            table.add_row(name, Text(value))
    console.print(Padding(table, (0, 0, 1, 2)))


def _rows(model: ModelInfo) -> list[tuple[str, str]]:
    """(what, in words) of a card; "" for what it does not tell."""
    card = model.card
    if card is None:
        return [("file", str(model.path)), ("unusable", model.problem)]
    cases = f"trained on {card.training_cases} cases" if card.training_cases else ""
    return [
        ("what", card.summary),
        ("version", card.version),
        ("fine-tuned", _origin(card.tuned) if card.tuned is not None else ""),
        ("needs", ", ".join(m.title for m in card.modalities)),
        ("gives", ", ".join(card.regions)),
        ("network", f"{card.recipe}, {card.parameters / 1e6:.1f} million weights"),
        ("data", "; ".join(t for t in (card.data.rstrip("."), cases) if t)),
        ("scores", _scores(card.scores, card.scores_on)),
        ("calibrated", "\n".join(told(card.calibration)) if card.calibration is not None else ""),
        ("known failures", "\n".join(f"- {failure}" for failure in card.known_failures)),
        ("licence", card.licence + (f" ({card.terms})" if card.terms else "")),
        ("cite", card.citation),
        ("came from", card.source),
        ("file", str(model.path)),
    ]


def _origin(tuned: Tuned) -> str:
    parent = f"{tuned.parent} {tuned.parent_version}".strip()
    kept = "; keeps its base for studies that look unlike the corrected ones" if tuned.keeps_base else ""
    return f"from {parent} on {len(tuned.corrections)} corrections: {tuned.verdict}{kept}"


def _scores(scores: Mapping[str, Mapping[str, float | None]], on: str) -> str:
    """Like "WT: Dice 0.88, HD95 6.2 mm; TC: …, on 8 validation cases"."""
    regions = []
    for region, values in scores.items():
        dice, hd95 = values.get("dice"), values.get("hd95_mm")
        parts = [f"Dice {dice:.3f}"] if dice is not None else []
        parts += [f"HD95 {hd95:.1f} mm"] if hd95 is not None else []
        regions.append(f"{region}: {', '.join(parts) or 'not measured'}")
    return "; ".join(regions) + (f" (on {on})" if on and regions else "")
