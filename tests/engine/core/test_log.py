"""What is shown on stderr, plainly and in detail."""

from __future__ import annotations

import logging
import warnings

import pytest

from brainseg_engine.core import log


@pytest.fixture(autouse=True)
def restored():
    loggers = [logging.getLogger(name) for name in (log.ROOT, "py.warnings")]
    before = [(logger.level, logger.handlers) for logger in loggers]
    yield
    logging.captureWarnings(False)
    for logger, (level, handlers) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.handlers = handlers


def speak():
    logger = logging.getLogger("brainseg_engine.somewhere")
    logger.debug("a detail")
    logger.warning("a [strange] file")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn("for developers", DeprecationWarning, stacklevel=1)


def test_plainly_warnings_of_this_program_only(capsys):
    log.setup(verbose=False)
    speak()
    out, err = capsys.readouterr()
    assert out == ""
    assert err.split() == ["WARNING", "a", "[strange]", "file"]


def test_in_detail_everything(capsys):
    log.setup(verbose=True)
    speak()
    err = " ".join(capsys.readouterr().err.split())
    for text in ("a detail", "a [strange] file", "for developers"):
        assert text in err


def test_the_last_set_up_holds(capsys):
    log.setup(verbose=True)
    log.setup(verbose=False)
    speak()
    assert capsys.readouterr().err.count("a [strange] file") == 1
