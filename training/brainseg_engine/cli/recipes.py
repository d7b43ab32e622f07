"""`napari-brainseg recipes`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from brainseg_engine.cli.dispatch import CommandApp
from brainseg_engine.cli.printing import say, say_json

if TYPE_CHECKING:
    from brainseg_engine.recipe import Recipe


app = CommandApp()


@app.callback(invoke_without_command=True)
def recipes(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print a list of JSON objects.")] = False,
) -> None:
    """List the bundled recipes: what each trains, how large its network is, and where it comes from.

    Weights are counted on networks that are built: those of the model that is used, and those of training, which may have
    more. Train one with 'napari-brainseg train NAME', or print its file, to copy and change, with 'recipes show NAME'.
    """
    if ctx.invoked_subcommand is not None:
        return
    from brainseg_engine.recipe import recipe_names

    rows = [_described(name) for name in recipe_names()]
    if as_json:
        say_json(rows)
        return
    from rich.table import Table

    from brainseg_engine.cli.printing import console

    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("recipe", "D", "weights", "in training", "sees", "gives", "presets", "what"):
        table.add_column(heading, justify="right" if heading in ("D", "weights", "in training") else "left")
    for row in rows:
        table.add_row(
            row["name"],
            str(row["dimensions"]),
            f"{row['parameters']:,}",
            f"{row['parameters_training']:,}",
            " ".join(row["modalities"]),
            row["gives"],
            ", ".join(row["presets"]),
            row["summary"],
        )
    console().print(table)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A bundled recipe, or a TOML file.", show_default=False)],
    preset: Annotated[
        str | None, typer.Option("--preset", help="Print every setting of this preset as it is used, as JSON.")
    ] = None,
) -> None:
    """Print a recipe's file, to copy and change.

    With --preset, all settings of that preset are printed as JSON, those that the file leaves to their defaults too.

    Examples:

      napari-brainseg recipes show baseline > mine.toml
      napari-brainseg recipes show myronenko2018 --preset as_published
    """
    from brainseg_engine.recipe import load_recipe, recipe_text

    if preset is None:
        load_recipe(name)  # a file that is not valid is reported instead of shown
        say(recipe_text(name), nl=False)
    else:
        say(load_recipe(name, preset=preset).model_dump_json(indent=2))


def _described(name: str) -> dict[str, Any]:
    from brainseg_engine.recipe import load_recipe, presets

    recipe = load_recipe(name)
    used, trained = _weights(recipe)
    output = recipe.output
    return {
        "name": recipe.name,
        "summary": recipe.summary,
        "dimensions": recipe.network.dimensions,
        "modalities": [m.value for m in recipe.modalities],
        "output": {"kind": output.kind, "regions": [r.value for r in output.regions], "channels": output.channels},
        "gives": " ".join(output.regions),
        "network": recipe.network.name,
        "parameters": used,
        "parameters_training": trained,
        "divisor": list(recipe.network.divisor),
        "smallest": list(recipe.network.smallest),
        "presets": presets(name),
        "source": recipe.source,
    }


def _weights(recipe: Recipe) -> tuple[int, int]:
    """Of the network for use and of the one in training; built without memory for their numbers."""
    import torch

    from brainseg_engine import nets

    with torch.device("meta"):
        return nets.count_parameters(nets.build(recipe)), nets.count_parameters(nets.build(recipe, training=True))
