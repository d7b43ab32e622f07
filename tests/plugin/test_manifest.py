from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from npe2 import PluginManifest

import napari_brainseg

HERE = Path(napari_brainseg.__file__).parent


@pytest.fixture(scope="module")
def manifest() -> PluginManifest:
    return PluginManifest.from_file(HERE / "napari.yaml")


def test_the_manifest_is_valid_and_the_top_level_one_is_it(manifest):
    assert manifest.name == "napari-brainseg"
    link = HERE.parent / "napari.yaml"
    if link.parent.joinpath("pyproject.toml").exists():
        assert link.read_text() == (HERE / "napari.yaml").read_text()


def test_every_command_exists(manifest):
    for command in manifest.contributions.commands:
        module, _, name = command.python_name.partition(":")
        source = HERE.parent.joinpath(*module.split("."))
        file = source.with_suffix(".py") if source.with_suffix(".py").exists() else source / "__init__.py"
        assert f"def {name}(" in file.read_text(), f"{command.id} names {command.python_name}"


def test_the_panel_is_the_one_that_the_reader_opens(manifest):
    from napari_brainseg._reader import PANEL

    assert (manifest.name, manifest.contributions.widgets[0].display_name) == PANEL


def test_importing_the_plugin_loads_neither_torch_nor_qt():
    code = (
        "import sys, napari_brainseg, napari_brainseg._reader, napari_brainseg._writer, napari_brainseg._sample_data;"
        "bad = [m for m in ('torch', 'qtpy', 'PyQt6', 'PySide6', 'monai', 'napari', 'nibabel') if m in sys.modules];"
        "sys.exit(str(bad) if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_looking_at_a_foreign_file_loads_nothing_heavy(tmp_path):
    (tmp_path / "photo.tif").write_bytes(b"II")
    code = (
        "import sys; from napari_brainseg._reader import get_reader;"
        f"assert get_reader({str(tmp_path / 'photo.tif')!r}) is None; assert get_reader({str(tmp_path)!r}) is None;"
        "bad = [m for m in ('torch', 'qtpy', 'scipy', 'monai', 'napari') if m in sys.modules];"
        "sys.exit(str(bad) if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
