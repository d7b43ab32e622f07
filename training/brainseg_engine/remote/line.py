"""One ``ssh`` process with napari-brainseg at its far end."""

from __future__ import annotations

import contextlib
import os
import queue
import shlex
import shutil
import subprocess
import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import IO, Any

from numpy.typing import NDArray

from brainseg_engine.core.errors import BrainsegError, Cancelled, DeviceError
from brainseg_engine.core.events import CancelCheck, never
from brainseg_engine.core.records import parse_json
from brainseg_engine.remote import parcels
from brainseg_engine.remote.parcels import Parcel, Sent
from brainseg_engine.remote.place import Place

WIRE = 1
"""What both sides speak."""
HELLO = b"napari-brainseg-hello "
"""What the first line begins with; before it whatever the shell there prints is passed over."""
CONNECT_S = 15
_STARTS_S = 60.0  # Python's own start, from a slow network disk
_BEAT_S = 10.0
_LOOK_S = 0.1
_MOST_NOISE = 2000
_OF_SSH = ("connection", "timeout", "timed out", "broken pipe", "not a parcel")
OPTIONS = (
    "-T", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_S}", "-o", "ServerAliveInterval=10",
    "-o", "ServerAliveCountMax=3", "-o", "ClearAllForwardings=yes", "-o", "ForwardAgent=no", "-o", "ForwardX11=no",
    "-o", "Compression=no", "-o", "RequestTTY=no",
)  # fmt: skip
"""Asks nothing, forwards nothing, and notices within half a minute that the line is dead. The arrays are compressed already."""


class LineBroken(BrainsegError):
    """The connection ended, or there is none now; it may be there again in a while."""

    exit_code = DeviceError.exit_code


class SshLine:
    """An open connection. Raises DeviceError with a remedy where it cannot be, LineBroken where the network is down."""

    def __init__(self, place: Place, words: str = "device serve", cancelled: CancelCheck = never) -> None:
        self.place = place
        self.known: set[str] = set()
        """Digests of the arrays that the other side has."""
        self._heard: queue.Queue[Parcel | None] = queue.Queue()
        self._errors: deque[str] = deque(maxlen=100)
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._popen = _started(place, words)
        assert self._popen.stdin is not None
        self._in: IO[bytes] = self._popen.stdin
        self._threads = [
            threading.Thread(target=work, name=f"brainseg-line-{n}", daemon=True)
            for n, work in enumerate((self._read, self._drain))
        ]
        for thread in self._threads:
            thread.start()
        try:
            self.hello = self._greeted(cancelled)
        except BaseException:
            self.close()
            raise
        threading.Thread(target=self._beat, name="brainseg-line-beat", daemon=True).start()

    def send(
        self,
        fields: Mapping[str, Any],
        arrays: Mapping[str, NDArray[Any]] | None = None,
        sent: Sent = lambda _: None,
        cancelled: CancelCheck = never,
    ) -> None:
        """Raises LineBroken; Cancelled in the middle, where the line is closed."""

        def gone(part: float) -> None:
            if cancelled():
                raise Cancelled
            sent(part)

        try:
            with self._lock:
                known = parcels.write(self._in, fields, arrays, self.known, gone)
        except (OSError, ValueError) as e:
            raise self.broken() from e
        except Cancelled:
            self.close()
            raise
        if arrays:
            self.known = known

    def hear(self, seconds: float) -> Parcel | None:
        """The next parcel, None where none came in that time. Raises LineBroken at the end."""
        try:
            parcel = self._heard.get(timeout=seconds)
        except queue.Empty:
            return None
        if parcel is None:
            self._heard.put(None)
            raise self.broken()
        return parcel

    def answer(self, cancelled: CancelCheck = never) -> Parcel:
        """The next parcel, however long it takes. Raises LineBroken, Cancelled."""
        while (parcel := self.hear(_LOOK_S)) is None:
            if cancelled():
                raise Cancelled
        return parcel

    def close(self) -> None:
        """End it: the other side leaves as its input ends."""
        self._closed.set()
        with contextlib.suppress(OSError, ValueError):
            self._in.close()
        try:
            self._popen.wait(0.5)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        for thread in self._threads:
            thread.join(1.0)

    def broken(self) -> LineBroken:
        """Why it ended, in words."""
        self.close()
        return LineBroken(f"The connection to {self.place.host} broke{_quoted(self._errors)}.")

    def _greeted(self, cancelled: CancelCheck) -> Mapping[str, Any]:
        until = time.monotonic() + CONNECT_S + _STARTS_S
        while True:
            if cancelled():
                raise Cancelled
            try:
                parcel = self.hear(_LOOK_S)
            except LineBroken:
                raise why_not(self.place, self._popen.returncode, "".join(self._errors)) from None
            if parcel is not None:
                break
            if time.monotonic() > until:
                raise LineBroken(f"napari-brainseg on {self.place.host} does not answer. Is that machine overloaded?")
        check_versions(parcel.fields, self.place)
        self.send({"do": "hello", **mine()})
        return parcel.fields

    def _read(self) -> None:
        out = self._popen.stdout
        assert out is not None
        with out:
            try:
                for _ in range(_MOST_NOISE):
                    line = out.readline(parcels.MOST_LINE)
                    if line.startswith(HELLO):
                        self._heard.put(Parcel(parse_json(line.removeprefix(HELLO))))
                        break
                    if not line:
                        raise EOFError
                while True:
                    self._heard.put(parcels.read(out))
            except (EOFError, OSError, ValueError) as e:
                if isinstance(e, parcels.Damaged):
                    self._errors.append(f"{e}\n")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(2.0)
        self._heard.put(None)

    def _drain(self) -> None:
        err = self._popen.stderr
        assert err is not None
        with err:
            for line in err:
                self._errors.append(line[:2000].decode("utf-8", "replace"))

    def _beat(self) -> None:
        """The other side leaves where it hears nothing: a line that was cut gives no other sign there."""
        while not self._closed.wait(_BEAT_S):
            with contextlib.suppress(LineBroken):
                if self._lock.acquire(blocking=False):  # else something is being sent, which is as good
                    self._lock.release()
                    self.send({"do": "beat"})


def mine() -> dict[str, Any]:
    """What this side says of itself."""
    from importlib.metadata import version

    return {"version": version("napari-brainseg"), "wire": WIRE}


def check_versions(theirs: Mapping[str, Any], place: Place) -> None:
    """Raises DeviceError unless both sides are of one version: another one may prepare images differently."""
    here = mine()
    if {name: theirs.get(name) for name in here} != here:
        raise DeviceError(
            f"{place.host} has napari-brainseg {theirs.get('version')}, here is {here['version']}: their answers may differ. "
            f"Install the same on both: pip install 'napari-brainseg=={here['version']}'."
        )


def _started(place: Place, words: str) -> subprocess.Popen[bytes]:
    program = shlex.split(os.environ.get("BRAINSEG_SSH", "") or "ssh", posix=os.name == "posix")
    if shutil.which(program[0]) is None:
        raise DeviceError(f"There is no program '{program[0]}' on this machine. Install OpenSSH's client.")
    try:
        return subprocess.Popen(
            [*program, *OPTIONS, "--", place.host, place.command(words)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0), env={**os.environ, "LC_ALL": "C"},
        )  # fmt: skip
    except OSError as e:
        raise DeviceError(f"'{program[0]}' does not start: {e.strerror or e}.") from e


def _quoted(errors: deque[str]) -> str:
    """What ssh itself said last; the libraries of the worker there write to the same place."""
    own = [line.strip() for line in errors if any(sign in line.lower() for sign in _OF_SSH)]
    return f" ({own[-1][:200]})" if own else ""


def why_not(place: Place, code: int | None, errors: str) -> BrainsegError:
    """Why there is no connection, and what to do about it, from what ssh wrote."""
    host = place.host
    for sign, sentence in (
        ("REMOTE HOST IDENTIFICATION HAS CHANGED",
         f"The host key of {host} is another one than before: it was installed anew, or somebody stands in between. Ask who "
         f"runs it; if all is well, ssh-keygen -R {host} forgets the old key."),
        ("Host key verification failed",
         f"The host key of {host} is not known yet. Connect once by hand and compare it: ssh {host}"),
        ("Permission denied",
         f"{host} accepts none of your keys. Copy one there with ssh-copy-id {host}; a key with a passphrase has to be in your "
         "agent (ssh-add). Passwords are not used."),
        ("Too many authentication failures",
         f"{host} was offered too many keys. Name the right one in ~/.ssh/config: IdentityFile and IdentitiesOnly yes."),
        ("Bad owner or permissions", f"ssh refuses its configuration: {_last(errors)}"),
        ("Bad configuration option", f"ssh refuses its configuration: {_last(errors)}"),
    ):  # fmt: skip
        if sign in errors:
            return DeviceError(sentence)
    if code == 255:
        words = "There is no host" if "resolve hostname" in errors else "No connection to"
        return LineBroken(
            f"{words} {host} ({_last(errors)}). Is its name right, is it on, is the network up? Try: ssh {host}"
        )
    if code == 127:
        where = f"at {place.program}" if place.program else "where its shell looks for programs"
        return DeviceError(
            f"There is no napari-brainseg on {host}, {where}. Install it there (pipx install napari-brainseg), or say where it "
            f"lies: ssh:{host}:/path/to/bin/napari-brainseg."
        )
    if "No such command" in errors or "Usage:" in errors:
        return DeviceError(
            f"napari-brainseg on {host} is an older version, which cannot compute for others. Install {mine()['version']} there."
        )
    return DeviceError(f"napari-brainseg on {host} ended with code {code}: {_last(errors) or 'it says nothing.'}")


def _last(errors: str) -> str:
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "ssh says nothing"
