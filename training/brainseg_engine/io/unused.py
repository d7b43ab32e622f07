"""The images of a study's folder that are not used, and why: what is left out is said."""

from __future__ import annotations

from pathlib import Path

from brainseg_engine.core.study import Modality
from brainseg_engine.io.formats import PARTS
from brainseg_engine.io.naming import classify, is_brain_mask, is_image, words
from brainseg_engine.io.pair import standing_for
from brainseg_engine.io.series import Series

_UNREAD = (
    ".mnc", ".nhdr", ".nii.bz2", ".nii.xz", ".nii.zst", ".gipl", ".vtk", ".npz",
    ".npy", ".par", ".rec", ".h5",
)  # fmt: skip
"""Endings of images that are not read."""
_MOST = 3


def unused(series: Series) -> list[tuple[Path, str]]:
    """Each image that is neither a series nor the mask, with the reason; those with several candidates are not among them."""
    reasons = [(path, _why(path)) for path in series.unknown]
    used = {
        *series.files.values(),
        series.segmentation,
        *series.unknown,
        *(p for ps in series.ambiguous.values() for p in ps),
    }
    if series.folder is None or not series.folder.is_dir():
        return reasons
    for path in sorted(series.folder.iterdir()):
        name = path.name.lower()
        if path.name.startswith(".") or path in used or path.is_dir():
            continue
        if name.endswith(PARTS) and standing_for(path) == path:
            reasons.append((path, "its header, named .hdr, is not beside it"))
        elif name.endswith(_UNREAD):
            reasons.append((path, "its format is not read: convert it to .nii.gz"))
        elif is_image(path) and isinstance(classify([path.name])[0], Modality) and path not in used:
            reasons.append((path, "another file was taken for that series"))
    return reasons


def sentence(series: Series) -> str:
    """All that is not used in one sentence, the first few by name; "" where everything is."""
    left_out = unused(series)
    if not left_out:
        return ""
    reasons: dict[str, list[str]] = {}
    for path, why in left_out:
        reasons.setdefault(why, []).append(path.name)
    listed = "; ".join(
        ", ".join(names[:_MOST]) + (f" and {len(names) - _MOST} more" if len(names) > _MOST else "") + f" ({why})"
        for why, names in reasons.items()
    )
    return f"Not used: {listed}."


def _why(path: Path) -> str:
    if is_brain_mask(words(path.name)):
        return "a mask of the brain by its name; one of a tumour is named <id>_seg"
    return "the name tells no series"
