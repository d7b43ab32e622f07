"""A study by its content: the same images are the same study, whatever folder and whatever names they lie under."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from brainseg_engine.core.study import Modality, Study
from brainseg_engine.io.image import content_hash

_LABEL = 10  # characters of the key that make a pseudonym: 40 bits


def image_hashes(study: Study) -> dict[Modality, str]:
    """Modality → SHA-256 of its voxel values, shape and affine (``Volume.sha256``, computed where it is absent)."""
    return {
        m: study.volumes[m].sha256 or content_hash(study.volumes[m].data, study.volumes[m].grid.affine)
        for m in Modality
        if m in study.volumes
    }


def key_of(images: Mapping[Modality, str]) -> str:
    """The key of a study with those image hashes: 32 hex digits."""
    joined = "|".join(f"{m.value}:{images[m]}" for m in Modality if m in images)
    return hashlib.sha256(joined.encode()).hexdigest()[:32]


def study_key(study: Study) -> str:
    """The key of a study: 32 hex digits from the hashes of its images, and from nothing else."""
    return key_of(image_hashes(study))


def pseudonym(key: str) -> str:
    """The subject label of a study that is not to be named: letters and digits alone, as BIDS wants them."""
    return key[:_LABEL]


def label_of(study_id: str) -> str:
    """A study's own id as a BIDS label: its letters and digits."""
    return re.sub(r"[^0-9A-Za-z]", "", study_id) or "study"
