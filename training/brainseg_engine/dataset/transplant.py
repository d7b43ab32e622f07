"""Another case's lesion in this case's brain: CarveMix (Zhang 2021, arXiv:2108.06883).

With thirty cases a network learns thirty lesions by heart; carved out of one brain and put into another, they make nine
hundred. Lesions keep their own images, cut along their own shape, a little inside or outside of it.
"""

from __future__ import annotations

import torch
from scipy.ndimage import distance_transform_edt
from torch.nn import functional as F

from brainseg_engine.augment.draw import chance, uniform
from brainseg_engine.core.resample import crop_or_pad
from brainseg_engine.dataset.cases import TrainingCase

INSIDE = 0.4
"""Share of cuts that run inside the lesion, down to ``DEEPEST`` of its depth; the others run around it."""
DEEPEST = 0.7
WIDEST = 12.0
"""Voxels around the lesion that a cut takes with it at most."""


def distance(case: TrainingCase) -> torch.Tensor | None:
    """Signed distance (X/2, Y/2, Z/2) in voxels to the lesion's border, negative inside, float16, on every other voxel (it is
    smooth, and an eighth of the work); None without a lesion."""
    mask = (case.labels[::2, ::2, ::2] > 0).numpy()
    if not mask.any():
        return None
    signed = distance_transform_edt(~mask) - distance_transform_edt(mask)
    # float16: of a thousand cases they are a gigabyte, and exact to a tenth of a voxel
    return torch.from_numpy(2 * signed).half()


def transplant(
    image: torch.Tensor, labels: torch.Tensor, donor: TrainingCase, signed: torch.Tensor, g: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Image (C, X, Y, Z) and labels (X, Y, Z) with the donor's lesion at the same place of the brain's box, or mirrored left
    to right; only where both are brain. ``signed`` is the donor's :func:`distance`."""
    border = DEEPEST * float(signed.min()) * uniform(0, 1, g) if chance(INSIDE, g) else uniform(0, WIDEST, g)
    shape = donor.shape[1:]
    signed = F.interpolate(signed[None, None].float(), tuple(shape), mode="trilinear", align_corners=False)[0, 0]
    piece = signed <= border
    theirs, mask = donor.image, donor.labels
    if chance(0.5, g):
        theirs, mask, piece = theirs.flip(1), mask.flip(0), piece.flip(0)
    x, y, z = ((s - n) // 2 for s, n in zip(shape, labels.shape, strict=True))
    x_, y_, z_ = labels.shape
    theirs = crop_or_pad(theirs, (x, y, z), (x_, y_, z_))
    mask, piece = crop_or_pad(torch.stack([mask, piece.to(mask.dtype)]), (x, y, z), (x_, y_, z_))
    taken = (piece > 0) & (image != 0).all(dim=0) & (theirs != 0).all(dim=0)
    return torch.where(taken, theirs, image), torch.where(taken, mask, labels)
