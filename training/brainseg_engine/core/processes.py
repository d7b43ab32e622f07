"""Whether a process is still that process: a number alone may have gone to another."""

from __future__ import annotations


def began(pid: int) -> float:
    """When the process started, in seconds since 1970."""
    import psutil

    return float(psutil.Process(pid).create_time())


def alive(pid: int, began: float) -> bool:
    """True when that very process runs."""
    import psutil

    try:
        process = psutil.Process(pid)
        return bool(abs(process.create_time() - began) < 2.0 and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
