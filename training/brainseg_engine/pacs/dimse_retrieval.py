"""Images retrieved over DICOM: C-GET, or C-MOVE to a receiver of our own (PS3.4 C.4)."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from typing import Any

from brainseg_engine.core.errors import InputError
from brainseg_engine.core.events import CancelCheck
from brainseg_engine.pacs import services
from brainseg_engine.pacs.associations import Associations
from brainseg_engine.pacs.connections import Dimse
from brainseg_engine.pacs.needed import module
from brainseg_engine.pacs.reaching import CONNECT_S, context
from brainseg_engine.pacs.records import Receive


class Retrieval:
    """Retrieves what a dataset of C-GET or C-MOVE asks for."""

    def __init__(self, name: str, connection: Dimse, associations: Associations) -> None:
        self._name, self._connection, self._associations = name, connection, associations

    def get(self, asked: Any, taking: ImageReceiver) -> None:
        """By C-GET: the images come over the association that asks for them. Raises InputError."""
        pynetdicom = module("pynetdicom")
        roles = [pynetdicom.build_role(kind, scp_role=True) for kind in (*services.IMAGES, *services.DOCUMENTS)]
        handlers = [(pynetdicom.evt.EVT_C_STORE, taking.take)]
        with self._associations.once(
            (services.GET, services.PLAIN), *services.storage(), roles=roles, handlers=handlers
        ) as association:
            self._follow(association, association.send_c_get(asked, services.GET), taking, "C-GET")

    def move(self, asked: Any, taking: ImageReceiver) -> None:
        """By C-MOVE, to a receiver that is there for this call alone. Raises InputError."""
        pynetdicom = module("pynetdicom")
        connection = self._connection
        receiver = pynetdicom.AE(connection.own_title)
        receiver.require_called_aet = True
        for kind, syntaxes in services.storage():
            receiver.add_supported_context(kind, list(syntaxes))
        serving = Handshakes(context(self._name, connection, serving=True)) if connection.tls else None
        try:
            server = receiver.start_server(
                (connection.listen, connection.listen_port), block=False, ssl_context=serving,
                evt_handlers=[(pynetdicom.evt.EVT_C_STORE, taking.take)],
            )  # fmt: skip
        except OSError as e:
            raise InputError(
                f"{self._name}: images cannot be received at {connection.listen}:{connection.listen_port} "
                f"({e.strerror or e}). Choose another address or port (listen, listen_port), as the PACS knows it."
            ) from e
        try:
            with self._associations.once((services.MOVE, services.PLAIN)) as association:
                answers = association.send_c_move(asked, connection.own_title, services.MOVE)
                self._follow(association, answers, taking, "C-MOVE")
        except InputError as e:
            if serving is None or not serving.failure:
                raise
            raise InputError(
                f"{self._name} connected back to send the images, and no encrypted connection came about ({serving.failure}). "
                f"It must trust our certificate ({connection.certificate}), and its own must be signed by the authority "
                f"{connection.ca or '(ca)'}."
            ) from e
        finally:
            server.shutdown()
            server.server_close()

    def _follow(self, association: Any, answers: Iterator[Any], taking: ImageReceiver, service: str) -> None:
        """Hear the answers of C-GET or C-MOVE to their end; what was not sent is found out by who asked."""
        status = None
        for answer, _ in answers:
            status = answer.get("Status")
            if taking.stop:
                association.abort()
                return
        if status is None:
            taking.require_taken()
            raise self._associations.broken()
        if status == 0xA801:
            raise InputError(
                f"{self._name} does not know where to send to: it has no entry for the AE title "
                f"'{self._connection.own_title}'. Have it entered there with this computer's address and port "
                f'{self._connection.listen_port}, or set retrieve = "get".'
            )
        if status not in (0x0000, 0xB000, 0xFE00):
            raise InputError(
                f"{self._name} could not send the images ({service}: status {status:04X}H). Try again later."
            )


class Handshakes:
    """TLS of C-MOVE's receiver, as pynetdicom calls it: a silent caller holds nobody up, and why one failed is kept."""

    def __init__(self, encrypted: ssl.SSLContext) -> None:
        self._context = encrypted
        self.failure = ""

    def wrap_socket(self, caller: socket.socket, server_side: bool) -> ssl.SSLSocket:
        """That connection, encrypted. Raises OSError where the handshake fails."""
        wait = caller.gettimeout()
        caller.settimeout(CONNECT_S)
        try:
            wrapped = self._context.wrap_socket(caller, server_side=server_side)
        except OSError as e:
            self.failure = (getattr(e, "reason", "") or str(e) or type(e).__name__).lower().replace("_", " ")
            caller.close()
            raise
        wrapped.settimeout(wait)
        return wrapped


class ImageReceiver:
    """Takes the images that a PACS sends; an error of ours ends the sending and is raised where the retrieve was called."""

    def __init__(self, receive: Receive, cancelled: CancelCheck) -> None:
        self._receive, self._cancelled = receive, cancelled
        self._error: Exception | None = None

    @property
    def stop(self) -> bool:
        """Whether no more is wanted."""
        return self._error is not None or self._cancelled()

    def take(self, event: Any) -> int:
        """The handler of pynetdicom, in a thread of its own: a status for the PACS."""
        if self.stop:
            return 0xA700
        try:
            self._receive(event.encoded_dataset())
        except Exception as e:  # it is raised in the thread that waits
            self._error = e
            return 0xA700
        return 0x0000

    def require_taken(self) -> None:
        """Raise what went wrong in :meth:`take`."""
        if self._error is not None:
            raise self._error
