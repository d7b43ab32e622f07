"""A real Orthanc in a network namespace of its own: nothing outside it can reach it, whatever it listens on."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

USER, PASSWORD = "anna", "geheim-73"
PLUGINS = Path("/usr/share/orthanc/plugins")
PUMP = """
import select, socket, sys
ends = socket.socket(fileno=0), socket.create_connection(("127.0.0.1", int(sys.argv[1])))
while True:
    for end in select.select(ends, [], [])[0]:
        content = end.recv(65536)
        if not content:
            sys.exit()
        ends[end is ends[0]].sendall(content)
"""
"""Run within the namespace: what comes by its standard input, a socket, goes to a port there, and back."""


def program(name: str) -> str | None:
    """Where that program lies, those of the system among them."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def network_of_its_own() -> tuple[subprocess.Popen[bytes], list[str]]:
    """A process that holds a network namespace with a loopback address, and the command that starts another in it.

    Skips where that is not permitted.
    """
    for tool in ("ip", "ss", "nsenter"):
        if program(tool) is None:
            pytest.skip(f"{tool} is not installed (iproute2, util-linux): this is NOT tested")
    unshare = _unshare()
    # the namespace lives as long as this process, which needs no more than to be there
    holder = subprocess.Popen(
        [*unshare, "sh", "-c", f"{program('ip')} link set lo up && echo up && exec sleep 600"], stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"up\n"
    user = ["-U", "--preserve-credentials"] if "-rn" in unshare else []
    return holder, ["nsenter", "-t", str(holder.pid), "-n", *user]


def _unshare() -> list[str]:
    """The command that starts another in a network namespace of its own; skips where that is not permitted."""
    for options in (["-n"], ["-rn"]):
        try:
            done = subprocess.run(["unshare", *options, "true"], capture_output=True)
        except OSError:
            break
        if done.returncode == 0:
            return ["unshare", *options]
    pytest.skip("no network namespace can be made here (unshare -n is not permitted): this is NOT tested")


class Orthanc:
    """Starts, is killed, starts again over the same storage; commands are run in its namespace."""

    def __init__(self, folder: Path) -> None:
        if program("Orthanc") is None or not (PLUGINS / "libOrthancDicomWeb.so").exists():
            pytest.skip("Orthanc is not installed: apt-get install orthanc orthanc-dicomweb. It is NOT tested")
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir(parents=True)
        self._holder, self._enter = network_of_its_own()
        self._settings = {
            "Name": "TEST", "StorageDirectory": str(folder / "storage"), "IndexDirectory": str(folder / "index"),
            "HttpPort": 8042, "RemoteAccessAllowed": True, "AuthenticationEnabled": True, "RegisteredUsers": {USER: PASSWORD},
            "DicomAet": "ARCHIVE", "DicomPort": 4242, "DicomCheckCalledAet": True, "DicomAlwaysAllowEcho": False,
            "DicomAlwaysAllowStore": False, "DicomModalities": {"brainseg": ["BRAINSEG", "127.0.0.1", 11112]},
            "Plugins": [str(PLUGINS / "libOrthancDicomWeb.so")], "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
            "OverwriteInstances": False,
        }  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, **more: object) -> None:
        """Start it, and wait until it answers; ``more``: settings of its configuration, from now on."""
        self._settings |= more
        configuration = self.folder / "orthanc.json"
        configuration.write_text(json.dumps(self._settings))
        with (self.folder / "orthanc.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._enter, str(program("Orthanc")), str(configuration)], stdout=log, stderr=log
            )
        until = time.monotonic() + 60
        while not {8042, 4242} <= self.listening():
            assert self._process.poll() is None, (self.folder / "orthanc.log").read_text()[-2000:]
            assert time.monotonic() < until, "Orthanc does not come up"
            time.sleep(0.1)

    def kill(self) -> None:
        """As if its power failed."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End all."""
        if self._process is not None and self._process.poll() is None:
            self.kill()
        self._holder.kill()
        self._holder.communicate()

    def listening(self) -> set[int]:
        """The ports that anything in the namespace listens on."""
        done = subprocess.run([*self._enter, str(program("ss")), "-ltnH"], capture_output=True, text=True, check=True)
        return {int(line.split()[3].rsplit(":", 1)[1]) for line in done.stdout.splitlines()}

    def addresses(self, port: int) -> set[str]:
        """The addresses that are listened on at that port."""
        done = subprocess.run([*self._enter, str(program("ss")), "-ltnH"], capture_output=True, text=True, check=True)
        places = [line.split()[3].rsplit(":", 1) for line in done.stdout.splitlines()]
        return {address for address, at in places if at == str(port)}

    @contextmanager
    def forwarded(self, port: int) -> Iterator[int]:
        """A port on this side's loopback that leads to one there: for what cannot be run in the namespace, as this process."""
        pumps: list[subprocess.Popen[bytes]] = []

        def accept(listener: socket.socket) -> None:
            while True:
                try:
                    caller, _ = listener.accept()
                except OSError:
                    return
                with caller:
                    pumps.append(subprocess.Popen([*self._enter, sys.executable, "-c", PUMP, str(port)], stdin=caller))

        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=accept, args=(listener,))
            thread.start()
            try:
                yield listener.getsockname()[1]
            finally:
                listener.shutdown(socket.SHUT_RDWR)
                thread.join()
                for pump in pumps:
                    pump.kill()
                    pump.wait()

    def begin(self, *args: object, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start a command of ours in the namespace."""
        environment = {**os.environ, "BRAINSEG_HOME": str(self.home), "PYTHONPATH": os.pathsep.join(sys.path),
                       "BRAINSEG_PACS_WEB": PASSWORD, **(env or {})}  # fmt: skip
        command = [*self._enter, sys.executable, "-m", "brainseg_engine", *map(str, args)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)

    def call(self, *args: object, code: int = 0, env: Mapping[str, str] | None = None) -> str:
        """Run a command of ours in the namespace to its end; what it wrote."""
        process = self.begin(*args, env=env)
        out, err = process.communicate(timeout=240)
        assert process.returncode == code, f"{args}: {process.returncode}\n{out}\n{err}"
        return out if code == 0 else out + err
