"""`napari-brainseg device`."""

from __future__ import annotations

from typing import Annotated

import typer

from brainseg_engine.cli.dispatch import CommandApp
from brainseg_engine.cli.options import JsonOption
from brainseg_engine.cli.printing import say, say_json

app = CommandApp()


@app.callback()
def device() -> None:
    """What there is to compute with, here and on machines that your ssh reaches."""


@app.command()
def check(
    name: Annotated[
        str, typer.Argument(metavar="[ssh:HOST]", help="Another machine; without it, this one.", show_default=False)
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Say what a machine has to compute with, or what is missing there and what to do about it.

    HOST is what your ssh knows: a name, user@name, or an entry of ~/.ssh/config. Your keys and agent are used; nothing is asked.
    Where napari-brainseg is not among the programs its shell finds there: ssh:HOST:/path/to/bin/napari-brainseg.

    Examples:

      napari-brainseg device check
      napari-brainseg device check ssh:gpu1
    """
    from brainseg_engine.core.errors import DeviceError
    from brainseg_engine.remote import Host, Place, machine

    where = "This machine"
    if name:
        place = Place.of(name if ":" in name else f"ssh:{name}")
        host = Host(place)
        try:
            found = host.machine()
        finally:
            host.close()
        where = place.host
    else:
        found = machine.machine()
    if as_json:
        say_json({"device": name or "here", **found})
    if not found.get("torch"):
        raise DeviceError(
            f"{where} has no PyTorch that works ({found.get('why') or 'it is not there'}). Install it there: pip install torch"
        )
    if not as_json:
        for line in machine.in_words(where, found):
            say(line)


@app.command(hidden=True)
def serve() -> None:
    """Compute for another machine, through stdin and stdout: ssh starts it."""
    from brainseg_engine.remote.serving import main

    main()


@app.command(hidden=True)
def tune() -> None:
    """Fine-tune for another machine, through stdin and stdout: ssh starts it."""
    from brainseg_engine.remote.tuning_there import main

    main()
