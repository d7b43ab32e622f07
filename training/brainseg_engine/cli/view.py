"""`napari-brainseg view`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def view(
    studies: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[STUDY]", help="A study's folder, a .zip, or its files.", show_default=False),
    ] = None,
) -> None:
    """Open the window, with the panel in it and a study open: what a shortcut on the desktop calls.

    Examples:

      napari-brainseg view
      napari-brainseg view patient1
    """
    import subprocess
    import sys
    from importlib.util import find_spec

    from brainseg_engine.core.errors import InputError

    given = studies or []
    for path in given:
        if not path.exists():
            raise InputError(f"{path} does not exist. Give the folder of a study, a .zip, or its files.")
    if find_spec("napari") is None or find_spec("napari_brainseg") is None:
        raise InputError(
            "The window needs napari, which is not installed here: pip install 'napari-brainseg[app]' installs it."
        )
    done = subprocess.run([sys.executable, "-m", "napari_brainseg", *(str(p.absolute()) for p in given)], check=False)
    if done.returncode:
        raise typer.Exit(done.returncode if done.returncode > 0 else 1)
