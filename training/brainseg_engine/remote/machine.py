"""What a machine has to compute with: ``python -m brainseg_engine.remote.machine`` prints it as one line of JSON.

A process of its own: importing torch takes seconds, and a damaged installation may end it.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from typing import Any


def machine() -> dict[str, Any]:
    """``torch`` (its version, or None and ``why``), ``gpus`` (name and memory in bytes, free and in all), cores, memory."""
    import psutil

    from brainseg_engine.core.device import cores

    found: dict[str, Any] = {
        "torch": None, "why": "", "cuda": None, "gpus": [], "cores": cores(), "system": platform.platform(terse=True),
        "memory": psutil.virtual_memory().total, "driver": _has_driver(),
    }  # fmt: skip
    try:
        import torch
    except Exception as e:  # whatever a half-installed torch raises
        return {**found, "why": f"{type(e).__name__}: {e}"[:300]}
    found |= {"torch": torch.__version__, "cuda": torch.version.cuda}
    try:
        for n in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
            free, total = torch.cuda.mem_get_info(n)
            found["gpus"].append({"name": torch.cuda.get_device_name(n), "free": free, "total": total})
    except RuntimeError as e:
        found["why"] = str(e)[:300]
    return found


def in_words(where: str, found: Mapping[str, Any]) -> list[str]:
    """What that machine has, a line each; what is missing with a remedy."""
    gpus = found.get("gpus", [])
    lines = [
        f"{where}: {found.get('system', '')}, {found.get('cores', '?')} cores, {found.get('memory', 0) / 2**30:.0f} GiB, "
        f"PyTorch {found.get('torch')}"
    ]
    lines += [f"{g['name']}: {g['free'] / 2**30:.1f} of {g['total'] / 2**30:.1f} GiB free" for g in gpus]
    if not gpus:
        lines.append(f"No GPU: {_why_no_gpu(found)} It computes on its CPU.")
    return lines


def _why_no_gpu(found: Mapping[str, Any]) -> str:
    if found.get("why"):
        return f"{found['why']}."
    if not found.get("driver"):
        return "there is no NVIDIA driver (nvidia-smi)."
    if found.get("cuda") is None:
        return "a driver is there, but this PyTorch was built without CUDA; install the build that pytorch.org names for it."
    return "PyTorch finds none; does nvidia-smi show one, and is CUDA_VISIBLE_DEVICES empty there?"


def _has_driver() -> bool:
    import shutil

    return shutil.which("nvidia-smi") is not None


if __name__ == "__main__":
    print(json.dumps(machine()))
