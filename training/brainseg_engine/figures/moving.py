"""Moving pictures: the slices of a study one after the other, and pictures that were drawn elsewhere, as GIF or MP4."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.brain import brain
from brainseg_engine.core.errors import GeometryError, InputError, OutputError
from brainseg_engine.core.palette import LABEL_COLOURS
from brainseg_engine.core.paths import atomic
from brainseg_engine.core.study import Segmentation, Study
from brainseg_engine.figures.overlay import AXIAL, OPACITY, View, grey_window

SIDE = 360
"""Pixels of the longer side, about."""
SLICE_MM = 2.0
"""How far the slices of a sweep lie apart at least."""
FRAME_MS = 90


def sweep(study: Study, segmentation: Segmentation, path: Path) -> None:
    """A film (GIF or MP4, as the name says): the axial slices of the reference series from the feet to the head, the
    segmentation over them.

    The patient's right is on the viewer's left. Raises GeometryError where the mask is not on the grid of the images, OutputError
    where nothing can be written.
    """
    reference = study.reference
    if not segmentation.grid.same_as(reference.grid):
        raise GeometryError(
            f"The mask and the images of '{study.id}' lie on different grids, so no picture can be drawn. "
            "Resample the mask onto the grid of the images."
        )
    view = View(reference)
    view.crop_to(brain(reference.data))
    grey, labels = view(reference.data), view(segmentation.labels)
    low, high = grey_window(reference.data)
    width, height = AXIAL.size_mm(grey.shape, view.spacing)
    size = round(SIDE * width / max(width, height)), round(SIDE * height / max(width, height))
    step = max(1, round(SLICE_MM / view.spacing[AXIAL.across]))
    frames = [
        _frame(AXIAL.cut(grey, i), AXIAL.cut(labels, i), (low, high), size)
        for i in range(0, grey.shape[AXIAL.across], step)
    ]
    save_film(frames, path)


def _frame(
    grey: NDArray[Any], labels: NDArray[np.uint8], window: tuple[float, float], size: tuple[int, int]
) -> NDArray[np.uint8]:
    """One slice, (rows, columns, 3); the image interpolated, the labels not."""
    from PIL import Image

    low, high = window
    shown = (np.clip((grey.astype(np.float32) - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    image = np.asarray(Image.fromarray(shown).resize(size, Image.Resampling.BILINEAR), dtype=np.float32)
    over = np.asarray(Image.fromarray(np.ascontiguousarray(labels)).resize(size, Image.Resampling.NEAREST))
    out = np.repeat(image[..., None], 3, axis=-1)
    for label, colour in LABEL_COLOURS.items():
        there = over == label
        out[there] = (1 - OPACITY) * out[there] + OPACITY * 255 * np.array(colour, dtype=np.float32)
    return out.astype(np.uint8)


def film_of(pictures: Sequence[bytes], path: Path) -> None:
    """Write a film of PNG pictures of one size; see :func:`save_film`.

    Raises InputError where there are no pictures, OutputError.
    """
    from PIL import Image

    save_film([np.asarray(Image.open(io.BytesIO(p)).convert("RGB")) for p in pictures], path)


def save_film(frames: Sequence[NDArray[np.uint8]], path: Path) -> None:
    """Write frames (rows, columns, 3): as MP4 (H.264) where the name ends in .mp4, else as a GIF that begins anew at its end.

    Raises InputError for no frames, and for MP4 without the library; OutputError.
    """
    if not frames:
        raise InputError("There is nothing to draw: the mask is empty.")
    if path.suffix.lower() == ".mp4":
        _save_mp4(frames, path)
    else:
        _save_gif(frames, path)


def _save_gif(frames: Sequence[NDArray[np.uint8]], path: Path) -> None:
    from PIL import Image

    images = [Image.fromarray(f).quantize(128) for f in frames]
    with atomic(path) as part:
        images[0].save(
            part, format="GIF", save_all=True, append_images=images[1:], duration=FRAME_MS, loop=0, disposal=2
        )


def _save_mp4(frames: Sequence[NDArray[np.uint8]], path: Path) -> None:
    try:
        import imageio_ffmpeg
    except ImportError as e:
        raise InputError(
            f"{path.name} cannot be written: MP4 needs imageio-ffmpeg (pip install 'napari-brainseg[video]'). Or name a .gif."
        ) from e
    rows, columns = (n - n % 2 for n in frames[0].shape[:2])  # the coding wants even sides
    raw = b"".join(np.ascontiguousarray(f[:rows, :columns]).tobytes() for f in frames)
    given = [
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
        "-s",
        f"{columns}x{rows}",
        "-r",
        f"{1000 / FRAME_MS:.3f}",
        "-i",
        "-",
    ]
    wanted = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-movflags", "+faststart", "-f", "mp4"]
    with atomic(path) as part:
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error", *given, *wanted, str(part)]
        done = subprocess.run(command, input=raw, capture_output=True, check=False)
        if done.returncode:
            why = done.stderr.decode("utf-8", "replace").strip().splitlines()
            raise OutputError(
                f"{path} could not be written: {why[-1] if why else 'ffmpeg failed'}. Name a .gif instead."
            )
