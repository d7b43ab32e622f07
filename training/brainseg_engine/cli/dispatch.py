"""What every command shares, as classes that Typer makes its commands of: ``-v``, ``-q`` and ``--log-file`` anywhere, and what
becomes of an error.

Exit codes: 0 done; 2 a usage error; what :mod:`brainseg_engine.core.errors` says for the errors a user can mend; 70 a bug;
130 interrupted. Results go to stdout, everything said about them to stderr.
"""

from __future__ import annotations

import functools
import logging
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from brainseg_engine.cli.printing import be_quiet
from brainseg_engine.core import log
from brainseg_engine.core.errors import BrainsegError, DeviceError, InputError
from brainseg_engine.core.text import printable

PROGRAM = "napari-brainseg"
_log = logging.getLogger(__name__)
UNEXPECTED = 70
INTERRUPTED = 130
_VERBOSE = f"{__name__}.verbose"
_QUIET = f"{__name__}.quiet"
_LOG_FILE = f"{__name__}.log_file"
"""Keys in what the contexts of one call share."""
_SHARED = ("verbose", "quiet", "log_file")
_UsageError: type[Exception] = typer.BadParameter.__base__  # type: ignore[assignment]  # of the click that Typer brings
_F = TypeVar("_F", bound=Callable[..., Any])


class CommandApp(typer.Typer):
    """A group of commands. ``about`` is its help where it does nothing alone: the docstring of its module, of which the
    first paragraph only names the command."""

    def __init__(self, about: str | None = None, *, cls: type[TyperGroup] | None = None, **options: Any) -> None:
        own: dict[str, Any] = {"rich_markup_mode": "rich"}
        if about is not None:
            own |= {"help": about.partition("\n\n")[2], "no_args_is_help": True}
        super().__init__(cls=cls or CommandGroup, **own, **options)

    def command(self, name: str | None = None, **options: Any) -> Callable[[_F], _F]:
        """As Typer's own, with what commands share."""
        return super().command(name, cls=Command, **options)


class Command(TyperCommand):
    """A command, with the options that all commands have."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.help = _reflow(self.help)
        self.params = [*self.params, *_shared_options()]


class CommandGroup(TyperGroup):
    """Commands under one name; an option that all commands have holds for the sub-command too where it stands before it."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.help = _reflow(self.help)
        self.params = [*self.params, *_shared_options()]

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The sub-command. Any other option before it would be lost, and is refused."""
        resolved = super().resolve_command(ctx, args)
        for option in self.params:
            source = ctx.get_parameter_source(option.name)
            if option.name not in _SHARED and source is not None and source.name != "DEFAULT":
                raise typer.BadParameter(f"{option.opts[0]} belongs behind '{resolved[0]}'.", ctx)
        return resolved


class Program(CommandGroup):
    """The whole program: what goes wrong in any command is said here, in one sentence."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was named. Raises Exit with the code of what went wrong."""
        _set_up(ctx)
        try:
            code = _run(lambda: super(Program, self).invoke(ctx), ctx)
        except typer.Exit as e:
            _log.log(log.SAID, "ended with code %d", e.exit_code)
            raise
        _log.log(log.SAID, "ended with code %d", code)
        if code:
            raise typer.Exit(code)


def _run(work: Callable[[], object], ctx: typer.Context) -> int:
    """Do the work; returns the exit code, and has said on stderr what went wrong."""
    try:
        work()
    except BrainsegError as e:
        _say(str(e), ctx)
        return e.exit_code
    except KeyboardInterrupt:
        _say("Interrupted; finished results are kept, nothing half-written is left.", ctx)
        return INTERRUPTED
    except (BrokenPipeError, typer.Exit, typer.Abort, _UsageError):
        raise
    except OSError as e:  # what no reader or writer foresaw of the file system
        where = e.filename if isinstance(e.filename, str) and e.filename else "A file or folder"
        _say(f"{where} cannot be used: {e.strerror or e}. Check the path and its permissions.", ctx)
        return InputError.exit_code
    except MemoryError:
        _say("There is not enough memory. Close other programs, or give fewer or smaller images.", ctx)
        return DeviceError.exit_code
    except Exception as e:
        detail = f"{type(e).__name__}: {e}".rstrip(": ")
        advice = "" if _is_verbose(ctx) else "; run again with -v for the details"
        _say(f"unexpected {detail}{advice}.", ctx)
        return UNEXPECTED
    return 0


def _say(sentence: str, ctx: typer.Context) -> None:
    if _is_verbose(ctx):
        traceback.print_exc()
    _log.log(log.SAID, "%s", sentence, exc_info=True)
    print(printable(f"{PROGRAM}: {' '.join(sentence.split())}"), file=sys.stderr)


@functools.cache
def _shared_options() -> tuple[Any, ...]:
    """They as Typer makes them of annotations."""

    def note(key: str) -> Callable[[typer.Context, Any], None]:
        def noted(ctx: typer.Context, value: Any) -> None:
            if value:
                ctx.meta[key] = value
                _set_up(ctx)

        return noted

    def bearer(verbose: bool = False, quiet: bool = False, log_file: Path | None = None) -> None:
        pass

    bearer.__annotations__ = {
        "verbose": Annotated[
            bool,
            typer.Option("--verbose", "-v", help="Tell every detail; show a traceback where something fails.",
                         callback=note(_VERBOSE), expose_value=False),
        ],
        "quiet": Annotated[
            bool,
            typer.Option("--quiet", "-q", help="Say nothing but results and errors.", callback=note(_QUIET),
                         expose_value=False),
        ],
        "log_file": Annotated[
            Path | None,
            typer.Option("--log-file", metavar="FILE", help="Add every detail to this file, with times.", show_default=False,
                         callback=note(_LOG_FILE), expose_value=False),
        ],
    }  # fmt: skip
    app = typer.Typer(add_completion=False)
    app.command()(bearer)
    return tuple(p for p in typer.main.get_command(app).params if p.name in _SHARED)


def _set_up(ctx: typer.Context) -> None:
    """Say as much, and there, as was asked for until now."""
    quiet, file = bool(ctx.meta.get(_QUIET)), ctx.meta.get(_LOG_FILE)
    log.setup(_is_verbose(ctx), quiet)
    be_quiet(quiet)
    if file is not None:
        log.to_file(Path(file))
        _log.log(log.SAID, "%s", " ".join(sys.argv))


def _is_verbose(ctx: typer.Context) -> bool:
    return bool(ctx.meta.get(_VERBOSE))


def _reflow(text: str | None) -> str:
    """Each paragraph on one line, for the terminal to wrap; indented paragraphs (examples) stay as they are."""
    paragraphs = (text or "").split("\n\n")
    return "\n\n".join(p if p.startswith(" ") else " ".join(p.split()) for p in paragraphs)
