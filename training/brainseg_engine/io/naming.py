"""What a file's name tells: its modality, that it is a mask, and the label coding its data set uses.

Names are read as words. The data sets' own endings (``_t1ce``, ``-t2f``, ``VSD.Brain.XX.O.MR_T1c.N``) and raw clinical
names (``MRHR_T1_AX_POST_GAD``) go through the same few rules; whatever stays unclear is left to a person.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from brainseg_engine.core.study import Modality
from brainseg_engine.io.formats import SUFFIXES

MASK = "mask"
Kind = Modality | str | None
"""A modality, :data:`MASK`, or None when the name does not tell."""

_T1_WORD = re.compile(r"(3d|ax|sag|cor|tra)?t1(w|wi|n|pre|nat|native|mpr|mprage|se|tse|tfe|ffe|3d|ax|axial)?")
_T1CE_WORD = re.compile(
    r"(3d|ax|sag|cor|tra)?t1w?\+?(c|ce|cw|gd|gad|gado|km|post|contrast|wce|postgd|postgad|postcontrast)\+?|"
    r"(c|ce|gd|gad)t1w?|t1w?\+"
)
_T2_WORD = re.compile(r"(3d|ax|sag|cor|tra)?t2(w|wi|se|tse|fse|3d|ax|axial)?")
_FLAIR_WORD = re.compile(r"(3d|ax|sag|cor|tra)?(t2)?-?(fla|flair|tirm)(3d|ax|w)?|t2f|fl")
_T1_SEQUENCES = {"mprage", "spgr", "fspgr", "bravo"}
_CONTRAST = {
    "ce", "gd", "gad", "gado", "gadolinium", "gadovist", "dotarem", "km", "contrast", "post", "postcontrast",
    "postgd", "postgad", "enhanced", "+c", "c+", "+gd", "+ce", "+km",
}  # fmt: skip
_NO_CONTRAST = {"pre", "precontrast", "non", "noncontrast", "no", "without", "wo", "native", "nativ", "unenhanced"}
_COURSE = {"op", "operative", "operation", "surgery", "surgical", "treatment", "tx", "rt", "chemo", "radiation"}
_MASK_WORDS = {
    "seg", "segm", "segmentation", "dseg", "truth", "gt", "mask", "label", "labels", "tumorseg", "tumourseg",
    "glistrboost",
}  # fmt: skip
_NOT_TUMOUR = {"brain", "brainmask", "bet", "skull", "head", "tissue", "parenchyma", "wm", "gm", "csf", "aseg"}
_OTHER_SEQUENCES = {
    "adc", "dwi", "swi", "asl", "dti", "dsc", "dce", "perf", "perfusion", "cbv", "cbf", "mtt", "bold", "t2star", "star",
    "swan", "hemo", "trace", "loc", "localizer", "localiser", "scout", "survey", "tof", "mra", "ktrans",
}  # fmt: skip


def stem(name: str) -> str:
    """The name without the ending of an image: ``"a_t1.nii.gz"`` → ``"a_t1"``; other names as they are."""
    lower = name.lower()
    return next((name[: -len(s)] for s in SUFFIXES if lower.endswith(s)), name)


def is_image(path: Path) -> bool:
    """True when the name ends like an image that is read and is not hidden (macOS leaves ``._x.nii.gz`` about)."""
    return path.name.lower().endswith(SUFFIXES) and not path.name.startswith(".")


def words(name: str) -> list[str]:
    """The stem's words in lower case: runs of letters, digits and ``+``."""
    return re.findall(r"[a-z0-9+]+", stem(name).lower())


def classify(names: Sequence[str]) -> list[Kind]:
    """What each file of one study is. Words that all names begin with (a patient's id) are set aside."""
    split = [words(n) for n in names]
    alone = [_kind(w) for w in split]
    shared = _common_start(split) if len(split) > 1 else 0
    without = [_kind(w[shared:]) for w in split]
    lost = any(a is not None and b is None for a, b in zip(alone, without, strict=True))
    return alone if lost else without


def study_id(names: Iterable[str]) -> str:
    """The id that series and masks share when they are named ``<id>_<modality>``; "" when they are not."""
    starts = set()
    for name in names:
        head = re.fullmatch(r"(.+?)[-_. ]+[A-Za-z0-9+]+", stem(name))
        starts.add(head.group(1) if head else "")
    return starts.pop() if len(starts) == 1 else ""


def implied_coding(names: Iterable[str]) -> str:
    """The label coding of the data set that names its files so; "" when the names tell none.

    ``BraTS-PED`` names tell none on purpose: its masks changed their meaning from year to year.
    """
    stems = [stem(n).lower() for n in names]
    if any(s.startswith("brats-ped") for s in stems):
        return ""
    if any(s.startswith("vsd.brain") for s in stems):
        return "brats2015"
    if any(s.endswith("_t1ce") for s in stems):
        return "brats2021"
    if any(re.search(r"-(t1n|t1c|t2w|t2f)$", s) for s in stems):
        return "brats2023"
    if any(re.match(r"brats(17|18|19|20|2021)_.+_seg$", s) for s in stems):
        return "brats2021"
    if any(re.match(r"brats-[a-z]+-\d+-\d+-seg$", s) for s in stems):
        return "brats2023"
    return ""


def _kind(tokens: list[str]) -> Kind:
    if "ot" in tokens or (_MASK_WORDS & set(tokens) and not _NOT_TUMOUR & set(tokens)):
        return MASK
    if (_MASK_WORDS | _OTHER_SEQUENCES) & set(tokens):
        return None
    families = {f for t in tokens if (f := _family(t)) is not None}
    if Modality.T1CE in families:
        families.discard(Modality.T1)
    if families in ({Modality.T2, Modality.FLAIR}, {Modality.FLAIR}):
        return Modality.FLAIR
    if families in ({Modality.T1, Modality.FLAIR}, {Modality.T1}):  # a "T1 FLAIR" is T1-weighted
        return Modality.T1CE if _contrast_given(tokens) else Modality.T1
    if families == {Modality.T1CE, Modality.FLAIR}:
        return Modality.T1CE
    return families.pop() if len(families) == 1 else None


def _family(token: str) -> Modality | None:
    if _T1_WORD.fullmatch(token) or token in _T1_SEQUENCES:
        return Modality.T1
    if _T1CE_WORD.fullmatch(token):
        return Modality.T1CE
    if _FLAIR_WORD.fullmatch(token):
        return Modality.FLAIR
    return Modality.T2 if _T2_WORD.fullmatch(token) else None


def _contrast_given(tokens: list[str]) -> bool:
    """T1 with words of contrast ("post gad", "t1 c") and none against it; "post op" is no contrast."""
    following = [*tokens[1:], ""]
    telling = [t for t, n in zip(tokens, following, strict=True) if not (t in ("pre", "post") and n in _COURSE)]
    marked = any(t in _CONTRAST for t in telling)
    marked |= any(_family(t) is Modality.T1 and n == "c" for t, n in zip(tokens, following, strict=True))
    return marked and not _NO_CONTRAST & set(telling)


def _common_start(split: list[list[str]]) -> int:
    n = 0
    for column in zip(*split, strict=False):
        if len(set(column)) > 1:
            break
        n += 1
    return n
