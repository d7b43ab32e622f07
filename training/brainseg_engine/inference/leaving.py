"""How results leave the house without a name and without a face: what finds the brain is brought together with the exports."""

from __future__ import annotations

from brainseg_engine.core.events import CancelCheck, never
from brainseg_engine.core.labels import Mask
from brainseg_engine.core.study import Study, Volume
from brainseg_engine.io.derived.pseudonyms import Pseudonyms
from brainseg_engine.prepare import faceless
from brainseg_engine.prepare.brain_mask import Method
from brainseg_engine.report.hidden import Deidentify


def deidentify(
    pseudonyms: Pseudonyms, *, face: bool = False, method: Method = "deepbet", cancelled: CancelCheck = never
) -> Deidentify:
    """De-identification with these pseudonyms; with ``face`` the head stays in the images."""
    if face:
        return Deidentify(pseudonyms)

    def bare(study: Study) -> Study:
        return faceless.faceless(study, method, cancelled)

    def brain(volume: Volume) -> Mask | None:
        alone = {volume.modality: volume}
        return faceless.brain_of(alone, method, cancelled) if faceless.may_show_face(alone) else None

    return Deidentify(pseudonyms, bare, brain)
