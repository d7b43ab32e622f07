"""What a child process is asked to do in tests."""

from __future__ import annotations

import os
import time

from brainseg_engine.core.errors import InputError
from brainseg_engine.core.events import Progress


def pid(progress, cancelled):
    print("what libraries print is no answer")
    progress(Progress("working", 0.5))
    return os.getpid()


def refused(why, progress, cancelled):
    raise InputError(why)


def broken(progress, cancelled):
    raise ZeroDivisionError("0")


def died(progress, cancelled):
    os._exit(3)


def endless(progress, cancelled):
    while True:
        time.sleep(0.05)
