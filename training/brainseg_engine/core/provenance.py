"""What a file or a number was made with: the versions of the packages it depends on, and the commit of a checkout."""

from __future__ import annotations

import subprocess
from importlib import metadata
from pathlib import Path


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    names = ("napari-brainseg", "torch", "monai", "numpy", "lightning-fabric")
    return {n: metadata.version(n) for n in names if _has(n)}


def git_revision() -> str | None:
    """The commit of a checkout that this package runs from; None for an installed one."""
    here = Path(__file__).parent
    try:
        done = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            capture_output=True, text=True, encoding="utf-8", errors="replace", timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def _has(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
