"""Saving the labels as a mask."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from brainseg_engine.core.labels import Region
from brainseg_engine.core.study import Segmentation, Study, Volume
from napari_brainseg.display import layers
from napari_brainseg.features.context import Context
from napari_brainseg.session import BY_HAND, Kind, checksum

ALIGNED = "1mm"
"""The grid of a prepared study, as it is shown."""
_PERSON = " and a person"


class SaveVerbs:
    """What the save section asks for."""

    def __init__(self, context: Context) -> None:
        self._context, self._session = context, context.session
        self.more: Callable[[], Mapping[str, Any]] = dict
        """What else is kept beside the mask."""

    @property
    def coding(self) -> str:
        """The coding to save in until a person chooses another: the study's own."""
        current, segmentation = self._session.study, self._session.segmentation
        own = current.study.coding if current is not None else ""
        if not own and current is not None and current.truth is not None:
            own = current.truth.coding
        return own or (segmentation.coding if segmentation is not None else "") or "brats2023"

    def suggestion(self) -> Path | None:
        """A name to save under that overwrites nothing: in the study's folder, else the current one."""
        current = self._session.study
        if current is None:
            return None
        folder = current.place or Path.cwd()
        names = (f"{current.study.id}_seg{n}.nii.gz" for n in ("", *(f"_{i}" for i in range(2, 1000))))
        return next((folder / name for name in names if not (folder / name).exists()), None)

    @property
    def grids(self) -> tuple[tuple[str, str, str], ...]:
        """The grids that the mask of a prepared study can be written on: (words, name, tooltip), the default first."""
        acquired = self._session.study.acquired if self._session.study is not None else None
        if acquired is None or acquired.prepared.untouched:
            return ()
        reference = acquired.prepared.reference
        sides = "×".join(f"{s:.2g}" for s in acquired.prepared.grids[reference].spacing)
        name = reference.title
        return (
            (f"{name} as acquired · {sides} mm", "", f"On the voxels of the {name} series as the scanner gave it"),
            ("1 mm, aligned", ALIGNED, "On the grid that the model saw, which is the one on the screen"),
        )

    def save(self, path: Path, coding: str | None = None, grid: str = "") -> None:
        """Write the labels as they are now, with the header of the reference series.

        Those of a prepared study go back onto the reference series as acquired, unless ``grid`` is :data:`ALIGNED`.
        """
        from brainseg_engine.io import save_segmentation

        current, layer = self._session.study, self._context.labels
        if current is None or layer is None:
            self._session.say("There is nothing to save yet: segment the study, or open a mask.", Kind.WARNING)
            return

        more, answer = self.more(), self._session.answer
        probabilities = answer.probabilities if answer is not None else None

        def work() -> int:
            segmentation = layers.segmentation_of(layer)
            digest = checksum(segmentation.labels)
            reference: Volume | None = current.study.reference
            acquired = current.acquired
            if acquired is not None and not acquired.prepared.untouched and grid != ALIGNED:
                segmentation = acquired.prepared.back(segmentation, probabilities=probabilities)
                reference = acquired.reference
            beside = {**self.sidecar(current.study, segmentation, digest), **more}
            save_segmentation(segmentation, path, reference=reference, coding=coding, sidecar=beside)
            return digest

        def done(digest: int) -> None:
            if self._session.study is current:
                self._session.saved(digest)
            self._session.say(f"Saved {path}", Kind.GOOD)

        self._context.run(work, done)

    def sidecar(self, study: Study, segmentation: Segmentation, digest: int | None = None) -> dict[str, Any]:
        """What is known of labels of the open study whose checksum is ``digest``: see :func:`report`."""
        answer = self._session.answer
        digest = checksum(segmentation.labels) if digest is None else digest
        edited = answer is None or answer.edited or digest != checksum(answer.segmentation.labels)
        content = report(study, segmentation, edited, answer.notes if answer is not None else {})
        current = self._session.study
        if current is None or current.acquired is None:
            return content
        from brainseg_engine.inference.raw import fields

        return {**content, **fields(current.acquired.prepared)}

    def known(self) -> dict[str, Any]:
        """The sidecar of the labels as they are now; {} where there are none."""
        current, layer = self._session.study, self._context.labels
        return {} if current is None or layer is None else self.sidecar(current.study, layers.segmentation_of(layer))


def report(study: Study, segmentation: Segmentation, edited: bool, notes: Mapping[str, Any]) -> dict[str, Any]:
    """What is written beside a saved mask: what it is, who made it, and the regions' volumes (voxels where mL are not known)."""
    from brainseg_engine.scores.volumes import voxel_counts

    counts, ml = voxel_counts(segmentation.labels), segmentation.grid.voxel_ml
    by_person = segmentation.made_by in ("", BY_HAND) or segmentation.made_by.endswith(_PERSON)
    beside = _PERSON if edited and not by_person else ""
    return {
        "study": study.id,
        **notes,
        "made_by": segmentation.made_by + beside,
        "edited": edited,
        "regions": {r.value: _volume(counts[r], ml) if r in segmentation.regions else None for r in Region},
    }


def _volume(voxels: int, ml: float | None) -> dict[str, float | None]:
    return {"volume_ml": voxels * ml} if ml is not None else {"volume_ml": None, "volume_voxels": voxels}
