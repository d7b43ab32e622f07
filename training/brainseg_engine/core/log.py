"""What is said on the side, on stderr: warnings always, every detail when asked for (``-v``).

Modules log to ``logging.getLogger(__name__)`` as usual; only a program that owns its terminal calls :func:`setup`.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

ROOT = "brainseg_engine"
SAID = logging.DEBUG - 5
"""Of records that were said on stderr already, and belong into the log file alone."""
logging.addLevelName(SAID, "SAID")


def to_file(path: Path) -> None:
    """Append every record to that file too, with its time; the file is for its owner alone. Raises OutputError."""
    from brainseg_engine.core import plain
    from brainseg_engine.core.errors import OutputError

    try:
        os.close(plain.appending(path, private=True))  # refuses what is no ordinary file
        handler = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    except OSError as e:
        raise OutputError(f"Cannot write the log {path}: {e.strerror or e}. Choose another place.") from e
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger(ROOT)
    for shown in logger.handlers:
        shown.setLevel(logger.level)
    logger.setLevel(SAID)
    logger.addHandler(handler)
    logging.getLogger("py.warnings").addHandler(handler)


def setup(verbose: bool = False, quiet: bool = False) -> None:
    """Send this program's log records to stderr: from DEBUG up when ``verbose``, else from WARNING up.

    ``quiet``: errors alone. Warnings of the libraries underneath are for developers: they are shown when ``verbose`` only.
    Calling it again replaces the earlier set-up.
    """
    from rich.logging import RichHandler

    from brainseg_engine.core.text import console

    handler = RichHandler(
        console=console(stderr=True), show_path=verbose, show_time=verbose, log_time_format="%H:%M:%S", markup=False
    )
    handler.setFormatter(logging.Formatter("%(message)s"))
    logging.captureWarnings(True)
    for name, level in (
        (ROOT, logging.DEBUG if verbose else logging.ERROR if quiet else logging.WARNING),
        ("py.warnings", _warnings(verbose)),
    ):
        logger = logging.getLogger(name)
        logger.setLevel(level)
        for old in logger.handlers:
            old.close()
        logger.handlers = [handler]


def _warnings(verbose: bool) -> int:
    return logging.WARNING if verbose else logging.ERROR
