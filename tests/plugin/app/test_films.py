"""Films by the button *Picture…*, in a real window."""

from __future__ import annotations

import pytest
from helpers.cases import write
from helpers.small_study import make_study
from PIL import Image
from qtpy.QtWidgets import QFileDialog

from napari_brainseg.features.view.section import PICTURES

pytestmark = [pytest.mark.window, pytest.mark.usefixtures("fake_worker")]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sweep", "turn"])
def test_a_film_by_the_button(window, tmp_path, monkeypatch, kind):
    window.open(monkeypatch, write(make_study(id="A"), tmp_path))
    window.wait(lambda: window.session.measures is not None)
    words, _ = PICTURES[kind]
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "film"), f"{words} (*.gif *.mp4)"))
    window.press("picture")
    window.wait(lambda: (tmp_path / "film.gif").exists())
    with Image.open(tmp_path / "film.gif") as film:
        assert film.n_frames > 5
    window.wait(lambda: "Saved" in window.session.message.text)
