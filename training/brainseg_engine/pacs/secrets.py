"""Passwords, tokens and passphrases: in the system's keyring, or in an environment variable; never in a file of ours."""

from __future__ import annotations

import os
from typing import Any, Literal

from brainseg_engine.core.errors import InputError
from brainseg_engine.pacs.needed import module

SERVICE = "napari-brainseg"
What = Literal["login", "key"]
"""The password or token of a connection, or the passphrase of its certificate's key."""


def variable(name: str, what: What = "login") -> str:
    """The environment variable that may hold the secret of a connection."""
    shown = name.upper().replace("-", "_")
    return f"BRAINSEG_PACS_{shown}" + ("_KEY" if what == "key" else "")


def find(name: str, what: What = "login") -> str | None:
    """The secret, or None where there is none."""
    given = os.environ.get(variable(name, what))
    if given:
        return given
    try:
        keyring = _keyring()
    except InputError:
        return None
    try:
        secret = keyring.get_password(SERVICE, f"{name}/{what}")
    except Exception:  # a locked or absent keyring, each of its own kind
        return None
    return str(secret) if secret else None


def keep(name: str, secret: str, what: What = "login") -> None:
    """Put it into the system's keyring ("" takes it out). Raises InputError where the system has none."""
    keyring = _keyring()
    try:
        if secret:
            keyring.set_password(SERVICE, f"{name}/{what}", secret)
        elif keyring.get_password(SERVICE, f"{name}/{what}") is not None:
            keyring.delete_password(SERVICE, f"{name}/{what}")
    except Exception as e:  # a locked or absent keyring, each of its own kind
        raise InputError(
            f"The system's keyring took no secret ({type(e).__name__}). Unlock it, or set {variable(name, what)} instead."
        ) from e


def _keyring() -> Any:
    """The keyring module over a keyring that encrypts. Raises InputError."""
    keyring = module("keyring")
    backend = type(keyring.get_keyring())
    backend_name = f"{backend.__module__}.{backend.__name__}".lower()
    # these would write the secret into a file that anybody can read
    if "plaintext" in backend_name or "keyrings.alt" in backend_name:
        raise InputError(
            "The keyring set up here keeps secrets in a plain file, so none is put into it. Set up the system's own, or "
            "set an environment variable (BRAINSEG_PACS_<NAME>)."
        )
    return keyring
