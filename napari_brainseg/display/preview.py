"""Where the threshold brush may paint, as a translucent layer that is computed slice by slice, when it is looked at."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.labels import Mask

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Labels

NAME = "May be painted (preview)"
COLOUR = (0.0, 0.9, 0.75)
"""Turquoise: none of the regions' colours nor of the changes', and not a grey."""
OPACITY = 0.5

Allowed = Callable[[Any], Mask]
"""Index of the labels' array → boolean mask of what may be painted there."""


class LazyMask:
    """An array to napari, of which only what is asked for is computed."""

    dtype = np.dtype(np.uint8)

    def __init__(self, shape: tuple[int, ...], allowed: Allowed) -> None:
        self.shape = shape
        self.ndim = len(shape)
        self.size = int(np.prod(shape))
        self.allowed = allowed

    def __getitem__(self, key: Any) -> NDArray[np.uint8]:
        return np.asarray(self.allowed(key)).astype(np.uint8)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self[(slice(None),) * self.ndim].astype(dtype or self.dtype)


class Preview:
    """The layer, made when it is first shown and taken away when hidden."""

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._layer: Image | None = None
        self._lazy: LazyMask | None = None
        self._over: Labels | None = None

    @property
    def layer(self) -> Image | None:
        """The layer while it is shown."""
        return self._layer if self._layer is not None and self._layer in self._viewer.layers else None

    def show(self, labels: Labels, allowed: Allowed) -> None:
        """Show where ``allowed`` holds, below the labels and in their place."""
        if self.layer is not None and self._lazy is not None and self._over is labels:
            self._lazy.allowed = allowed
            self.refresh()
            return
        self.hide()
        from napari.layers import Image
        from napari.utils.colormaps import Colormap

        self._lazy, self._over = LazyMask(tuple(labels.data.shape), allowed), labels
        colours = [(*COLOUR, 0.0), (*COLOUR, 1.0)]
        self._layer = Image(
            self._lazy,
            name=NAME,
            colormap=Colormap(colours, name="brainseg preview"),
            contrast_limits=(0, 1),
            opacity=OPACITY,
            blending="translucent",
            interpolation2d="nearest",
            scale=labels.scale,
            affine=labels.affine,
            units=labels.units,
            axis_labels=labels.axis_labels,
            cache=False,
        )
        selected, active = set(self._viewer.layers.selection), self._viewer.layers.selection.active
        self._viewer.layers.insert(self._viewer.layers.index(labels), self._layer)
        self._viewer.layers.selection = selected  # it must not take the brush away from the labels
        self._viewer.layers.selection.active = active

    def refresh(self) -> None:
        """The labels have changed, or what may be painted."""
        if self.layer is not None:
            self.layer.refresh(extent=False, thumbnail=False)

    def hide(self) -> None:
        """Take the layer away."""
        if self.layer is not None:
            self._viewer.layers.remove(self.layer)
        self._layer = self._lazy = self._over = None

    close = hide
