"""What stands in the place of what identifies: the same for the same patient, and not to be undone without a secret key.

Pseudonyms, UIDs and the shift of dates are keyed hashes (HMAC-SHA256) of what they replace. Two exports made with one key
therefore fit together, a SEG of today and the images of last year; whoever lacks the key cannot find out what was replaced,
not even by trying every patient id of a hospital.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import uuid
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from brainseg_engine.core import plain
from brainseg_engine.core.errors import InputError, OutputError
from brainseg_engine.core.paths import atomic, home, private_folder

_Row = TypeVar("_Row")
KEY_NAME = "deidentify.key"
_KEY_BYTES = 32
_STANDARD = "1.2.840.10008."
"""What UIDs of the standard itself begin with (SOP classes, syntaxes): they name no instance."""
_LEAST_DAYS, _DAYS = 31, 1095


@dataclass(frozen=True)
class Pseudonyms:
    """Stands in for patients, studies, UIDs and dates, made from them with the secret ``key``."""

    key: bytes = field(repr=False)

    def patient(self, patient: str) -> str:
        """A name for a patient (any text that tells patients apart)."""
        return f"P-{self._digest('patient', patient).hex()[:10]}"

    def study(self, patient: str, study: str) -> str:
        """A name for one study of a patient, for files: it begins with the patient's."""
        return f"{self.patient(patient)}-{self._digest('study', study).hex()[:6]}"

    def uid(self, uid: str) -> str:
        """The UID in its place (of the kind made of a UUID); those of the standard itself stay."""
        if not uid or uid.startswith(_STANDARD):
            return uid
        return f"2.25.{uuid.UUID(bytes=self._digest('uid', uid)[:16], version=4).int}"

    def shift(self, patient: str) -> timedelta:
        """By how much a patient's dates and times are moved: a month to three years back, to the second."""
        raw = self._digest("shift", patient)
        days = _LEAST_DAYS + int.from_bytes(raw[:4], "big") % _DAYS
        return -timedelta(days=days, seconds=int.from_bytes(raw[4:8], "big") % 86400)

    def digest(self, text: str) -> str:
        """Something that is equal for equal texts, in place of a checksum that others may know."""
        return self._digest("digest", text).hex()

    def _digest(self, what: str, text: str) -> bytes:
        return hmac.digest(self.key, f"{what}\0{text}".encode("utf-8", "surrogatepass"), hashlib.sha256)


def patient_key(patient_id: str, name: str, birth_date: str, study_uid: str) -> str:
    """What tells a patient apart: the id, else name and birth date, else the study. Raises InputError where nothing does."""
    identity = patient_id.strip() or (f"{name.strip()}\0{birth_date.strip()}" if name.strip() else study_uid.strip())
    if not identity:
        raise InputError("The DICOM images tell neither a patient nor a study, so they cannot be given a pseudonym.")
    return identity


def hidden(row: _Row, pseudonyms: Pseudonyms | None) -> _Row:
    """The outcome of one study as a de-identified summary may hold it: without what names files and folders. ``row``: a
    dataclass with id, status, message and output."""
    if pseudonyms is None:
        return row
    outcome: Any = row
    id_ = pseudonyms.patient(outcome.id) if outcome.status == "failed" else outcome.id
    hidden_row: _Row = replace(outcome, id=id_, message="", output=Path(outcome.output).name)
    return hidden_row


def key_file() -> Path:
    """The user's own key, used where no other is named."""
    return home() / KEY_NAME


def load(path: Path | None = None) -> Pseudonyms:
    """Those of the key in that file (by default the user's own), which is made, for its owner alone, where it is not there.

    Raises InputError for a file that is no key, OutputError where none can be made.
    """
    path = path or key_file()
    try:
        if not path.exists():
            _make(path)
        written = plain.read(path, 1024).strip()
        key = bytes.fromhex(written.decode("ascii"))
    except (ValueError, OSError) as e:
        raise InputError(
            f"{path} holds no key for de-identification. Name another file, or one that is not there yet."
        ) from e
    if len(key) != _KEY_BYTES:
        raise InputError(f"{path} holds no key for de-identification. Name another file, or one that is not there yet.")
    return Pseudonyms(key)


def _make(path: Path) -> None:
    if path.parent == home():
        private_folder(path.parent)
    if not path.parent.is_dir():
        raise OutputError(f"There is no folder {path.parent} for the key. Name another place.")
    with atomic(path, private=True) as part:
        part.write_text(secrets.token_hex(_KEY_BYTES) + "\n", encoding="ascii")
    if os.name == "posix":
        path.chmod(0o600)
