"""What a file's name tells: its modality, that it is a mask, and the label coding its data set uses.

Names are read as words. The data sets' own endings (``_t1ce``, ``-t2f``, ``VSD.Brain.XX.O.MR_T1c.N``) and raw clinical
names (``MRHR_T1_AX_POST_GAD``) go through the same few rules; whatever stays unclear is left to a person. What a series
was registered to (``FLAIR_to_T1``, ``space-T1w_FLAIR``, ``co__t1c__flair``) does not tell what it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

from brainseg_engine.core.study import Modality
from brainseg_engine.io.contrast_words import contrast_of, plain, says_contrast
from brainseg_engine.io.formats import PARTS, SUFFIXES

MASK = "mask"
Kind = Modality | str | None
"""A modality, :data:`MASK`, or None when the name does not tell."""

_KIND_OF_T1 = (
    r"(?:wi|w|n|pre|nat|nativ|native|mprage|mpr|se|tse|tfe|ffe|fse|spgr|bravo|vibe|space|3d|axial|ax|sag|cor|tra|flair)"
)
_T1_WORD = re.compile(rf"(3d|ax|sag|cor|tra)?t1{_KIND_OF_T1}*")
_T1CE_WORD = re.compile(
    rf"(3d|ax|sag|cor|tra)?t1{_KIND_OF_T1}*\+?(c|ce|cw|gd|gad|gado|km|post|contrast|wce|postgd|postgad|postcontrast)\+?|"
    r"(c|ce|gd|gad)t1(wi?)?|t1w?\+"
)
_T2_WORD = re.compile(r"(3d|ax|sag|cor|tra)?t2(wi|w|se|tse|fse|3d|axial|ax)?")
_FLAIR_WORD = re.compile(r"(3d|ax|sag|cor|tra)?(t2)?-?(fla|flair|tirm)(3d|ax|w)?|t2f|fl|darkfluid")
_T1_SEQUENCES = {"mprage", "spgr", "fspgr", "bravo", "mp2rage", "vibe"}
_PLUS = re.compile(r"(.+?)(\+(?:c|ce|gd|gad|gado|km|k|iv))")
_MASK_WORDS = {
    "seg", "segm", "segmentation", "dseg", "truth", "gt", "mask", "label", "labels", "tumorseg", "tumourseg",
    "glistrboost",
}  # fmt: skip
_TUMOUR_WORDS = {
    "tumor", "tumour", "lesion", "lesions", "glioma", "tumormask", "tumourmask", "lesionmask", "otmulticlass", "gtv", "segmask",
}  # fmt: skip
_STEPS = re.compile(r"(?<=.)[-_. ](brain|final|stripped|skullstripped)$", re.IGNORECASE)
"""What processing adds between an id and the series: ``00000057_brain_t1``, ``00000057_final_seg``."""
_STRIPPED = {
    "ss",
    "hd",
    "deepbet",
    "synthseg",
    "skullstrip",
    "skullstripped",
    "stripped",
    "synthstrip",
    "strip",
    "robex",
    "nobrainer",
}
_NOT_TUMOUR = {
    "brain", "bet", "hdbet", "skull", "head", "tissue", "parenchyma", "wm", "gm", "csf", "aseg", "aparc", "icv", "intracranial",
    "ventricle", "ventricles",
}  # fmt: skip
_BRAIN_MASK = re.compile(
    r"(.*[a-z0-9])?(brain|bet|head|skull|skullstrip|synthstrip|hdbet|icv|parenchyma|gm|wm|csf|t1|t2|t1ce|t1c|flair)_?masks?|"
    r"masks?(brain|bet|head|skull|icv)|brainseg"
)
"""One word that names a mask of the brain, not of a tumour."""
_OTHER_SEQUENCES = {
    "adc", "dwi", "swi", "asl", "dti", "dsc", "dce", "perf", "perfusion", "cbv", "cbf", "mtt", "bold", "t2star", "star",
    "swan", "hemo", "trace", "loc", "localizer", "localiser", "scout", "survey", "tof", "mra", "ktrans",
}  # fmt: skip
_TO = {"to", "onto", "into"}
_TO_BEHIND_A_SERIES = {"2", "in", "on"}  # these stand in many names; they tell a target between two series only
_REGISTERED = {
    "reg", "coreg", "co", "registered", "coregistered", "rigid", "affine", "aligned", "warped", "resampled", "resliced",
    "reg2", "regto", "coreg2", "coregto",
}  # fmt: skip
_IN_SPACE = "inspace"
"""The word that BIDS' entity ``space-`` becomes: Siemens has a sequence of that name."""
_JOINTS = ("coregto", "coreg2", "coreg", "regto", "reg2", "reg", "onto", "into", "to", "in", "on", "2")
_BIDS = re.compile(r"sub-[a-z0-9]+(?:_[a-z]+-[a-z0-9+]+)*_(?P<suffix>t1w|t2w|flair)", re.IGNORECASE)


def stem(name: str) -> str:
    """The name without the ending of an image: ``"a_t1.nii.gz"`` → ``"a_t1"``; other names as they are."""
    lower = name.lower()
    return next((name[: -len(s)] for s in (*SUFFIXES, *PARTS) if lower.endswith(s)), name)


def is_image(path: Path) -> bool:
    """True when the name ends like an image that is read and is not hidden (macOS leaves ``._x.nii.gz`` about)."""
    return path.name.lower().endswith(SUFFIXES) and not path.name.startswith(".")


def words(name: str) -> list[str]:
    """The stem's words in lower case: runs of letters, digits and ``+``; what is joined by a "to" is taken apart."""
    return list(_words(name))


@lru_cache(maxsize=2**12)  # the same few names are asked for again and again while a folder is looked at
def _words(name: str) -> tuple[str, ...]:
    text = plain(re.sub(r"(^|_)space-(?=[a-z0-9+]+(_|$))", rf"\1{_IN_SPACE}_", stem(name).lower()))
    text = re.sub(r"dark[- ]?fluid", "darkfluid", text)
    return tuple(part for word in re.findall(r"[a-z0-9+]+", text) for half in _at_plus(word) for part in _apart(half))


def entities(name: str) -> dict[str, str]:
    """The entities of a BIDS name: ``sub-01_ce-gd_T1w`` → ``{"sub": "01", "ce": "gd", "suffix": "T1w"}``; {} for others."""
    *pairs, suffix = stem(name).split("_")
    matches = [re.fullmatch(r"([a-z]+)-([A-Za-z0-9+]+)", pair) for pair in pairs]
    if not pairs or not all(matches) or not pairs[0].startswith("sub-"):
        return {}
    return {m.group(1): m.group(2) for m in matches if m} | {"suffix": suffix}


def classify(names: Sequence[str]) -> list[Kind]:
    """What each file of one study is. Words that all names begin with (a patient's id) are set aside."""
    split = [words(n) for n in names]
    alone = [_bids_kind(n) or _kind(w) for n, w in zip(names, split, strict=True)]
    shared = _common_start(split) if len(split) > 1 else 0
    without = [_bids_kind(n) or _kind(w[shared:]) for n, w in zip(names, split, strict=True)]
    lost = any(a is not None and b is None for a, b in zip(alone, without, strict=True))
    return alone if lost else without


def contrast_named(name: str) -> bool | None:
    """Whether a T1's name says that contrast agent was given, or that it was not; None where it says neither."""
    tokens = _without_target(words(name))
    contrast = contrast_of(tokens)
    if contrast is None and (_t1_c(tokens) or any(_family(t) is Modality.T1CE for t in tokens)):
        return True
    return False if contrast is None and "t1n" in tokens else contrast


def is_brain_mask(tokens: Sequence[str]) -> bool:
    """Whether a name's words tell a mask that is none of a tumour: of the brain, of tissue, or of one series.

    The brain extractors name theirs after the series: HD-BET's ``<id>_t1_mask``, BET's ``<id>_t1_brain_mask``.
    """
    held = set(tokens)
    if _is_tumour(tokens):
        return False
    if any(_BRAIN_MASK.fullmatch(t) for t in tokens):
        return True
    of_a_series = "mask" in held and any(_family(t) is not None for t in tokens)
    weak = bool(held & {"mask", "label", "labels"} and held & _STRIPPED)
    return of_a_series or weak or bool(held & _MASK_WORDS and held & _NOT_TUMOUR)


def _is_tumour(tokens: Sequence[str]) -> bool:
    """Words of tumour, in a name that is not one of a series of a patient called so ("tumor_001_t1")."""
    series = any(_family(t) is not None for t in tokens)
    named = {t for t in tokens if t in _TUMOUR_WORDS}
    return bool(named) and (not series or bool(_MASK_WORDS & set(tokens)) or tokens[-1] in named)


def study_id(names: Iterable[str]) -> str:
    """The id that series and masks share when they are named ``<id>_<modality>``; "" when they are not."""
    starts = set()
    for name in names:
        head = re.fullmatch(r"(.+?)[-_. ]+[A-Za-z0-9+]+", stem(name))
        starts.add(_STEPS.sub("", head.group(1)) if head else "")
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


def _bids_kind(name: str) -> Kind:
    """What the last word of a BIDS name says, and its contrast entity; None for other names and words."""
    match = _BIDS.fullmatch(stem(name))
    if match is None:
        return None
    if (suffix := match["suffix"].lower()) != "t1w":
        return Modality.T2 if suffix == "t2w" else Modality.FLAIR
    entity_values = entities(name)
    of_the_image = re.sub(r"(^|_)(sub|ses|run)-[A-Za-z0-9+]+", "", name)  # a session "post" is no contrast
    return (
        Modality.T1CE
        if entity_values.get("ce") or _contrast_given(_without_target(words(of_the_image)))
        else Modality.T1
    )


def _kind(tokens: list[str]) -> Kind:
    tokens = _without_target(tokens)
    if is_brain_mask(tokens):
        return None
    if "ot" in tokens or _is_tumour(tokens) or _MASK_WORDS & set(tokens):
        return MASK
    if _OTHER_SEQUENCES & set(tokens):
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


def _at_plus(word: str) -> list[str]:
    """``t1flair+c`` → t1flair, +c; other words whole."""
    match = _PLUS.fullmatch(word)
    return [match[1], match[2]] if match and _T1CE_WORD.fullmatch(word) is None else [word]


def _apart(word: str) -> list[str]:
    """``flair2t1`` → flair, 2, t1; ``t1space`` → t1, space; other words whole."""
    if word.endswith("space") and _family(word[:-5]) is not None:
        return [word[:-5], "space"]
    if _family(word) is not None:
        return [word]
    for joint, at in ((j, m.start()) for j in _JOINTS for m in re.finditer(j, word)):
        what, target = word[:at], word[at + len(joint) :]
        space = "space" if target.endswith("space") else ""
        target = target.removesuffix(space)
        if _family(target) is not None and (not what or _family(what) is not None):
            return [w for w in (what, joint if "reg" in joint else "to", target, space) if w]
    return [word]


def _without_target(tokens: list[str]) -> list[str]:
    """The words without the series that this one was registered to."""
    at = [i for i, t in enumerate(tokens) if _family(t) is not None]
    for i in at:
        word, before = tokens[i - 1] if i else "", [k for k in at if k < i]
        others = [k for k in at if k != i]
        target = word in _TO or (word in _TO_BEHIND_A_SERIES and bool(before)) or (word == _IN_SPACE and bool(others))
        target |= word in _REGISTERED and bool(others)
        # "T1 space" is a place where the series is another one: nobody calls the sequence SPACE a "T1 SPACE FLAIR"
        is_t1 = _family(tokens[i]) in (Modality.T1, Modality.T1CE)
        target |= (
            is_t1
            and tokens[i + 1 : i + 2] == ["space"]
            and any(_family(tokens[k]) in (Modality.T2, Modality.FLAIR) for k in others)
        )
        if target:
            end = i + 1
            pair = [_family(t) for t in tokens[i : i + 2]] == [Modality.T2, Modality.FLAIR]
            if pair and any(k not in (i, i + 1) for k in at):
                end += 1  # a "T2 FLAIR" is one series
            # what follows BIDS' entity of the space is of the series itself
            while (
                is_t1 and word != _IN_SPACE and end < len(tokens) and (says_contrast(tokens[end]) or tokens[end] == "c")
            ):
                end += 1
            return tokens[:i] + tokens[end:]
    return tokens


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
    contrast = contrast_of(tokens)
    return _t1_c(tokens) if contrast is None else contrast


def _t1_c(tokens: Sequence[str]) -> bool:
    """Whether a lone "c" follows the T1."""
    return any(_family(t) is Modality.T1 and n == "c" for t, n in zip(tokens, [*tokens, ""][1:], strict=True))


def _common_start(split: list[list[str]]) -> int:
    n = 0
    for column in zip(*split, strict=False):
        if len(set(column)) > 1:
            break
        n += 1
    return n
