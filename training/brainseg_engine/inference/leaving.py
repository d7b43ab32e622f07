"""How results leave the house without a name and without a face: what finds the brain is brought together with the exports."""

from __future__ import annotations

from pathlib import Path

from brainseg_engine.core.events import CancelCheck, never
from brainseg_engine.core.labels import Mask
from brainseg_engine.core.study import Study, Volume
from brainseg_engine.io.derived import pseudonyms
from brainseg_engine.prepare import faceless
from brainseg_engine.prepare.brain_mask import Method
from brainseg_engine.report.hidden import Deidentify


def deidentify(
    key: Path | None = None, *, face: bool = False, method: Method = "deepbet", cancelled: CancelCheck = never
) -> Deidentify:
    """De-identification with the key of that file (by default the user's own); with ``face`` the head stays in the images.

    Raises InputError for a file that is no key.
    """
    secret = pseudonyms.load(key)
    if face:
        return Deidentify(secret)

    def bare(study: Study) -> Study:
        return faceless.faceless(study, method, cancelled)

    def brain(volume: Volume) -> Mask | None:
        if not faceless.may_show_face(volume):
            return None
        return faceless.brain_of({volume.modality: volume}, method, cancelled)

    return Deidentify(secret, bare, brain)
