"""Where things lie: the user's folder, and how a file is written so that no half of it is ever seen."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from brainseg_engine.core.errors import OutputError

PATIENCE_S = 1.0
"""How long a file that another program has open may hold up its replacement (on Windows)."""


def home() -> Path:
    """The user's folder, absolute: ``BRAINSEG_HOME``, else the platform's data folder. Not created here."""
    if os.environ.get("BRAINSEG_HOME"):
        return Path(os.environ["BRAINSEG_HOME"]).expanduser().absolute()
    from platformdirs import user_data_path

    return user_data_path("napari-brainseg", appauthor=False)


def models_home() -> Path:
    """The folder of the user's own models, one ``<name>.safetensors`` each."""
    return home() / "models"


@contextmanager
def atomic(path: Path, *, private: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` with the same suffixes; on success it replaces ``path``, else it is removed.

    ``private``: for its owner alone. Also on Ctrl-C: a reader sees the old file or the whole new one.
    """
    suffix = "".join(path.suffixes[-2:]) if path.name.endswith(".gz") else path.suffix
    try:
        handle, name = tempfile.mkstemp(prefix=".part-", suffix=suffix, dir=path.parent)
        os.close(handle)
    except OSError as e:
        raise OutputError(f"Cannot write {path}: {e.strerror or e}. Choose another place.") from e
    part = Path(name)
    try:
        yield part
        _sync(part)
        if not private:
            umask = os.umask(0)
            os.umask(umask)
            part.chmod(0o666 & ~umask)  # mkstemp makes files private; results are ordinary files
        _replace(part, path)
    except OSError as e:
        raise OutputError(f"Cannot write {path}: {e.strerror or e}. Free some space or choose another place.") from e
    finally:
        part.unlink(missing_ok=True)


def check_writable(folder: Path, need_bytes: int = 0) -> None:
    """Make the folder and prove that it takes files and has room, before hours of work. Raises OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"0")
    except FileExistsError as e:
        raise OutputError(f"Cannot write into {folder}: it is a file. Choose another output folder.") from e
    except OSError as e:
        raise OutputError(f"Cannot write into {folder}: {e.strerror or e}. Choose another output folder.") from e
    import shutil

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
