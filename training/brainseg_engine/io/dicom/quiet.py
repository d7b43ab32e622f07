"""pydicom, silenced: its warnings quote values of the header, which may be a patient's name or a UID."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from brainseg_engine.core.errors import InputError

MISSING = "DICOM needs packages that are not installed: pip install 'napari-brainseg[dicom]'."


@contextmanager
def quiet() -> Iterator[None]:
    """Neither log nor warn, and take values as they are, whatever the standard says of them.

    Raises InputError, naming the extra, where pydicom is not installed.
    """
    try:
        from pydicom import config
    except ImportError as e:
        raise InputError(MISSING) from e
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
