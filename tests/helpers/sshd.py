"""A real sshd on the loopback address of a network namespace of its own, with host keys and a client key made for it."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from helpers.orthanc import network_of_its_own, program

PORT = 2222
CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile {folder}/sshd.pid
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
SetEnv PATH={folder}/there:/usr/bin:/bin BRAINSEG_HOME={folder}/home_there OMP_NUM_THREADS=1
"""
CLIENT = """\
Host gpu1 stranger
  HostName 127.0.0.1
  Port {port}
  User {user}
  IdentityFile {folder}/client_key
  IdentitiesOnly yes
  IdentityAgent none
  UserKnownHostsFile {folder}/known_hosts
  GlobalKnownHostsFile /dev/null
Host gpu1
  HostKeyAlias gpu1
Host off
  HostName 127.0.0.1
  Port 2223
Host keyless
  HostName 127.0.0.1
  Port {port}
  User {user}
  IdentityFile {folder}/no_key
  IdentitiesOnly yes
  IdentityAgent none
  HostKeyAlias gpu1
  UserKnownHostsFile {folder}/known_hosts
"""


class Sshd:
    """Starts, is killed with all its connections, starts again. ``ssh``: what ``BRAINSEG_SSH`` has to be to reach it."""

    def __init__(self, folder: Path) -> None:
        server = program("sshd")
        if server is None or program("ssh-keygen") is None:
            pytest.skip("sshd is not installed: apt-get install openssh-server. It is NOT tested")
        self._server, self.folder = server, folder
        self._holder, self._enter = network_of_its_own()
        for name in ("host_key", "client_key"):
            subprocess.run(
                [str(program("ssh-keygen")), "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True
            )
        shutil.copy(folder / "client_key.pub", folder / "authorized_keys")
        (folder / "known_hosts").write_text("gpu1 " + (folder / "host_key.pub").read_text())
        words = {"port": PORT, "folder": folder, "user": getpass.getuser()}
        (folder / "sshd_config").write_text(CONFIG.format(**words))
        (folder / "ssh_config").write_text(CLIENT.format(**words))
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # where it wants to be while it asks who somebody is
        (folder / "there").mkdir()
        (folder / "home_there").mkdir()
        self.ssh = " ".join([*self._enter, "ssh", "-F", str(folder / "ssh_config")])
        self._process: subprocess.Popen[bytes] | None = None

    def install(self, *command: str, path: Path | None = None) -> None:
        """Have napari-brainseg there: this one, or any command in its place."""
        words = command or (sys.executable, "-m", "brainseg_engine")
        lines = ["#!/bin/sh", "echo 'a greeting of the shell there'" if not command else "",
                 f"export PYTHONPATH={os.pathsep.join(sys.path)}", f"exec {' '.join(words)} \"$@\""]  # fmt: skip
        script = path or self.folder / "there" / "napari-brainseg"
        script.write_text("\n".join(lines) + "\n")
        script.chmod(0o755)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        log = self.folder / "sshd.log"
        self._process = subprocess.Popen(
            [*self._enter, self._server, "-D", "-f", str(self.folder / "sshd_config"), "-E", str(log)],
            start_new_session=True,
        )
        until = time.monotonic() + 60
        while "Server listening" not in (log.read_text() if log.exists() else ""):
            assert self._process.poll() is None, log.read_text()
            assert time.monotonic() < until, "sshd does not come up"
            time.sleep(0.05)

    def cut(self, spared: str = "") -> None:
        """As if the machine lost its power: sshd, its connections and what they run are gone, but for command lines with that
        word in them."""
        assert self._process is not None
        for process in [*psutil.Process(self._process.pid).children(recursive=True), psutil.Process(self._process.pid)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                if not spared or spared not in process.cmdline():
                    process.kill()
        self._process.wait()
        (self.folder / "sshd.log").unlink()

    def running(self) -> list[str]:
        """The command lines of what its connections run."""
        assert self._process is not None
        found = []
        for process in psutil.Process(self._process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                found.append(" ".join(process.cmdline()))
        return found

    def close(self) -> None:
        """End all."""
        if self._process is not None and self._process.poll() is None:
            self.cut()
        self._holder.kill()
        self._holder.communicate()
