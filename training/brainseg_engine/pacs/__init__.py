"""The PACS that studies come from and results go to: DICOMweb and DIMSE clients, retrieval, the outbox, the audit file.

Needs the extra ``pacs``. Nothing here listens on a port, but for C-MOVE's receiver while a retrieve runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from brainseg_engine.pacs.connections import Connection, DicomWeb, Dimse, find
from brainseg_engine.pacs.records import Pacs, Query, SeriesRow, StudyRow

__all__ = ["Connection", "DicomWeb", "Dimse", "Pacs", "Query", "SeriesRow", "StudyRow", "connected"]


@contextmanager
def connected(name: str, connection: Connection | None = None) -> Iterator[Pacs]:
    """The PACS of that name, ready to be spoken to (by ``connection``, else as the user's file says).

    Raises InputError for an unknown name, missing libraries, and certificate files that cannot be used.
    """
    from brainseg_engine.pacs.dimse import DimsePacs
    from brainseg_engine.pacs.web import WebPacs

    meant = connection or find(name)
    pacs: Pacs = WebPacs(name, meant) if isinstance(meant, DicomWeb) else DimsePacs(name, meant)
    try:
        yield pacs
    finally:
        pacs.close()
