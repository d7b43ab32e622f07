"""What each button means, without Qt."""

from __future__ import annotations

from napari_brainseg.actions.base import Background
from napari_brainseg.actions.correcting import Correcting
from napari_brainseg.actions.labelling import Labelling
from napari_brainseg.actions.segmenting import Segmenting


class Actions(Segmenting, Labelling, Correcting):
    """All verbs. One object a viewer; it listens to the jobs it starts (``jobs.Listener``)."""


__all__ = ["Actions", "Background"]
