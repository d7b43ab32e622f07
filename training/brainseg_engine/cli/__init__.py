"""The command line: one module a command, with a function of the command's name, or with an ``app`` of sub-commands.

An ``app`` is a :class:`~brainseg_engine.cli.dispatch.CommandApp`, as in ``napari-brainseg data check``; where its callback does
something, that runs where no sub-command is named (``napari-brainseg models`` lists, ``models import`` imports).

Command modules import nothing heavy at their top (no torch, nibabel, monai, matplotlib): all of them are imported to
print ``--help``. What every command shares is in :mod:`~brainseg_engine.cli.dispatch`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Annotated

import typer

from brainseg_engine.cli.dispatch import PROGRAM, CommandApp, Program
from brainseg_engine.cli.printing import accept_all_characters, say

_SEGMENT, _LOOK, _TRAIN = "Segment", "Look and compare", "Train"
COMMANDS = {
    "view": _LOOK,
    "demo": _SEGMENT,
    "prepare": _SEGMENT,
    "predict": _SEGMENT,
    "bids": _SEGMENT,
    "models": _SEGMENT,
    "device": _SEGMENT,
    "pacs": _SEGMENT,
    "inspect": _LOOK,
    "evaluate": _LOOK,
    "figure": _LOOK,
    "report": _LOOK,
    "export": _LOOK,
    "corrections": _TRAIN,
    "data": _TRAIN,
    "finetune": _TRAIN,
    "recipes": _TRAIN,
    "phantom": _TRAIN,
    "train": _TRAIN,
    "sweep": _TRAIN,
}
"""Command → the panel of the help it stands in. The module bears the command's name."""

_EXAMPLES = """
[bold]Examples[/bold]
  napari-brainseg demo                           try it on a made-up study
  napari-brainseg view patient1                  the window, with this study in it
  napari-brainseg inspect patient1               what is in this folder?
  napari-brainseg predict patient1 --out masks   segment the tumour
  napari-brainseg evaluate --truth data --predictions masks

Each command explains itself: napari-brainseg predict --help.
For research use only, not for diagnosis.
"""

app = CommandApp(
    cls=Program,
    name=PROGRAM,
    no_args_is_help=True,
    epilog=_EXAMPLES,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from brainseg_engine import __version__

        say(f"{PROGRAM} {__version__}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Find brain tumours in MRI: segment four-modality studies (T1, T1ce, T2, FLAIR), measure, compare, train.

    A STUDY is a folder with the four series of one patient as NIfTI or MetaImage files, named as in the BraTS data
    sets. The regions are WT (whole tumour), TC (tumour core) and ET (enhancing tumour), each inside the one before.
    """


def _register() -> None:
    for name, panel in COMMANDS.items():
        module = import_module(f"{__name__}.{name}")
        if hasattr(module, "app"):
            app.add_typer(module.app, name=name, rich_help_panel=panel)
        else:
            app.command(name, rich_help_panel=panel)(getattr(module, name))


def main() -> None:
    """The entry point of ``napari-brainseg`` and of ``python -m brainseg_engine``."""
    accept_all_characters()
    app(prog_name=PROGRAM)


_register()
