"""The options of the commands that write what leaves the house."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from brainseg_engine.io.derived.pseudonyms import Pseudonyms
    from brainseg_engine.report.hidden import Deidentify

DeidentifyOption = Annotated[
    bool,
    typer.Option(
        "--deidentify",
        help="Nothing that is written, file names included, tells who it is of (DICOM PS3.15, Basic Profile).",
    ),
]
KeyOption = Annotated[
    Path | None,
    typer.Option(
        "--key", help="File of the secret behind pseudonyms, UIDs and dates, made when new; default: your own."
    ),
]
WithFaceOption = Annotated[
    bool,
    typer.Option("--with-face", help="With --deidentify: leave the head in images and pictures, not the brain alone."),
]


def deidentification(wanted: bool, key: Path | None, with_face: bool) -> Deidentify | None:
    """What the options ask for, None where they do not. Raises InputError for options that lack ``--deidentify``."""
    secret = pseudonyms(wanted, key, with_face)
    if secret is None:
        return None
    from brainseg_engine.inference.leaving import deidentify

    return deidentify(secret, face=with_face)


def pseudonyms(wanted: bool, key: Path | None, with_face: bool) -> Pseudonyms | None:
    """The pseudonyms of the key, None where none are asked for. Raises InputError for options that lack ``--deidentify``."""
    from brainseg_engine.core.errors import InputError
    from brainseg_engine.io.derived import pseudonyms

    if wanted:
        return pseudonyms.load(key)
    if key is not None or with_face:
        raise InputError("--key and --with-face say how to de-identify. Add --deidentify, or leave them out.")
    return None
