"""Weights from other programs' files: only tensors are read, code never.

Taken are torch's own files (with ``weights_only``) and safetensors, a bare state dict or one under a usual key, with or
without the prefix that torch's wrappers (data parallel, compile) put before all names.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from brainseg_engine.core import plain
from brainseg_engine.core.errors import CheckpointError

STATE_KEYS = ("state_dict", "model_state_dict", "model_state", "model", "network_weights", "net", "weights")
WRAPPERS = ("module.", "_orig_mod.")


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Name → tensor on the CPU. Raises CheckpointError for a file that is absent, damaged, or no weights."""
    state = state_dict(read_tree(path))
    if state is None:
        raise CheckpointError(
            f"{path} holds no weights: neither a state dict nor one under {' or '.join(STATE_KEYS[:2])}. "
            "Save the network's state_dict() and give that file."
        )
    return state


def read_tree(path: Path, allowed: Sequence[Any] = ()) -> Any:
    """All that the file holds: tensors and plain data. ``allowed``: classes of plain data besides torch's own list, of which
    alone objects are made. Raises CheckpointError as :func:`read_weights`."""
    if not plain.is_file(path):
        raise CheckpointError(f"There is no weights file {path}.")
    _refuse_packed(path)
    return _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path, allowed)


def _refuse_packed(path: Path) -> None:
    """torch stores its tensors as they are; a compressed part may hold any number of gigabytes. Raises CheckpointError."""
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as parts:
            entries = parts.infolist()
        packed = [e for e in entries if e.compress_type != zipfile.ZIP_STORED or e.file_size != e.compress_size]
        total = sum(e.file_size for e in entries)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as e:
        raise _unreadable(path) from e
    if packed or total > path.stat().st_size:
        raise CheckpointError(
            f"{path} is compressed, which torch's own files never are. Have it saved anew with torch.save, and give that file."
        )


def _read_safetensors(path: Path) -> Mapping[str, torch.Tensor]:
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except Exception as e:  # safetensors raises its own class, OSError or ValueError, by the kind of damage
        raise CheckpointError(
            f"The weights file {path} is damaged or no safetensors file ({e}). Fetch it again."
        ) from e


def _read_torch(path: Path, allowed: Sequence[Any]) -> Any:
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(list(allowed)):
            warnings.simplefilter("ignore")  # of pickles in newer protocols, which are then refused
            return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as e:
        named = re.search(r"GLOBAL ([\w.]+)", str(e))
        with path.open("rb") as f:
            is_pickle = f.read(1) == b"\x80"
        if named is None and not is_pickle:
            raise _unreadable(path) from e
        what = f" ({named[1]})" if named is not None else ""
        raise CheckpointError(
            f"{path} asks for program code{what} besides weights, which is never run here. Have it saved anew with "
            "torch.save(network.state_dict(), FILE), and give that file."
        ) from e
    except Exception as e:  # EOFError, RuntimeError, OSError, UnicodeDecodeError …, by the kind of damage
        raise _unreadable(path) from e


def _unreadable(path: Path) -> CheckpointError:
    return CheckpointError(
        f"{path} is no weights file of torch (.pt, .pth) or safetensors, or is damaged. Fetch it again."
    )


def state_dict(tree: Any) -> dict[str, torch.Tensor] | None:
    """The state dict in a checkpoint's tree, without what wrappers put before its names; None where there is none."""
    if not isinstance(tree, Mapping) or not tree:
        return None
    if all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in tree.items()):
        state = dict(tree)
        while wrapper := next((w for w in WRAPPERS if all(k.startswith(w) for k in state)), ""):
            state = {k.removeprefix(wrapper): v for k, v in state.items()}
        return state
    inner = (tree[key] for key in STATE_KEYS if isinstance(tree.get(key), Mapping))
    return next((state for state in map(state_dict, inner) if state is not None), None)
