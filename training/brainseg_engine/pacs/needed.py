"""The optional libraries that talk to a PACS, or one sentence on how to get them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from brainseg_engine.core.errors import InputError


def module(name: str) -> Any:
    """That module, of a package of the extra ``pacs``. Raises InputError when it is not installed."""
    try:
        return import_module(name)
    except ImportError as e:
        package = name.partition(".")[0].replace("_", "-")
        raise InputError(f'A PACS needs {package}. Install it: pip install "napari-brainseg[pacs]".') from e
