"""The way to a host, step by step, so that what is wrong can be said in words: its name, its port, its certificate."""

from __future__ import annotations

import contextlib
import socket
import ssl
from pathlib import Path

from brainseg_engine.core.errors import InputError
from brainseg_engine.pacs import secrets
from brainseg_engine.pacs.connections import Connection

CONNECT_S = 10.0
ANSWER_S = 60.0
"""How long an answer may take, and the pause between two parts of it."""
_EXPIRED, _NOT_YET, _OTHER_HOST, _UNKNOWN = 10, 9, (62, 64), (2, 18, 19, 20, 21)
"""OpenSSL's codes (X509_V_ERR_…) of what is wrong with a certificate."""


def context(name: str, connection: Connection, *, serving: bool = False) -> ssl.SSLContext:
    """TLS as the connection asks for it: the PACS's certificate is always checked, by its own authority where one is named.

    ``serving``: for C-MOVE's receiver, whose caller proves who it is by the same authority. Raises InputError for a
    certificate file that cannot be used.
    """
    purpose = ssl.Purpose.CLIENT_AUTH if serving else ssl.Purpose.SERVER_AUTH
    ca = _present(name, connection.ca, "ca") if connection.ca else None
    try:
        made = ssl.create_default_context(purpose, cafile=ca)
    except (OSError, ssl.SSLError) as e:
        raise InputError(f"{name}: {connection.ca} holds no certificate in PEM form. Name the authority's file.") from e
    if serving and ca:
        made.verify_mode = ssl.CERT_REQUIRED
    if connection.certificate:
        certificate = _present(name, connection.certificate, "certificate")
        key = _present(name, connection.key, "key") if connection.key else None
        try:
            # a function: without a passphrase OpenSSL would ask for one on the terminal
            made.load_cert_chain(certificate, key, password=lambda: secrets.find(name, "key") or "")
        except (OSError, ssl.SSLError) as e:
            raise InputError(
                f"{name}: the certificate {connection.certificate} cannot be used with its key. Check that they belong "
                f"together, and the key's passphrase ({secrets.variable(name, 'key')})."
            ) from e
    return made


def reach(name: str, connection: Connection) -> None:
    """Connect and take leave: raises InputError, saying whether the name, the port or the certificate is wrong."""
    host, port = connection.host, connection.port
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as e:
        raise InputError(f"{name}: no host is called '{host}'. Check its name.") from e
    try:
        plain = socket.create_connection((host, port), CONNECT_S)
    except ConnectionRefusedError as e:
        raise InputError(
            f"{name}: {host} is there, but nothing answers on port {port}. Check the port, and whether the PACS runs."
        ) from e
    except OSError as e:
        raise InputError(
            f"{name}: {host} ({addresses[0][4][0]}) does not answer on port {port}. Check host and port, and whether a firewall "
            "is between."
        ) from e
    with plain:
        if connection.tls:
            _shake_hands(name, connection, plain)


def _shake_hands(name: str, connection: Connection, plain: socket.socket) -> None:
    try:
        with context(name, connection).wrap_socket(plain, server_hostname=connection.host) as wrapped:
            if wrapped.version() == "TLSv1.3":  # whether our own certificate was taken is known only now
                wrapped.settimeout(0.3)
                with contextlib.suppress(TimeoutError):
                    wrapped.recv(1)
    except ssl.SSLError as e:
        raise InputError(f"{name}: {tls_problem(e, connection.host)}") from e
    except OSError as e:
        raise InputError(
            f"{name}: {connection.host}:{connection.port} does not speak TLS. Check the port, or switch TLS off for it."
        ) from e


def tls_problem(error: ssl.SSLError, host: str) -> str:
    """What a failed handshake means, and what to do."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code == _EXPIRED:
            return "its certificate has expired. Ask who runs the PACS for a new one."
        if error.verify_code == _NOT_YET:
            return "its certificate is not valid yet. Check the clock of this computer."
        if error.verify_code in _OTHER_HOST:
            return f"its certificate is for another host than '{host}'. Check the host's name."
        if error.verify_code in _UNKNOWN:
            return "its certificate is signed by an authority that is not known here. Name the authority's file (ca)."
        return f"its certificate is not valid ({error.verify_message})."
    reason = (error.reason or str(error)).lower().replace("_", " ")
    if "certificate required" in reason or "alert bad certificate" in reason or "handshake failure" in reason or (
        "alert unknown ca" in reason or "certificate expired" in reason
    ):  # fmt: skip
        return "it asks for a certificate of ours, and did not take the one it was given (or none). Check certificate and key."
    if "wrong version number" in reason or "record layer failure" in reason or "unexpected eof" in reason:
        return "it does not speak TLS on this port. Check the port, or switch TLS off for it."
    return f"no encrypted connection came about ({reason}). Check the port and the certificates."


def _present(name: str, path: str, what: str) -> str:
    place = Path(path).expanduser()
    if not place.is_file():
        raise InputError(f"{name}: there is no file {path} ({what}). Check the path.")
    return str(place)
