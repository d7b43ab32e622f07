"""Make the pictures of the reading layouts: one canvas, four, and one large with three small ones, on usual screens (1366×768,
1920×1080, and 1366×768 at twice the scale), dark and light.

Run by ``make screenshots``. It presses the panel's own buttons, and fails (exit code 1, one sentence) when the window does not
fit the screen or a canvas is blank. The pictures show the phantom only, in few colours, so that they are small.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

SCREENS = ((1366, 768, 1), (1920, 1080, 1), (1366, 768, 2))
"""Width and height of the window, and the scale factor of the screen."""
LAYOUTS = {(1366, 768, 1): ("one", "four", "large"), (1920, 1080, 1): ("four",), (1366, 768, 2): ("four",)}
THEMES = ("dark", "light")
COLOURS = 256


def main() -> int:
    """Write the pictures; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "images")
    parser.add_argument("--scale", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.scale is not None:
        return at_scale(given.scale, given.out)
    given.out.mkdir(parents=True, exist_ok=True)
    for scale in sorted({scale for _, _, scale in SCREENS}):  # Qt asks for it once, as it starts
        env = os.environ | {"QT_SCALE_FACTOR": str(scale)}
        command = [sys.executable, __file__, "--out", str(given.out), "--scale", str(scale)]
        code = subprocess.run(command, env=env).returncode
        if code:
            return code
    return 0


def at_scale(scale: int, out: Path) -> int:
    """The pictures of the screens of that scale factor; the exit code."""
    import make_screenshots as pictures
    import napari

    with tempfile.TemporaryDirectory(prefix="layouts-") as home:
        os.environ["BRAINSEG_HOME"] = home
        viewer = napari.Viewer(title="napari-brainseg", show=True)
        try:
            make(viewer, scale, out)
        except pictures.Failure as e:
            print(f"reading_layouts: {e}", file=sys.stderr)
            return 1
        finally:
            viewer.close()
    return 0


def make(viewer: Any, scale: int, out: Path) -> None:
    """Open and segment the sample, and take the pictures. Raises Failure."""
    from make_screenshots import segmented_sample

    panel = segmented_sample(viewer)
    for width, height, of in SCREENS:
        for layout in LAYOUTS[width, height, of] if of == scale else ():
            arrange(viewer, panel, width, height, layout)
            for theme in THEMES:
                viewer.theme = theme
                name = f"reading-{width}x{height}{f'-{of}x' if of > 1 else ''}-{layout}-{theme}.png"
                save(viewer, (width * of, height * of), out / name)


def arrange(viewer: Any, panel: Any, width: int, height: int, layout: str) -> None:
    """A window of that size, its canvases arranged so. Raises Failure."""
    from make_screenshots import REGION_COLOURS, Failure, pause, press, wait

    window, planes = viewer.window._qt_window, panel.owner.features.planes
    viewer.window.resize(width, height)
    press(panel, f"canvases_{layout}")
    if layout != "one":
        wait(lambda: planes.canvases.solid is not None and planes.canvases.live, 60, "the canvases")
        shown = planes.canvases.solid.surfaces
        wait(lambda: len(shown.surfaces) == len(REGION_COLOURS) + 1 and not shown.busy, 120, "the surfaces")
    panel.owner.sections.regions.jump_requested.emit("ET")
    pause(1.0)
    press(panel, "fit")
    pause(1.0)
    if (window.width(), window.height()) != (width, height):
        raise Failure(f"the window is {window.width()}×{window.height()} and does not fit {width}×{height}.")


def save(viewer: Any, size: tuple[int, int], path: Path) -> None:
    """The whole window, in few colours. Raises Failure."""
    from make_screenshots import LEAST_LIT, Failure, pause
    from PIL import Image

    pause(1.0)
    seen = np.asarray(viewer.screenshot(canvas_only=False, flash=False))[..., :3]
    if seen.shape[1::-1] != size:
        raise Failure(f"{path.name} has {seen.shape[1]}×{seen.shape[0]} pixels instead of {size[0]}×{size[1]}.")
    if (seen.max(axis=-1) > 20).mean() < LEAST_LIT:
        raise Failure(f"{path.name} is blank; is the platform xcb, with OpenGL?")
    few = Image.fromarray(seen).quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(path, optimize=True)
    print(path)


if __name__ == "__main__":
    sys.exit(main())
