"""The machine: which device, how many threads, and the heap setting that keeps big tensors off the page-fault path."""

from __future__ import annotations

import ctypes
import logging
import os
import re
import sys

from brainseg_engine.core.errors import DeviceError

REMOTE = "ssh:"
"""What the name of a machine elsewhere begins with."""
_WITHOUT_BFLOAT16 = ("DEFAULT", "NO AVX", "AVX2")
"""As torch names what its kernels for this processor use."""
_log = logging.getLogger(__name__)
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_LARGE = 1 << 20
"""Bytes from which on an array is given back when it is freed."""


def keep_heap() -> None:
    """Tell glibc to keep freed memory. No effect elsewhere.

    A network's activations are hundreds of MB each; by default each is mapped freshly and faulted in page by page, which
    doubles the time of a pass on a CPU. It has to be called in a process's main thread, before the first tensor. One heap for
    all threads: each would keep what it once read a study into.
    """
    _glibc("mallopt", (_M_MMAP_THRESHOLD, 1 << 30), (_M_TRIM_THRESHOLD, (1 << 31) - 1), (_M_ARENA_MAX, 1))


def return_arrays() -> None:
    """Tell glibc to give each large array back as soon as it is freed. No effect elsewhere.

    By default it learns to keep them, in the heap of each thread that made one: in a window that is open all day some hundred MB
    are held for nothing.
    """
    _glibc("mallopt", (_M_MMAP_THRESHOLD, _LARGE), (_M_TRIM_THRESHOLD, _LARGE))


def release_heap() -> None:
    """Give back to the system what :func:`keep_heap` had glibc keep, when nothing is going on: what is asked for next is faulted
    in anew, which costs the next study up to a second. No effect elsewhere."""
    _glibc("malloc_trim", (0,))


def _glibc(function: str, *calls: tuple[int, ...]) -> None:
    if not sys.platform.startswith("linux"):
        return
    try:
        wanted = getattr(ctypes.CDLL("libc.so.6"), function)
        for given in calls:
            wanted(*given)
    except (OSError, AttributeError):  # another C library (musl)
        _log.debug("%s is not available", function)


class Heap:
    """The heap that is kept between studies, and given back where it creeps: what is in use lies scattered in it, each study is
    of another size, and so each finds a little less of it fitting (70 MB a study were measured)."""

    MOST = 1.1
    """Times what lay in memory after the first study, after which what is free is given back."""

    def __init__(self) -> None:
        self._usual = 0

    def settle(self) -> None:
        """To be called after each study."""
        import psutil

        now = int(psutil.Process().memory_info().rss)
        if not self._usual:
            self._usual = now
        elif now > self.MOST * self._usual:
            release_heap()


def choose(name: str = "auto") -> str:
    """``auto`` | ``cpu`` | ``cuda`` | ``cuda:N`` | ``mps`` → the torch device string. Raises DeviceError for an absent one.

    ``auto`` is CUDA where there is one, else the CPU: Apple's GPU lacks 3D operations in many versions of PyTorch, so it
    is taken only when it is named.
    """
    if name.startswith(REMOTE):
        raise DeviceError(
            f"'{name}' is another machine, for 'predict', 'finetune' and the window. Here the choices are auto, cpu and cuda."
        )
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cpu":
        return name
    if re.fullmatch(r"cuda(:\d+)?", name):
        if not torch.cuda.is_available():
            why = "this PyTorch was built without CUDA" if torch.version.cuda is None else "no CUDA device was found"
            raise DeviceError(
                f"CUDA was asked for, but {why}. Use the device 'cpu' or 'auto', or install a CUDA build of PyTorch."
            )
        index = int(name.partition(":")[2] or 0)
        if index >= torch.cuda.device_count():
            raise DeviceError(f"There is no device '{name}'; {torch.cuda.device_count()} CUDA devices were found.")
        return name
    if name == "mps" and torch.backends.mps.is_available():
        return name
    raise DeviceError(f"There is no device '{name}'; the choices are auto, cpu, cuda (or cuda:1 and so on).")


def imitates(precision: str, device: str) -> bool:
    """Whether the hardware there only imitates the numbers of that ``precision`` (``32-true``, ``16-mixed``, ``bf16-mixed``).
    On a processor without AVX-512 a training step of the bundled model takes 20 times as long that way."""
    import torch

    if device.startswith("cuda"):
        return precision == "bf16-mixed" and not torch.cuda.is_bf16_supported(including_emulation=False)
    return device == "cpu" and precision != "32-true" and torch.backends.cpu.get_cpu_capability() in _WITHOUT_BFLOAT16


def precision(asked: str, device: str) -> str:
    """What to train with there: as asked, or ``32-true`` for what the hardware only imitates."""
    if not imitates(asked, device):
        return asked
    _log.warning("Training with 32-bit numbers (32-true): this machine only imitates %s, many times slower.", asked)
    return "32-true"


def describe(device: str) -> str:
    """A device in words for a report, like ``cpu (2 threads)`` or ``cuda (NVIDIA A100)``."""
    import torch

    if device.startswith("cuda"):
        return f"{device} ({torch.cuda.get_device_name(device)})"
    n = torch.get_num_threads()
    return f"{device} ({n} thread{'s' if n > 1 else ''})" if device == "cpu" else device


def out_of_memory(error: BaseException) -> bool:
    """True when that error says that memory ran out: the device's, torch's on the CPU, or numpy's."""
    import torch

    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def peak_memory_gb(device: str) -> float:
    """The most memory that this process (on a CPU) or its tensors (on a GPU) have taken so far, in 10⁹ bytes."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.max_memory_allocated(device) / 1e9
    import psutil

    memory = psutil.Process().memory_info()
    if hasattr(memory, "peak_wset"):  # Windows
        return float(memory.peak_wset) / 1e9
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
