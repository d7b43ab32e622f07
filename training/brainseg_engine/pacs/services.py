"""DICOM's network services and objects by their UIDs, and how images are encoded (PS3.4, PS3.6)."""

from __future__ import annotations

from collections.abc import Sequence

FIND, GET, MOVE = (f"1.2.840.10008.5.1.4.1.2.2.{n}" for n in (1, 3, 2))  # Study Root, FIND, GET, MOVE
ECHO = "1.2.840.10008.1.1"
IMAGES = (
    "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.4.3", "1.2.840.10008.5.1.4.1.1.2",
    "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.7.4", "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7",
)  # fmt: skip
"""What is retrieved: MR (classic, enhanced, enhanced colour), CT, secondary captures, SEG, label map."""
DOCUMENTS = (
    "1.2.840.10008.5.1.4.1.1.481.3", "1.2.840.10008.5.1.4.1.1.88.34", "1.2.840.10008.5.1.4.1.1.88.33",
    "1.2.840.10008.5.1.4.1.1.88.22", "1.2.840.10008.5.1.4.1.1.104.1",
)  # fmt: skip
"""RT structure set, structured reports, encapsulated PDF."""
PLAIN = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")
COMPRESSED = (
    "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2",
)  # fmt: skip
"""Transfer syntaxes that can be read here; each is offered in a context of its own, so that the PACS need not convert."""


def storage() -> list[tuple[str, Sequence[str]]]:
    """Presentation contexts of what is retrieved; an association may have 128."""
    plain = [(kind, PLAIN) for kind in (*IMAGES, *DOCUMENTS)]
    return plain + [(kind, (syntax,)) for kind in IMAGES for syntax in COMPRESSED]
