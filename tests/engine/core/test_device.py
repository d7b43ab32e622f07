"""Devices are named in words, and so are those that are not there."""

import platform
import subprocess
import sys

import numpy as np
import pytest
import torch

from brainseg_engine.core import device
from brainseg_engine.core.errors import DeviceError


@pytest.mark.parametrize("name", ["cuda:x", "cudax", "cuda:-1", "CUDA 1", "", "gpu"])
def test_what_is_no_device_is_reported_with_the_choices(name):
    with pytest.raises(DeviceError, match="choices"):
        device.choose(name)


def test_auto_is_cuda_or_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert device.choose("auto") == "cpu"
    assert device.choose("mps") == "mps"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device.choose("auto") == "cuda"
    assert device.choose("cuda:1") == "cuda:1"
    with pytest.raises(DeviceError, match="2 CUDA devices"):
        device.choose("cuda:2")


@pytest.mark.parametrize(
    ("capability", "asked", "used"),
    [
        ("AVX2", "bf16-mixed", "32-true"),
        ("AVX2", "16-mixed", "32-true"),
        ("AVX2", "32-true", "32-true"),
        ("DEFAULT", "bf16-mixed", "32-true"),
        ("AVX512", "bf16-mixed", "bf16-mixed"),
        ("SVE256", "bf16-mixed", "bf16-mixed"),
    ],
)
def test_a_processor_does_not_imitate_short_numbers(monkeypatch, caplog, capability, asked, used):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert device.precision(asked, "cpu") == used
    assert (f"only imitates {asked}" in caplog.text) == (asked != used)


@pytest.mark.parametrize(("supported", "used"), [(True, "bf16-mixed"), (False, "32-true")])
def test_nor_does_a_gpu(monkeypatch, supported, used):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: supported)
    assert device.precision("bf16-mixed", "cuda:0") == used
    assert device.precision("16-mixed", "cuda:0") == "16-mixed"


def test_running_out_of_memory_is_known_by_every_library():
    for attempt in (lambda: torch.empty(1 << 46), lambda: np.ones(1 << 46)):
        with pytest.raises((RuntimeError, MemoryError)) as e:
            attempt()
        assert device.out_of_memory(e.value)
    assert device.out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not device.out_of_memory(RuntimeError("shapes differ"))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps what is freed")
@pytest.mark.parametrize(
    ("before", "size", "after", "least", "most"),
    [("keep_heap", 5_000_000, "release_heap", 0.8, 0.3), ("return_arrays", 5_000_000, "int", 0.0, 0.1)],
)
def test_what_was_freed_goes_back_to_the_system(before, size, after, least, most):
    """In a process of its own: here others allocate, too. Of what is freed among what stays."""
    done = subprocess.run(
        [sys.executable, "-c", HOLES, before, str(size), after], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    held, freed, released = map(int, done.stdout.split())
    assert least * held <= freed and released < most * held


HOLES = """
import sys
import psutil
from brainseg_engine.core.device import keep_heap, release_heap, return_arrays
before, size, after = sys.argv[1], int(sys.argv[2]), sys.argv[3]
rss = lambda: psutil.Process().memory_info().rss
globals()[before]()
bytearray(b"x" * 30_000_000)  # glibc would learn from it to keep what is as large
began = rss()
blocks = [bytearray(b"x" * size) for _ in range(60)]
held = rss() - began
kept = blocks[::20]
del blocks
freed = rss() - began
getattr(sys.modules["__main__"], after, int)()
print(held, freed, rss() - began)
"""
