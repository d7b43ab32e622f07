"""How machines are named: whatever a name holds, it is a host's for ssh, and a program's for the shell there."""

from __future__ import annotations

import subprocess
import sys

import pytest

from brainseg_engine.core import device
from brainseg_engine.core.errors import DeviceError
from brainseg_engine.remote import Place, is_remote


@pytest.mark.parametrize(
    "name", ["ssh:gpu1", "ssh:anna@gpu-1.example.org", "ssh:gpu1:/opt/env/bin/napari-brainseg", "ssh:a:~/b"]
)
def test_a_place_is_written_as_it_is_read(name):
    assert is_remote(name) and Place.of(name).device == name


@pytest.mark.parametrize("name", [
    "ssh:", "ssh:-oProxyCommand=x", "ssh:a b", "ssh:a;reboot", "ssh:$(x)", "ssh:a\nb", "cuda", "ssh:a:b", "ssh:a:/x'y",
    "ssh:a:/x y",
    "ssh:a:/x;y", "ssh:a:/x$y", "ssh:a:/x`y`",
])  # fmt: skip
def test_what_is_no_place_is_refused_in_words(name):
    with pytest.raises(DeviceError, match="Write"):
        Place.of(name)


@pytest.mark.skipif(sys.platform == "win32", reason="what is there has a POSIX shell")
def test_the_program_is_looked_for_where_pip_and_pipx_put_it(tmp_path):
    local = tmp_path / ".local/bin"
    local.mkdir(parents=True)

    def run(name: str, path: str = "/usr/bin:/bin") -> subprocess.CompletedProcess[str]:
        command = ["sh", "-c", Place.of(name).command("device serve")]
        return subprocess.run(command, env={"HOME": str(tmp_path), "PATH": path}, capture_output=True, text=True)

    assert run("ssh:gpu1").returncode == 127 and run("ssh:gpu1:~/x/napari-brainseg").returncode == 127
    for place in (local, tmp_path):
        (place / "napari-brainseg").write_text(f'#!/bin/sh\necho {place.name} "$@"\n')
        (place / "napari-brainseg").chmod(0o755)
    assert run("ssh:gpu1").stdout == "bin device serve\n"
    assert run("ssh:gpu1", f"{tmp_path}:/usr/bin:/bin").stdout == f"{tmp_path.name} device serve\n"
    assert run("ssh:gpu1:~/napari-brainseg").stdout == f"{tmp_path.name} device serve\n"


def test_a_command_that_computes_here_alone_says_so():
    with pytest.raises(DeviceError, match="another machine, for 'predict', 'finetune' and the window"):
        device.choose("ssh:gpu1")
