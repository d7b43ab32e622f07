"""How a machine elsewhere is named: ``ssh:HOST`` or ``ssh:HOST:PROGRAM``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from brainseg_engine.core.device import REMOTE
from brainseg_engine.core.errors import DeviceError

_HOST = re.compile(r"(?!-)[\w.@%-]{1,255}", re.ASCII)
_PROGRAM = re.compile(r"(?:~/|/)[\w./+@-]{1,1000}", re.ASCII)
# Wherever pip, pipx and uv put it. No apostrophe in it: it stands between two, for whatever shell the user has there.
_SEEK = 'p=$(command -v napari-brainseg || command -v "$HOME/.local/bin/napari-brainseg") || exit 127; exec "$p"'


def is_remote(device: str) -> bool:
    """Whether that device is on a machine elsewhere."""
    return device.startswith(REMOTE)


@dataclass(frozen=True)
class Place:
    """``host`` as ssh knows it (a name, ``user@name``, or an entry of its configuration); ``program``: where napari-brainseg
    lies there, "" for wherever its shell finds it."""

    host: str
    program: str = ""

    @classmethod
    def of(cls, device: str) -> Place:
        """The machine of such a device. Raises DeviceError."""
        host, _, program = device.removeprefix(REMOTE).strip().partition(":")
        if not is_remote(device) or not _HOST.fullmatch(host):
            raise DeviceError(
                f"'{device}' names no machine. Write ssh:HOST, with a host as your ssh knows it: a name, user@name, or an "
                "entry of ~/.ssh/config (which may also hold a port)."
            )
        if program and not _PROGRAM.fullmatch(program):
            raise DeviceError(
                f"'{program}' cannot be where napari-brainseg lies on {host}. Write the whole path without blanks, like "
                f"ssh:{host}:/opt/env/bin/napari-brainseg."
            )
        return cls(host, program)

    @property
    def device(self) -> str:
        """As it is written."""
        return f"{REMOTE}{self.host}" + (f":{self.program}" if self.program else "")

    def command(self, words: str) -> str:
        """The command line that runs napari-brainseg there with those words, for any shell."""
        if not self.program:
            return f"exec sh -c '{_SEEK} {words}'"
        program = self.program.replace("~/", "$HOME/", 1) if self.program.startswith("~/") else self.program
        return f"exec sh -c '[ -x {program} ] || exit 127; exec {program} {words}'"
