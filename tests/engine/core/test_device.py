"""Devices are named in words, and so are those that are not there."""

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


def test_running_out_of_memory_is_known_by_every_library():
    for attempt in (lambda: torch.empty(1 << 46), lambda: np.ones(1 << 46)):
        with pytest.raises((RuntimeError, MemoryError)) as e:
            attempt()
        assert device.out_of_memory(e.value)
    assert device.out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not device.out_of_memory(RuntimeError("shapes differ"))
