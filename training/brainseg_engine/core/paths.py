"""Where things lie: the user's folder, and how a file is written so that no half of it is ever seen."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from brainseg_engine.core.errors import OutputError

PATIENCE_S = 1.0
"""How long a file that another program has open may hold up its replacement (on Windows)."""


PART = ".part-"
"""What the names of half-written files and folders begin with; which process writes it follows."""
OTHERS_STALE_S = 24 * 3600
"""From then on what a process wrote on another machine counts as left behind."""


def home() -> Path:
    """The user's folder, absolute: ``BRAINSEG_HOME``, else the platform's data folder. Not created here.

    Raises OutputError for a user without any folder.
    """
    given = os.environ.get("BRAINSEG_HOME", "")
    try:
        if given:
            return Path(given).expanduser().absolute()
        from platformdirs import user_data_path

        folder = user_data_path("napari-brainseg", appauthor=False)
    except (RuntimeError, KeyError, OSError):
        folder = Path("~")
    if not folder.is_absolute() or "~" in folder.parts:
        raise OutputError("This user has no home folder. Set BRAINSEG_HOME to a folder of your own.")
    return folder


def models_home() -> Path:
    """The folder of the user's own models, one ``<name>.safetensors`` each."""
    return home() / "models"


@contextmanager
def atomic(path: Path, *, private: bool = False, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` with the same suffixes; on success it replaces ``path``, else it is removed.

    ``private``: for its owner alone. ``durable`` False: it need not outlast a power failure (thousands of files that can be
    had again). Also on Ctrl-C: a reader sees the old file or the whole new one. A link at ``path`` is
    replaced, never followed.
    """
    suffix = "".join(path.suffixes[-2:]) if path.name.endswith(".gz") else path.suffix
    try:
        handle, part = part_file(path.parent, suffix[-30:])
        os.close(handle)
    except (OSError, ValueError) as e:
        raise OutputError(f"Cannot write {path}: {_why(e)}. Choose another place.") from e
    try:
        yield part
        if durable:
            _sync(part)
        if not private:
            umask = os.umask(0)
            os.umask(umask)
            part.chmod(0o666 & ~umask)  # mkstemp makes files private; results are ordinary files
        _replace(part, path)
    except OSError as e:
        raise OutputError(f"Cannot write {path}: {_why(e)}. Free some space or choose another place.") from e
    finally:
        part.unlink(missing_ok=True)


def part_file(folder: Path, suffix: str = "") -> tuple[int, Path]:
    """A handle and the path of a new temporary file in ``folder``; what a kill leaves of it, :func:`sweep` removes."""
    handle, name = tempfile.mkstemp(prefix=_mine(), suffix=suffix, dir=folder)
    return handle, Path(name)


@contextmanager
def part_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder in ``folder``, removed at the end; what a kill leaves of it, :func:`sweep` removes. Raises OSError."""
    part = Path(tempfile.mkdtemp(prefix=_mine(), dir=folder))
    try:
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)


def sweep(folder: Path) -> int:
    """Remove what killed processes left half-written in the folder; how many files and folders.

    What a living process writes stays, and what one on another machine may be writing.
    """
    removed = 0
    with contextlib.suppress(OSError):
        for part in list(folder.iterdir()):
            if part.name.startswith(PART) and _left_behind(part):
                with contextlib.suppress(OSError):
                    if part.is_dir() and not part.is_symlink():
                        shutil.rmtree(part)
                    else:
                        part.unlink()
                    removed += 1
    return removed


def private_folder(folder: Path) -> Path:
    """Make the folder, for its owner alone: what lies in it may tell who a patient is. Raises OutputError."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        if hasattr(os, "getuid") and (found := folder.stat()).st_uid == os.getuid() and found.st_mode & 0o077:
            folder.chmod(0o700)
    except FileExistsError as e:
        raise OutputError(f"Cannot write into {folder}: it is a file. Move it away.") from e
    except OSError as e:
        raise OutputError(f"Cannot write into {folder}: {_why(e)}. Choose another folder.") from e
    return folder


def check_writable(folder: Path, need_bytes: int = 0) -> None:
    """Make the folder and prove that it takes files and has room, before hours of work. Raises OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"0")
    except FileExistsError as e:
        raise OutputError(f"Cannot write into {folder}: it is a file. Choose another output folder.") from e
    except (OSError, ValueError) as e:
        raise OutputError(f"Cannot write into {folder}: {_why(e)}. Choose another output folder.") from e
    free = shutil.disk_usage(folder).free
    if free < need_bytes:
        raise OutputError(
            f"{folder} has {free / 2**20:.0f} MiB free, and {need_bytes / 2**20:.0f} MiB are needed. "
            "Free some space or choose another output folder."
        )


def _replace(part: Path, path: Path) -> None:
    """Windows refuses while somebody has ``path`` open, as one who reads it does for a moment: so try again."""
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            part.replace(path)
            return
        except PermissionError:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)


def _sync(path: Path) -> None:
    with path.open("rb+") as f:
        os.fsync(f.fileno())


def _why(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


@functools.cache
def _machine() -> str:
    """Which processes this one can see: those of this host, and of this container where there is one."""
    space = ""
    with contextlib.suppress(OSError):
        space = str(Path("/proc/self/ns/pid").stat().st_ino)
    return hashlib.sha256(f"{socket.gethostname()}|{space}".encode()).hexdigest()[:8]


def _mine() -> str:
    return f"{PART}{_machine()}-{os.getpid()}-"


def _left_behind(part: Path) -> bool:
    """Whether the process has gone that wrote it."""
    import psutil

    machine, _, rest = part.name.removeprefix(PART).partition("-")
    pid = rest.partition("-")[0]
    written = part.lstat().st_mtime
    if machine != _machine() or not pid.isdecimal() or len(pid) > 9:
        return time.time() - written > OTHERS_STALE_S
    try:
        return bool(psutil.Process(int(pid)).create_time() > written + 60)  # its number has gone to another process
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False
