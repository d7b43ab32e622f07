"""pydicom, silenced: its warnings quote values of the header, which may be a patient's name or a UID."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from brainseg_engine.core.errors import InputError

MISSING = 'DICOM needs packages that are not installed: pip install "napari-brainseg[dicom]".'
_lock = threading.Lock()
_users = 0
_settings = ExitStack()


@contextmanager
def quiet() -> Iterator[None]:
    """Neither log nor warn, and take values as they are, whatever the standard says of them.

    Several threads may be inside: the last one that leaves restores what the first one found. Raises InputError, naming
    the extra, where pydicom is not installed.
    """
    global _users
    try:
        import pydicom  # noqa: F401
    except ImportError as e:
        raise InputError(MISSING) from e
    with _lock:
        if _users == 0:
            _settings.enter_context(_silenced())
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _settings.close()


@contextmanager
def _silenced() -> Iterator[None]:
    from pydicom import config

    logger = logging.getLogger("pydicom")
    before = config.settings.reading_validation_mode, logger.disabled
    config.settings.reading_validation_mode = config.IGNORE
    logger.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        config.settings.reading_validation_mode, logger.disabled = before
