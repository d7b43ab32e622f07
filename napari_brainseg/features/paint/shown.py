"""What the Paint section shows: its state as one record, and the words of its tools."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from brainseg_engine.core.labels import Label, Region
from brainseg_engine.core.study import Modality
from brainseg_engine.edits import Target
from napari_brainseg.display.tools import Tool

TOOLS = (
    ("Move", Tool.MOVE, "Move and zoom the image; nothing is painted (key Z, or hold Space)"),
    ("Brush", Tool.BRUSH, "Paint (key P); the right button paints round a shape and fills it"),
    ("Eraser", Tool.ERASER, "Take away from the region or class chosen above (key E)"),
    ("Fill", Tool.FILL, "Fill the patch that is clicked on (key F)"),
    ("Polygon", Tool.POLYGON, "Click corners, double click (or Enter) to fill, Esc to drop (key 3)"),
    (
        "Click",
        Tool.CLICK,
        "Click into what is missing, Shift + click into what is too much: the answer changes there and in what "
        "looks alike around it; a drag is a scribble (key 8)",
    ),
)
LARGEST_BRUSH = 80
CLASSES = (Label.NCR, Label.ED, Label.ET)

REGION_TIPS = {
    Region.WT: "Painting adds oedema where there is no tumour; erasing takes everything away",
    Region.TC: "Painting makes oedema and background core and leaves the enhancing part; erasing leaves oedema",
    Region.ET: "Painting makes anything enhancing; erasing leaves necrotic core",
}


@dataclass(frozen=True)
class PaintShown:
    """The state of the section. ``possible``: there are labels to correct; ``begin``: a mask can be begun from nothing.

    ``bounds`` are the lowest and highest intensity of the threshold's series, ``sources`` the names of segmentations to take a
    region from, ``waiting`` the tool that waits for a click ("" for none).
    """

    possible: bool = False
    begin: bool = False
    target: Target = Region.WT
    tool: Tool | None = Tool.MOVE
    size: int = 10
    through: bool = False
    protect: frozenset[Label] = frozenset()
    cavity: bool = False
    inside: bool = True
    threshold: bool = False
    series: Sequence[Modality] = ()
    modality: Modality | None = None
    limits: tuple[float, float] | None = None
    bounds: tuple[float, float] = (0.0, 1.0)
    preview: bool = True
    undo: str = ""
    redo: str = ""
    sources: Sequence[str] = ()
    waiting: str = ""
    box: bool = False
