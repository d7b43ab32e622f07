"""What a user brings of his own (a metric, a network, a loss): a function or class named in text.

``module:name`` is imported as Python would, the present folder included; a name alone is an entry point of an installed package.
What a recipe names may come inside a model of anybody's: importing is running code, so there ``module:name`` needs the user's
word for that module, in the environment variable ``BRAINSEG_TRUSTED`` (several with commas). An installed package is his word.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from brainseg_engine.core.errors import BrainsegError, InputError

TRUSTED = "BRAINSEG_TRUSTED"
_FORM = re.compile(r"(?P<module>[A-Za-z_]\w*(\.[A-Za-z_]\w*)*):(?P<name>[A-Za-z_]\w*)")


def named(text: str, group: str, *, given: bool = False, error: type[BrainsegError] = InputError) -> Callable[..., Any]:
    """The callable of that name; ``group``: of entry points, like ``brainseg.metrics``. ``given``: the user names it in this
    very call. Raises ``error`` for one that cannot be had."""
    match = _FORM.fullmatch(text)
    if match is None:
        return _installed(text, group, error)
    module = match["module"]
    if not given and module not in os.environ.get(TRUSTED, "").split(","):
        raise error(
            f"'{text}' is code of the module '{module}', which a recipe or a model asks for. If you know and trust it, say so: "
            f"{TRUSTED}={module}"
        )
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        thing = getattr(import_module(module), match["name"], None)
    except Exception as e:  # whatever the module itself does wrong
        raise error(
            f"The module '{module}' cannot be imported ({type(e).__name__}: {e}). Check its name and path."
        ) from e
    finally:
        sys.path.remove(here)
    if not callable(thing):
        raise error(f"The module '{module}' has no function or class '{match['name']}'. Check the name.")
    return thing  # type: ignore[no-any-return]


def _installed(text: str, group: str, error: type[BrainsegError]) -> Callable[..., Any]:
    offered = {e.name: e for e in metadata.entry_points(group=group)}
    if text not in offered:
        known = f"; installed are {', '.join(sorted(offered))}" if offered else ""
        raise error(f"There is no '{text}' among the entry points '{group}'{known}. Name it as module:name.")
    thing = offered[text].load()
    if not callable(thing):
        raise error(f"The entry point '{text}' of '{group}' is no function or class. Correct its package.")
    return thing  # type: ignore[no-any-return]
