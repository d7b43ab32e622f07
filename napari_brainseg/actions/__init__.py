"""What each button means, without Qt."""

from napari_brainseg.actions.verbs import Actions, Background

__all__ = ["Actions", "Background"]
