"""The README's pictures can be made anew, and a picture that misses something is refused."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from brainseg_engine.core.palette import REGION_COLOURS

SCRIPT = Path(__file__).parents[2] / "docs" / "make_screenshots.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("make_screenshots", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("region", REGION_COLOURS)
@pytest.mark.parametrize("opacity", [0.3, 0.45, 1.0])
def test_a_region_s_colour_is_told_from_the_others_over_any_grey(script, region, opacity):
    grey = np.linspace(0, 255, 64 * 64).reshape(64, 64, 1).repeat(3, axis=2)
    for other, colour in REGION_COLOURS.items():
        picture = grey.copy()
        picture[10:20, 10:20] = (1 - opacity) * picture[10:20, 10:20] + opacity * 255 * np.array(colour)
        assert script.pixels(picture.astype(np.uint8), REGION_COLOURS[region]) == (100 if other is region else 0)


@pytest.mark.slow
@pytest.mark.window
@pytest.mark.timeout(1800)
def test_the_pictures_are_made_with_the_bundled_model(tmp_path):
    ended = subprocess.run(
        [sys.executable, str(SCRIPT), "--out", str(tmp_path), "--minutes", "1"],
        capture_output=True,
        text=True,
        env=os.environ,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    pictures = {
        "panel-2d.png", "panel-3d.png", "panel-correct.png", "panel-fine-tune.png", "panel-series.png", "panel-alignment.png",
        "panel-as-acquired.png", "export.png", "models.png", "worklist.png", "send.png", "canvases-four.png",
        "canvases-large.png",
    }  # fmt: skip
    assert {p.name for p in tmp_path.iterdir()} == pictures
