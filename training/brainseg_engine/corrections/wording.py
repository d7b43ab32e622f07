"""What a correction is, in words."""

from __future__ import annotations

from brainseg_engine.core.labels import REGION_LABELS, Region
from brainseg_engine.corrections.record import Correction


def sizes_in_words(c: Correction, voxel_ml: float | None) -> str:
    """The size of each region as the table of regions has it, and what was added and removed: in mL, in voxels where their
    size is not known."""

    def size(voxels: int) -> str:
        return f"{voxels:,}" if voxel_ml is None else f"{voxels * voxel_ml:.2f}"

    regions = [r for r in (Region.WT, Region.TC, Region.ET) if r in c.regions]
    held = {r: sum(t.voxels for label, t in c.changed.items() if label in REGION_LABELS[r]) for r in regions}
    added, removed = (sum(getattr(t, what) for t in c.changed.values()) for what in ("added", "removed"))
    unit = "voxels" if voxel_ml is None else "mL"
    return f"{', '.join(f'{r.value} {size(n)}' for r, n in held.items())} {unit} (added {size(added)}, removed {size(removed)})"
