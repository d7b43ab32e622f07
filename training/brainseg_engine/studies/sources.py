"""Which studies a list of paths stands for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from brainseg_engine.core.errors import InputError
from brainseg_engine.io import decathlon, find_studies
from brainseg_engine.studies.incoming import is_export


def expand(sources: Sequence[Path]) -> list[Path]:
    """Studies as given (folders, DICOM archives, images of four channels); a data folder stands for the studies in it, and
    any other file among folders (``data/*``) for nothing.

    Raises InputError for what is not there.
    """
    for source in sources:
        try:
            source.stat()
        except FileNotFoundError:
            raise InputError(f"There is no folder {source}.") from None
        except (OSError, ValueError) as e:
            why = (e.strerror if isinstance(e, OSError) else None) or e
            raise InputError(f"{source} cannot be looked at: {why}. Check the path.") from e
    given = [s for s in sources if s.is_dir() or decathlon.is_case(s) or is_export(s)]
    if not given:
        raise InputError(f"{sources[0]} is a file; give the folder that holds the study's four series.")
    found = [study for source in given for study in (source.is_dir() and find_studies(source)) or [source]]
    return list({study.resolve(): study for study in found}.values())
