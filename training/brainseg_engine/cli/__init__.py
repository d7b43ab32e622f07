"""The command line: one module a command, with a function of the command's name, or with a dict ``commands``.

``commands`` makes it a group: sub-command → its function, as in ``napari-brainseg data check``. A module with both runs
the function where no sub-command is named (``napari-brainseg models`` lists, ``models import`` imports).

Command modules import nothing heavy at their top (no torch, nibabel, monai, matplotlib): all of them are imported to
print ``--help``. What every command shares is added here: ``-v``, and what becomes of an error.

Exit codes: 0 done; 2 a usage error; what :mod:`brainseg_engine.core.errors` says for the errors a user can mend; 70 a bug;
130 interrupted. Results go to stdout, everything said about them to stderr.
"""

from __future__ import annotations

import functools
import sys
import traceback
from collections.abc import Callable, Mapping
from importlib import import_module
from inspect import Parameter, getdoc, signature  # by name: the command `inspect` is a module of this package
from typing import Annotated, Any

import typer

from brainseg_engine.cli.printing import accept_all_characters, say
from brainseg_engine.core import log
from brainseg_engine.core.errors import BrainsegError, DeviceError, InputError
from brainseg_engine.core.text import printable

PROGRAM = "napari-brainseg"
UNEXPECTED = 70
INTERRUPTED = 130

_SEGMENT, _LOOK, _TRAIN = "Segment", "Look and compare", "Train"
COMMANDS = {
    "demo": _SEGMENT,
    "prepare": _SEGMENT,
    "predict": _SEGMENT,
    "models": _SEGMENT,
    "pacs": _SEGMENT,
    "inspect": _LOOK,
    "evaluate": _LOOK,
    "report": _LOOK,
    "export": _LOOK,
    "corrections": _TRAIN,
    "data": _TRAIN,
    "finetune": _TRAIN,
    "recipes": _TRAIN,
    "phantom": _TRAIN,
    "train": _TRAIN,
}
"""Command → the panel of the help it stands in. The module bears the command's name."""

_EXAMPLES = """
[bold]Examples[/bold]
  napari-brainseg demo                           try it on a made-up study
  napari-brainseg inspect patient1               what is in this folder?
  napari-brainseg predict patient1 --out masks   segment the tumour
  napari-brainseg evaluate --truth data --predictions masks

Each command explains itself: napari-brainseg predict --help.
For research use only, not for diagnosis.
"""

VerboseOption = Annotated[
    bool, typer.Option("--verbose", "-v", help="Tell every detail; show a traceback where something fails.")
]

_verbose = False  # `-v` before the command holds for the command too; set anew by each call of the program

app = typer.Typer(
    name=PROGRAM,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    epilog=_EXAMPLES,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from brainseg_engine import __version__

        say(f"{PROGRAM} {__version__}")
        raise typer.Exit


def _program(
    verbose: VerboseOption = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Find brain tumours in MRI: segment four-modality studies (T1, T1ce, T2, FLAIR), measure, compare, train.

    A STUDY is a folder with the four series of one patient as NIfTI or MetaImage files, named as in the BraTS data
    sets. The regions are WT (whole tumour), TC (tumour core) and ET (enhancing tumour), each inside the one before.
    """
    global _verbose
    _verbose = verbose


def _command(function: Callable[..., None]) -> Callable[..., None]:
    """The function as a command: with ``-v`` added to its options, and its errors reported in one sentence."""
    declared = signature(function, eval_str=True)
    verbose = Parameter("verbose", Parameter.KEYWORD_ONLY, default=False, annotation=VerboseOption)

    @functools.wraps(function)
    def run(*args: Any, verbose: bool = False, **kwargs: Any) -> None:
        detailed = verbose or _verbose
        log.setup(detailed)
        code = _run(lambda: function(*args, **kwargs), detailed)
        if code:
            raise typer.Exit(code)

    parameters = [*declared.parameters.values(), verbose]
    run.__signature__ = declared.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


def _run(work: Callable[[], None], verbose: bool) -> int:
    """Do the work; returns the exit code, and has said on stderr what went wrong."""
    try:
        work()
    except BrainsegError as e:
        _say(str(e), verbose)
        return e.exit_code
    except KeyboardInterrupt:
        _say("Interrupted; finished results are kept, nothing half-written is left.", verbose)
        return INTERRUPTED
    except (BrokenPipeError, typer.Exit, typer.Abort, typer.BadParameter):
        raise
    except OSError as e:  # what no reader or writer foresaw of the file system
        where = e.filename if isinstance(e.filename, str) and e.filename else "A file or folder"
        _say(f"{where} cannot be used: {e.strerror or e}. Check the path and its permissions.", verbose)
        return InputError.exit_code
    except MemoryError:
        _say("There is not enough memory. Close other programs, or give fewer or smaller images.", verbose)
        return DeviceError.exit_code
    except Exception as e:
        detail = f"{type(e).__name__}: {e}".rstrip(": ")
        advice = "" if verbose else "; run again with -v for the details"
        _say(f"unexpected {detail}{advice}.", verbose)
        return UNEXPECTED
    return 0


def _say(sentence: str, verbose: bool) -> None:
    if verbose:
        traceback.print_exc()
    print(printable(f"{PROGRAM}: {' '.join(sentence.split())}"), file=sys.stderr)


def _register() -> None:
    app.callback(help=_help(_program))(_program)
    for name, panel in COMMANDS.items():
        module = import_module(f"{__name__}.{name}")
        function: Callable[..., None] | None = getattr(module, name, None)
        commands: Mapping[str, Callable[..., None]] = getattr(module, "commands", {})
        if commands:
            app.add_typer(_group(function, commands, getdoc(module) or ""), name=name, rich_help_panel=panel)
        elif function is not None:
            app.command(name, rich_help_panel=panel, help=_help(function))(_command(function))


def _group(
    function: Callable[..., None] | None, commands: Mapping[str, Callable[..., None]], about: str
) -> typer.Typer:
    """A command with sub-commands; ``function`` (with its options) is what it does alone, else it shows its help.

    ``about`` is the module's docstring: its first paragraph names the command, what follows is the help of a group
    without a function.
    """
    group = typer.Typer(no_args_is_help=function is None, rich_markup_mode="rich")
    text = _help(function) if function is not None else _reflow(about.partition("\n\n")[2])
    alone = _command(function) if function is not None else _nothing
    group.callback(invoke_without_command=function is not None, help=text)(_unless_subcommand(alone))
    for name, sub in commands.items():
        group.command(name, help=_help(sub))(_command(sub))
    return group


def _nothing(*, verbose: VerboseOption = False) -> None:
    pass


def _unless_subcommand(alone: Callable[..., None]) -> Callable[..., None]:
    """``alone`` as the callback of a group: its options are read, and it runs when no sub-command was named.

    ``-v`` before the sub-command holds for that one. Any other option there would be lost, and is refused.
    """
    declared = signature(alone, eval_str=True)

    def run(ctx: typer.Context, **options: Any) -> None:
        global _verbose
        if ctx.invoked_subcommand is None:
            alone(**options)
            return
        _verbose = _verbose or options.pop("verbose", False)
        lost = next((n for n in options if _given(ctx, n)), None)
        if lost is not None:
            flag = next(p for p in ctx.command.params if p.name == lost).opts[0]
            raise typer.BadParameter(f"{flag} belongs behind '{ctx.invoked_subcommand}'.", ctx)

    context = Parameter("ctx", Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    parameters = [context, *declared.parameters.values()]
    run.__signature__ = declared.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


def _given(ctx: typer.Context, option: str) -> bool:
    source = ctx.get_parameter_source(option)
    return source is not None and source.name != "DEFAULT"


def _help(function: Callable[..., None]) -> str:
    return _reflow(getdoc(function) or "")


def _reflow(text: str) -> str:
    """Each paragraph on one line, for the terminal to wrap; indented paragraphs (examples) stay as they are."""
    paragraphs = text.split("\n\n")
    return "\n\n".join(p if p.startswith(" ") else " ".join(p.split()) for p in paragraphs)


def main() -> None:
    """The entry point of ``napari-brainseg`` and of ``python -m brainseg_engine``."""
    accept_all_characters()
    app(prog_name=PROGRAM)


_register()
