"""The JSON file beside a mask: what it says, and whether it belongs to the mask that lies there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from brainseg_engine.core import plain, records
from brainseg_engine.core.errors import InputError
from brainseg_engine.io.naming import stem


def sidecar_path(path: Path) -> Path:
    """Where a mask's sidecar lies: ``a_seg.nii.gz`` → ``a_seg.json``."""
    return path.with_name(stem(path.name) + ".json")


def read_sidecar(path: Path) -> Mapping[str, Any]:
    """The JSON object beside a mask; {} when there is none, or it was written for another mask than lies there. Raises
    InputError when it is damaged."""
    beside = sidecar_path(path)
    try:
        written = records.read_json(beside)
    except FileNotFoundError:
        return {}
    except OSError as e:
        raise InputError(
            f"{beside} cannot be read ({e.strerror or e}), so what it tells of {path.name} is not known. Move it away, and name "
            "the coding (--coding)."
        ) from e
    except ValueError as e:
        raise InputError(f"{beside} is damaged, so the coding of {path.name} is not known. Delete it, and name the "
                         f"coding (--coding).") from e  # fmt: skip
    return written if isinstance(written, dict) and _state(written, path) == "whole" else {}


State = Literal["none", "whole", "torn", "changed"]


def sidecar_state(path: Path) -> State:
    """Whether the sidecar is that of the mask which lies there.

    "none" beside it; "torn": writing the mask anew was interrupted, and the one before lies there; "changed": somebody else
    has changed the mask since. What tells no hash (version 0.1, other programs) counts as whole.
    """
    written = sound_object(sidecar_path(path))
    return _state(written, path) if written else "none"


def _state(written: Mapping[str, Any], path: Path) -> State:
    wanted = written.get("mask_sha256")
    digest = plain.sha256_if_readable(path) if wanted is not None else ""
    if not digest or digest == wanted:
        return "whole"
    return "torn" if digest == written.get("replaces_sha256") else "changed"


def own_sidecar(path: Path) -> Mapping[str, Any]:
    """As :func:`read_sidecar`; {} for a damaged one."""
    written = sound_object(sidecar_path(path))
    return written if _state(written, path) == "whole" else {}


def fingerprints(part: Path, path: Path) -> dict[str, str]:
    """Of the mask that is written and of the one that it replaces: the sidecar gets its name first, the mask then."""
    new, before = plain.sha256_if_readable(part), plain.sha256_if_readable(path)
    hashes = {"mask_sha256": new}
    return hashes | {"replaces_sha256": before} if before and before != new else hashes


def sound_object(path: Path) -> Mapping[str, Any]:
    """The JSON object in that file; {} where there is none that can be read."""
    try:
        written = records.read_json(path)
    except (OSError, ValueError):
        return {}
    return written if isinstance(written, dict) else {}
