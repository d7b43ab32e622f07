"""The optional libraries of the DICOM objects, or one sentence on how to get them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from brainseg_engine.core.errors import InputError


def pydicom() -> Any:
    """The module ``pydicom``. Raises InputError when it is not installed."""
    return _module("pydicom")


def highdicom() -> Any:
    """The module ``highdicom``. Raises InputError when it is not installed."""
    return _module("highdicom")


def _module(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as e:
        raise InputError(f'DICOM objects need {name}. Install it: pip install "napari-brainseg[dicom]".') from e
