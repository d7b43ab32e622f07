"""Associations with a PACS over DICOM (PS3.8): made, kept open, and in words why one cannot be made."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from brainseg_engine.core.errors import BrainsegError, InputError
from brainseg_engine.pacs.connections import Dimse
from brainseg_engine.pacs.needed import module
from brainseg_engine.pacs.reaching import ANSWER_S, CONNECT_S, context, reach

ATTEMPTS = 4
"""A PACS that refuses and closes the connection in one is now and then not heard (2 in 100 refusals of Orthanc)."""
_AT_ONCE_S = 2.0


class Associations:
    """The associations of one connection: kept open between calls, or for one block alone."""

    def __init__(self, name: str, connection: Dimse) -> None:
        self._name, self._connection = name, connection
        self._tls = (context(name, connection), connection.host) if connection.tls else None
        self._reached = False
        self._open: dict[tuple[tuple[str, tuple[str, ...]], ...], Any] = {}

    def close(self) -> None:
        """Release the associations that are kept open."""
        while self._open:
            _release(self._open.popitem()[1])

    @contextmanager
    def kept(self, *contexts: tuple[str, Sequence[str]]) -> Iterator[Any]:
        """An association over these presentation contexts, kept open for the next call; dropped where the block fails.

        Raises InputError.
        """
        key = tuple((kind, tuple(syntaxes)) for kind, syntaxes in contexts)
        association = self._open.pop(key, None)
        if association is None or not association.is_established:
            association = self._associate(contexts)
        try:
            yield association
        except BaseException:
            association.abort()
            raise
        self._open[key] = association

    @contextmanager
    def once(self, *contexts: tuple[str, Sequence[str]], roles: Sequence[Any] = (), handlers: Sequence[Any] = ()
    ) -> Iterator[Any]:  # fmt: skip
        """An association for this block alone, with these roles and handlers of events. Raises InputError."""
        association = self._associate(contexts, roles, handlers)
        try:
            yield association
        finally:
            _release(association)

    def _associate(
        self, contexts: Sequence[tuple[str, Sequence[str]]], roles: Sequence[Any] = (), handlers: Sequence[Any] = ()
    ) -> Any:
        pynetdicom, connection = module("pynetdicom"), self._connection
        ae = pynetdicom.AE(connection.own_title)
        ae.connection_timeout = ae.acse_timeout = CONNECT_S
        ae.network_timeout = ae.dimse_timeout = ANSWER_S
        if not self._reached:  # what is wrong with the way is said in words; pynetdicom says nothing of it
            reach(self._name, connection)
            self._reached = True
        wanted = [pynetdicom.presentation.build_context(kind, list(syntaxes)) for kind, syntaxes in contexts]
        for _ in range(ATTEMPTS):
            began = time.monotonic()
            association = ae.associate(
                connection.host, connection.port, wanted, ae_title=connection.title, ext_neg=list(roles), tls_args=self._tls,
                evt_handlers=list(handlers),
            )  # fmt: skip
            told = association.is_established or association.is_rejected or association.rejected_contexts
            if told or time.monotonic() - began > _AT_ONCE_S:
                break
        if not association.is_established:
            raise self._not_associated(association)
        return association

    def _not_associated(self, association: Any) -> BrainsegError:
        name, connection = self._name, self._connection
        if association.is_rejected:
            rejection = association.acceptor.primitive
            if rejection.result_source == 1 and rejection.diagnostic == 7:
                return InputError(
                    f"{name}: the PACS does not go by the AE title '{connection.title}'. Check title: capitals count."
                )
            if rejection.result_source == 1 and rejection.diagnostic == 3:
                return InputError(
                    f"{name}: the PACS does not know our AE title '{connection.own_title}'. Have it entered there, with this "
                    "computer's address, or set own_title to one that it knows."
                )
            if rejection.result_source == 3:
                return InputError(f"{name} is too busy for one more connection. Try again later.")
            return InputError(
                f"{name} rejected the connection. Check the AE titles: '{connection.title}' there, "
                f"'{connection.own_title}' here."
            )
        try:
            reach(name, connection)
        except BrainsegError as e:
            return e
        if association.is_aborted and association.rejected_contexts:
            return InputError(f"{name} does not offer this service to '{connection.own_title}'. Ask who runs the PACS.")
        return InputError(
            f"{name}: what answers at {connection.host}:{connection.port} does not speak DICOM"
            f"{' over TLS' if connection.tls else ', or asks for TLS'}. Check the port."
        )

    def broken(self) -> InputError:
        """What to say of a connection that ended in the middle."""
        try:
            reach(self._name, self._connection)
        except InputError as e:
            return e
        return InputError(
            f"{self._name}: {self._connection.host}:{self._connection.port} broke off, or took longer than {ANSWER_S:.0f} s to "
            "answer. Try again; what came is kept."
        )


def _release(association: Any) -> None:
    if association.is_established:
        association.release()
