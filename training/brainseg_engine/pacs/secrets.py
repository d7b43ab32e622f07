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
        keyring = require_keyring(name, what)
    except InputError:
        return None
    try:
        secret = keyring.get_password(SERVICE, f"{name}/{what}")
    except Exception:  # a locked or absent keyring, each of its own kind
        return None
    return str(secret) if secret else None


def keep(name: str, secret: str, what: What = "login") -> None:
    """Put it into the system's keyring ("" takes it out). Raises InputError where the system has none."""
    keyring = require_keyring(name, what)
    try:
        if secret:
            keyring.set_password(SERVICE, f"{name}/{what}", secret)
        elif keyring.get_password(SERVICE, f"{name}/{what}") is not None:
            keyring.delete_password(SERVICE, f"{name}/{what}")
    except Exception as e:  # a locked or absent keyring, each of its own kind
        raise InputError(
            f"The system's keyring took no secret ({type(e).__name__}). Unlock it, or set {variable(name, what)} instead."
        ) from e


def require_keyring(name: str, what: What = "login") -> Any:
    """A keyring of the system that encrypts. Raises InputError where there is none, naming the variable that takes its place."""
    keyring, instead = module("keyring"), variable(name, what)
    there = keyring.get_keyring()
    chained = list(there.backends) if isinstance(there, module("keyring.backends.chainer").ChainerBackend) else [there]
    encrypting = [b for b in chained if not _is_plain(b)]  # of several a chain would take any
    if encrypting and not isinstance(encrypting[0], module("keyring.backends.fail").Keyring):
        return encrypting[0]
    if chained and not encrypting:
        raise InputError(
            "The keyring set up here keeps secrets in a plain file, so none is put into it. Set up the system's own, or set the "
            f"environment variable {instead}."
        )
    raise InputError(
        f"This system has no keyring to keep a secret in. Set the environment variable {instead} before each start, or set up a "
        "keyring (on Linux a Secret Service, such as GNOME Keyring)."
    )


def _is_plain(backend: Any) -> bool:
    """Whether it writes secrets into a file that anybody can read."""
    name = f"{type(backend).__module__}.{type(backend).__name__}".lower()
    return "plaintext" in name or "keyrings.alt" in name
