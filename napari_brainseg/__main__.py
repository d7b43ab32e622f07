"""``python -m napari_brainseg [STUDY …]``: the napari window with the panel in it, and a study open."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str]) -> int:
    """Open the window, and return when it is closed."""
    import napari

    from napari_brainseg._reader import PANEL

    viewer = napari.Viewer(title="Brain tumour segmentation", show_welcome_screen=False)
    _, panel = viewer.window.add_plugin_dock_widget(*PANEL)
    paths = [Path(a) for a in arguments]
    if paths:
        panel.owner.session.open_requested.emit(paths[0] if len(paths) == 1 else paths)
    napari.run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
