"""What is said on the side, on stderr: warnings always, every detail when asked for (``-v``).

Modules log to ``logging.getLogger(__name__)`` as usual; only a program that owns its terminal calls :func:`setup`.
"""

from __future__ import annotations

import logging

ROOT = "brainseg_engine"


def setup(verbose: bool = False) -> None:
    """Send this program's log records to stderr: from DEBUG up when ``verbose``, else from WARNING up.

    Warnings of the libraries underneath are for developers: they are shown when ``verbose`` only. Calling it again
    replaces the earlier set-up.
    """
    from rich.logging import RichHandler

    from brainseg_engine.core.text import console

    handler = RichHandler(
        console=console(stderr=True), show_path=verbose, show_time=verbose, log_time_format="%H:%M:%S", markup=False
    )
    handler.setFormatter(logging.Formatter("%(message)s"))
    logging.captureWarnings(True)
    for name, level in ((ROOT, logging.DEBUG if verbose else logging.WARNING), ("py.warnings", _warnings(verbose))):
        logger = logging.getLogger(name)
        logger.setLevel(level)
        logger.handlers = [handler]


def _warnings(verbose: bool) -> int:
    return logging.WARNING if verbose else logging.ERROR
