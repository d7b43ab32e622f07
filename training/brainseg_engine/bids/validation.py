"""Whether a folder is a BIDS dataset: by the validator of BIDS where it is installed, else by what every dataset must have."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from brainseg_engine.core import records
from brainseg_engine.core.errors import InputError

_log = logging.getLogger(__name__)
PROGRAM = "bids-validator-deno"
_PATIENCE_S = 3600
_SHOWN = 3


def require_valid(root: Path) -> None:
    """Raise InputError for errors of the dataset, the first ones named. Without the validator, only its description is read."""
    try:
        description = records.read_object(root / "dataset_description.json")
    except (OSError, ValueError) as e:
        why = e.strerror if isinstance(e, OSError) else e
        raise InputError(
            f"{root / 'dataset_description.json'} cannot be read ({why}), and every BIDS dataset has one. Name the dataset's "
            "root, or add --skip-bids-validation."
        ) from e
    if "BIDSVersion" not in description:
        raise InputError(
            f"{root / 'dataset_description.json'} tells no BIDSVersion. Add it, or --skip-bids-validation."
        )
    program = shutil.which(PROGRAM, path=str(Path(sys.executable).parent)) or shutil.which(PROGRAM)
    if program is None:
        _log.warning("%s is not installed, so only dataset_description.json was checked", PROGRAM)
        return
    errors = _errors(program, root)
    if errors:
        more = f" and {len(errors) - _SHOWN} more" if len(errors) > _SHOWN else ""
        raise InputError(
            f"{root} is no valid BIDS dataset: {'; '.join(errors[:_SHOWN])}{more}. Correct it, or add --skip-bids-validation."
        )


def _errors(program: str, root: Path) -> list[str]:
    try:
        done = subprocess.run(
            [program, str(root), "--format", "json"], capture_output=True, timeout=_PATIENCE_S, check=False
        )
        said: Any = json.loads(done.stdout.decode("utf-8", "replace"))
        issues = said["issues"]["issues"]
    except (OSError, ValueError, KeyError, TypeError, subprocess.TimeoutExpired) as e:
        _log.warning("%s gave no answer (%s), so only dataset_description.json was checked", PROGRAM, type(e).__name__)
        return []
    return [f"{i.get('code', 'error')} in {i.get('location', '?')}" for i in issues if i.get("severity") == "error"]
