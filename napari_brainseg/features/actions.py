"""What each button means, without Qt."""

from __future__ import annotations

from napari_brainseg.features.context import Background
from napari_brainseg.features.paint.verbs import Correcting
from napari_brainseg.features.regions.verbs import Labelling
from napari_brainseg.features.segment.verbs import Segmenting


class Actions(Segmenting, Labelling, Correcting):
    """All verbs. One object a viewer; it listens to the jobs it starts (``jobs.Listener``)."""


__all__ = ["Actions", "Background"]
