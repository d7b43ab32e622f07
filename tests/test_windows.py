"""What Windows lacks or does otherwise, looked for in the source and put to the program on any system."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.small_study import make_study

from brainseg_engine.phantom import write_study

ROOT = Path(__file__).parents[1]
SHIPPED = [*(ROOT / "training").rglob("*.py"), *(ROOT / "napari_brainseg").rglob("*.py")]
CGROUP = "plan.py"
"""Reads numbers that only Linux has."""


def calls(path: Path) -> Iterator[tuple[ast.Call, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            func = node.func
            yield node, func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "")


def test_every_text_file_and_every_pipe_of_text_names_its_encoding():
    """Else it is the system's: cp1252, which has no letter of Polish or Japanese."""
    found = []
    for path in SHIPPED:
        for call, name in calls(path):
            named = {k.arg for k in call.keywords}
            mode = next(
                (a.value for a in call.args if isinstance(a, ast.Constant) and a.value in ("r", "w", "a", "x")), ""
            )
            is_text = name in ("read_text", "write_text") or (name == "open" and mode)
            piped = any(
                k.arg == "text" and isinstance(k.value, ast.Constant) and k.value.value is True for k in call.keywords
            )
            positional = name == "read_text" and call.args
            if (is_text or piped) and "encoding" not in named and not positional and path.name != CGROUP:
                found.append(f"{path.relative_to(ROOT)}:{call.lineno}")
    assert found == []


def test_every_table_keeps_its_line_ends():
    """A CSV that is written through a text file without ``newline`` has an empty line after each row there."""
    found = []
    for path in SHIPPED:
        if "import csv" not in path.read_text(encoding="utf-8"):
            continue
        for call, name in calls(path):
            text = name == "open" and any(isinstance(a, ast.Constant) and a.value in ("w", "a", "x") for a in call.args)
            if text and "newline" not in {k.arg for k in call.keywords}:
                found.append(f"{path.relative_to(ROOT)}:{call.lineno}")
    assert found == []


def test_processes_are_begun_anew_never_forked():
    for path in SHIPPED:
        for call, name in calls(path):
            words = [a.value for a in call.args if isinstance(a, ast.Constant)]
            assert name not in ("fork", "forkpty"), f"{path}:{call.lineno}"
            assert name != "get_context" or words == ["spawn"], f"{path}:{call.lineno}"


WITHOUT = """
import os, signal, sys
import torch, numpy, scipy.ndimage, nibabel, monai.networks.nets, torchio, skimage.filters, matplotlib.figure, psutil, filelock
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None
for name in ("getuid", "fork", "sched_getaffinity", "O_NOFOLLOW", "O_NONBLOCK", "killpg", "setsid", "mkfifo",
             "geteuid"):
    if hasattr(os, name):
        delattr(os, name)
for name in ("SIGKILL", "SIGHUP", "SIGUSR1", "SIGUSR2"):
    delattr(signal, name)
def refused(*_, **__):
    raise OSError(22, "A required privilege is not held by the client")
os.symlink = refused
real, tries = os.replace, {}
def busy(source, target):
    tries[target] = tries.get(target, 0) + 1
    if tries[target] % 2:  # a virus scanner looks at it
        raise PermissionError(13, "The process cannot access the file because it is being used by another process")
    return real(source, target)
os.replace = busy
from brainseg_engine.cli import main
sys.argv = ["napari-brainseg", *sys.argv[1:]]
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("command", ["predict", "inspect", "corrections", "export"])
def test_it_runs_without_what_windows_lacks(command, tiny_model, tmp_path):
    """No fcntl, no users, no links; files that are held open for a moment; an encoding of few letters on the terminal."""
    folder = tmp_path / "Müller Łódź"
    study = write_study(make_study(1, id="CON_1"), folder)
    mask, store = tmp_path / "out ü" / "CON_1_seg.nii.gz", tmp_path / "store ü"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUTF8": "0", "PYTHONIOENCODING": "cp1252:strict",
           "BRAINSEG_HOME": str(tmp_path / "home ü"), "OMP_NUM_THREADS": "1"}  # fmt: skip

    def run(*words: object) -> str:
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT, *map(str, words)], capture_output=True, env=env, timeout=280
        )
        said = (done.stdout + done.stderr).decode()  # the program speaks UTF-8 whatever the terminal is
        assert done.returncode == 0 and "Traceback" not in said, said
        return said

    predict = ("predict", folder, "--out", mask.parent, "--model", tiny_model, "--device", "cpu")
    if command == "predict":
        assert "CON_1" in run(*predict) and mask.is_file()
        assert "skipped" in run(*predict)
    elif command == "inspect":
        assert "CON_1" in run("inspect", study)
    elif command == "corrections":
        own = next(study.glob("*seg*.nii.gz"))
        run("corrections", "add", study, "--mask", own, "--in", store)
        assert store.is_dir()
    else:
        own = next(study.glob("*seg*.nii.gz"))
        run("export", own, "--to", "stl", "--out", tmp_path / "shapes ü")
        assert list((tmp_path / "shapes ü").rglob("*.stl"))
