"""What is painted, with which tool, and where it may be: the intent that the brush is held to. Knows no napari."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from brainseg_engine.core.labels import Label, Region
from brainseg_engine.core.study import Modality
from brainseg_engine.edits import Target
from napari_brainseg.display.region_style import Scheme


class Tool(StrEnum):
    """What the left button does on the labels; the value is what logs call it."""

    MOVE = "move"
    BRUSH = "brush"
    ERASER = "eraser"
    FILL = "fill"
    POLYGON = "polygon"
    CLICK = "click"


MODES: dict[Tool, str] = {
    Tool.MOVE: "pan_zoom",
    Tool.BRUSH: "paint",
    Tool.ERASER: "erase",
    Tool.FILL: "fill",
    Tool.POLYGON: "polygon",
    Tool.CLICK: "pan_zoom",
}
"""Tool → napari's mode."""

HAND_TOOLS = frozenset({Tool.BRUSH, Tool.ERASER, Tool.FILL, Tool.POLYGON})


@dataclass(frozen=True)
class BrushSettings:
    """What is painted, and where it may be. ``limits`` of ``modality`` bound the threshold brush while ``threshold`` is on."""

    target: Target = Region.WT
    protect: frozenset[Label] = frozenset()
    inside: bool = True
    threshold: bool = False
    modality: Modality | None = None
    limits: tuple[float, float] | None = None
    preview: bool = True
    through: bool = False  # a ball through the slices instead of a disc

    @property
    def scheme(self) -> Scheme:
        """Nested regions, or classes."""
        return Scheme.REGIONS if isinstance(self.target, Region) else Scheme.CLASSES
