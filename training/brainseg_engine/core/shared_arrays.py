"""Arrays that two processes see, without copying them through a pipe.

One side, the owner, makes an array and gives its :class:`ArraySpec` away as JSON; the other side attaches to it. Only the
owner removes it, so that killing the other side at any moment loses nothing and leaves nothing behind. Should the owner
be killed, Python's resource tracker removes what it made.

Where the system's shared memory is too small (a container's ``/dev/shm`` often has 64 MB, and writing past it kills the
process), a mapped temporary file takes its place.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import prod
from multiprocessing import resource_tracker
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from brainseg_engine.core.errors import OutputError

_DEV_SHM = Path("/dev/shm")
_MARGIN = 1 << 24  # bytes of shared memory left to others


@dataclass(frozen=True)
class ArraySpec:
    """What the other side needs to attach: the block's ``name``, ``kind`` ("memory" or "file"), shape and dtype."""

    name: str
    kind: str
    shape: tuple[int, ...]
    dtype: str

    def to_dict(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """From that JSON object."""
        return cls(str(fields["name"]), str(fields["kind"]), tuple(fields["shape"]), str(fields["dtype"]))

    @property
    def nbytes(self) -> int:
        """Size of the array in bytes."""
        return int(prod(self.shape)) * np.dtype(self.dtype).itemsize


class SharedArray:
    """One array in shared memory. ``array`` is valid until :meth:`close`; views of it have to be dropped before."""

    def __init__(self, spec: ArraySpec, block: SharedMemory | None, array: NDArray[Any], owner: bool) -> None:
        self.spec = spec
        self.array = array
        self._block = block
        self._owner = owner

    @classmethod
    def create(cls, shape: tuple[int, ...], dtype: DTypeLike) -> Self:
        """A new array of zeros, owned by this process. Raises OutputError when there is no room for it."""
        spec = ArraySpec("", "memory", tuple(shape), np.dtype(dtype).str)
        try:
            if not _fits(spec.nbytes):
                return cls._create_file(spec)
            block = SharedMemory(create=True, size=max(1, spec.nbytes))
        except OSError as e:
            raise OutputError(
                f"There is no room to hand {spec.nbytes / 2**20:.0f} MiB to the segmentation process: {e.strerror or e}. "
                "Free some memory or some space in the temporary folder."
            ) from e
        spec = ArraySpec(block.name, "memory", spec.shape, spec.dtype)
        return cls(spec, block, _view(spec, block), owner=True)

    @classmethod
    def of(cls, array: NDArray[Any]) -> Self:
        """A new array that holds a copy of ``array``."""
        shared = cls.create(array.shape, array.dtype)
        np.copyto(shared.array, array)
        return shared

    @classmethod
    def attach(cls, spec: ArraySpec) -> Self:
        """The array that another process owns. Raises OSError when it is gone."""
        if spec.kind == "file":
            mapped = np.memmap(spec.name, dtype=spec.dtype, mode="r+", shape=spec.shape)
            return cls(spec, None, np.asarray(mapped), owner=False)
        block = _attach(spec.name)
        return cls(spec, block, _view(spec, block), owner=False)

    @classmethod
    def _create_file(cls, spec: ArraySpec) -> Self:
        handle, name = tempfile.mkstemp(prefix=f"brainseg-{os.getpid()}-", suffix=".share")
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(handle, 0, max(1, spec.nbytes))
            else:
                os.ftruncate(handle, max(1, spec.nbytes))
        except OSError:
            Path(name).unlink()
            raise
        finally:
            os.close(handle)
        spec = ArraySpec(name, "file", spec.shape, spec.dtype)
        return cls(spec, None, np.asarray(np.memmap(name, dtype=spec.dtype, mode="r+", shape=spec.shape)), owner=True)

    def close(self) -> None:
        """Release the memory; the owner's side also removes the block. Safe to call twice."""
        self.array = np.empty(0, dtype=np.uint8)
        block, self._block = self._block, None
        if block is not None:
            _let_go(block)
        if self._owner:
            self._owner = False
            if block is not None:
                with contextlib.suppress(FileNotFoundError):
                    block.unlink()
            elif self.spec.kind == "file":
                with contextlib.suppress(OSError):  # Windows keeps a mapped file until its last view is gone
                    Path(self.spec.name).unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def sweep() -> int:
    """Remove shared files that processes killed outright left in the temporary folder. The number removed."""
    import psutil

    removed = 0
    for path in Path(tempfile.gettempdir()).glob("brainseg-*.share"):
        owner = path.name.split("-")[1]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            with contextlib.suppress(OSError):
                path.unlink()
                removed += 1
    return removed


def _fits(nbytes: int) -> bool:
    """False when Linux's shared memory has no room for so much (it would not say so: it kills on writing)."""
    if not sys.platform.startswith("linux"):
        return True
    return _DEV_SHM.is_dir() and shutil.disk_usage(_DEV_SHM).free > nbytes + _MARGIN


def _attach(name: str) -> SharedMemory:
    """Attach without becoming an owner: a tracker on this side would remove the block when this process ends."""
    if sys.version_info >= (3, 13):
        return SharedMemory(name=name, track=False)
    block = SharedMemory(name=name)
    if os.name == "posix":
        resource_tracker.unregister(block._name, "shared_memory")  # type: ignore[attr-defined]
    return block


def _view(spec: ArraySpec, block: SharedMemory) -> NDArray[Any]:
    # frombuffer keeps the buffer exported, so that no mapping can go while an array looks into it; ndarray(buffer=) does not
    if block.buf is None:
        raise ValueError("the block was closed")
    flat = np.frombuffer(block.buf, dtype=spec.dtype, count=prod(spec.shape))
    return flat.reshape(spec.shape)


_lingering: list[SharedMemory] = []


def _let_go(block: SharedMemory) -> None:
    """Unmap the block, and those before it whose last view has gone by now."""
    _lingering.append(block)
    for held in list(_lingering):
        with contextlib.suppress(BufferError):
            held.close()
            _lingering.remove(held)
