"""A part of a cohort: which studies one of several processes, jobs or hosts takes."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass

from brainseg_engine.core.errors import InputError


@dataclass(frozen=True)
class Shard:
    """Part ``number`` (from 1) of ``of``. A study's id alone decides where it belongs: what else is in the cohort, and the
    order of the list, move nothing."""

    number: int = 1
    of: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """``2/8``. Raises InputError."""
        match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text.strip())
        number, of = (int(match[1]), int(match[2])) if match else (0, 0)
        if not 1 <= number <= of:
            raise InputError(
                f"There is no shard '{text}'. Give the part and how many there are, counted from 1: 1/8, 2/8, … 8/8."
            )
        return cls(number, of)

    def holds(self, id_: str) -> bool:
        """Whether the study of that id belongs to this part."""
        digest = hashlib.sha256(os.fsencode(id_)).digest()
        return int.from_bytes(digest[:8], "big") % self.of == self.number - 1

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"
