"""npe2 sample data: the phantom study with its known truth."""

from __future__ import annotations

from typing import Any


def phantom() -> list[tuple[Any, dict[str, Any], str]]:
    """The layers of the phantom study (made on the first call, which takes some seconds), and the panel beside them."""
    from brainseg_engine.phantom import demo_folder
    from napari_brainseg._reader import study_layers

    return study_layers(str(demo_folder()))
