"""Whether the files of one study bear the id of one patient, as far as their names tell. No pixel is read.

An id is what stands before the word of the series (``BraTS2021_00147_t1``), behind it (``T1_00147``), or is written in a
known way (``sub-01_ses-2``, ``TCGA-FG-6692``). Numbers of series, which differ from file to file, are no ids.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from brainseg_engine.core.study import Modality
from brainseg_engine.io.naming import MASK, Kind, classify, stem

_WRITTEN = (
    r"(?<![a-z0-9])sub-[a-z0-9]+(?:_ses-[a-z0-9]+)?",
    r"tcga[-_][a-z0-9]{2}[-_][a-z0-9]{4}(?![a-z0-9])",
    r"brats-[a-z]+-\d+-\d+",
    r"brats(?:1[789]|20\d*)_[a-z0-9_]+?(?=[_-](?:t1|t2|fl|seg))",
    r"upenn-gbm-\d+(?:_\d+)?",
    r"(?<![a-z])(?:patient|subject|subj|case|pat)[-_ ]?\d+",
)
"""How data sets write ids; two that differ are two patients (or dates), however many files bear each."""
_NOT_AN_ID = re.compile(r"[23]d|\d+(?:p\d+)?(?:t|mm|iso)|iso\d*(?:mm)?|v\d+|\d")
_NAME = re.compile(r"[a-z]{4,}")
_TECHNICAL = {
    "axial", "sagittal", "coronal", "brain", "head", "final", "stripped", "skullstripped", "native", "registered", "coregistered",
    "coreg", "aligned", "resampled", "resliced", "warped", "rigid", "affine", "normalized", "normalised", "standardized",
    "corrected", "denoised", "smoothed", "cropped", "original", "image", "images", "series", "scan", "volume", "anat",
    "structural",
    "contrast", "enhanced", "post", "postcontrast", "precontrast", "plain", "nativ", "tumor", "tumour", "spin", "echo", "turbo",
    "fast", "gradient", "inversion", "recovery", "isotropic", "cube", "space", "vista", "mask", "with", "without", "ohne",
}  # fmt: skip
"""Words before a series that tell how it was made, and nobody's name."""


def mixed_patients(names: Sequence[str]) -> str:
    """The sentence for files that bear two ids, naming one file of each; "" where they do not.

    ``names`` are those of one study's images and masks; what is neither is not looked at.
    """
    kinds = classify(names)
    images = [n for n, k in zip(names, kinds, strict=True) if isinstance(k, Modality)]
    masks = [n for n, k in zip(names, kinds, strict=True) if k == MASK]
    pair = _differing([_written(n) for n in (*images, *masks)], 1, (*images, *masks))
    pair = pair or _differing([_before(n) for n in images], 2, images)
    pair = pair or _differing([_behind(n) for n in images], 2, images)
    pair = pair or _differing(_by_name(images), 2, images)
    pair = pair or _foreign_mask(images, masks)
    if not pair:
        return ""
    return (
        f"{pair[0]} and {pair[1]} bear the ids of different patients or dates. Give the files of one study only, or assign "
        "them by hand if they do belong together."
    )


def _differing(ids: Sequence[str], shared_by: int, names: Sequence[str]) -> tuple[str, str] | None:
    """Names with two different ids; None unless one id is borne by ``shared_by`` files at least."""
    counted = Counter(i for i in ids if i)
    if len(counted) < 2 or max(counted.values()) < shared_by:
        return None
    first, second = list(counted)[:2]
    return names[list(ids).index(first)], names[list(ids).index(second)]


def _foreign_mask(images: Sequence[str], masks: Sequence[str]) -> tuple[str, str] | None:
    """An image and a mask whose ids are written in one way and differ."""
    for mask in masks:
        alike = [n for n in images if _pattern(_before(n)) == _pattern(_before(mask)) and _before(mask)]
        if alike and all(_before(n) != _before(mask) for n in alike):
            return alike[0], mask
    return None


def _by_name(images: Sequence[str]) -> list[str]:
    """What stands before the series where that is a word as a patient's name is; [] unless every file has one such word."""
    before = []
    for name in images:
        parts = _parts(name)
        first = next((i for i, p in enumerate(parts) if _telling(p)), len(parts))
        before.append(parts[:first])
    named = [words[0] if len(words) == 1 and _NAME.fullmatch(words[0]) else "" for words in before]
    return named if all(named) and not set(named) & _TECHNICAL else []


def _pattern(id_: str) -> str:
    return re.sub(r"\d+", "#", id_)


def _written(name: str) -> str:
    lower = stem(name).lower()
    date = next((m.group() for p in _WRITTEN if (m := re.search(p, lower))), "")
    return re.sub(r"[-_ ]+", "-", date)


def _before(name: str) -> str:
    parts = _parts(name)
    first = next((i for i, p in enumerate(parts) if _telling(p)), len(parts))
    id_ = "-".join(p for p in parts[:first] if _numbered(p))
    return id_ if len(re.findall(r"\d", id_)) > 1 or re.search(r"[a-z]{2}", id_) else ""


def _behind(name: str) -> str:
    parts = _parts(name)
    last = max((i for i, p in enumerate(parts) if _telling(p)), default=len(parts))
    return "-".join(p for p in parts[last + 1 :] if re.search(r"\d{4}|\d{3}$", p))


def _parts(name: str) -> list[str]:
    return re.findall(r"[a-z0-9+]+", stem(name).lower())


def _telling(word: str) -> bool:
    kind: Kind = classify([word])[0]
    return kind is not None


def _numbered(word: str) -> bool:
    return any(c.isdigit() for c in word) and not _NOT_AN_ID.fullmatch(word)
