"""Models in archives (``.zip``): unpacked into a private folder that goes afterwards, within limits, never outside of it."""

from __future__ import annotations

import tempfile
import zipfile
import zlib
from contextlib import ExitStack
from pathlib import Path, PurePosixPath

from brainseg_engine.core import names, paths, plain
from brainseg_engine.core.errors import CheckpointError, InputError
from brainseg_engine.io import archive


def is_packed(path: Path) -> bool:
    """True for a ``.zip``; torch's own files are archives too, and are not to be unpacked."""
    return plain.is_file(path) and path.suffix.lower() == ".zip"


def unpacked(path: Path, stack: ExitStack) -> Path:
    """The archive's files below a new folder, until ``stack`` ends. Raises CheckpointError where it is damaged or not to be
    trusted; nothing stays behind then."""
    home = Path(tempfile.gettempdir())
    paths.sweep(home)
    folder = stack.enter_context(paths.part_folder(home))
    try:
        with plain.opened(path) as file, zipfile.ZipFile(file) as packed:
            for member in archive.trusted(packed, path, home):
                if archive.why_not(member):
                    continue
                parts = PurePosixPath(member.filename.replace("\\", "/")).parts
                if any(part.startswith(("._", "__MACOSX")) for part in parts):
                    continue
                archive.write_member(packed, member, names.inside(folder, *parts), path)
    except InputError as e:
        raise CheckpointError(str(e)) from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as e:
        raise CheckpointError(f"{path} is damaged or was cut off: it cannot be unpacked. Fetch it again.") from e
    except ValueError as e:
        raise CheckpointError(f"{path} holds names that no system takes ({e}). It was not unpacked.") from e
    except OSError as e:
        raise CheckpointError(f"{path} cannot be unpacked: {e.strerror or e}.") from e
    return folder
