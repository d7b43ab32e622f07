"""What a series is, from the scanner's tags and words: the rules a radiographer reads a protocol by.

Times tell the weighting (in ms): FLAIR is an inversion recovery with TE ≥ 60, TI ≥ 1400, TR ≥ 3500; T2 has TE ≥ 60 and
TR ≥ 1800; T1 has TE ≤ 35 and TR ≤ 1100, or TI 400–1300. What is no source image of these (diffusion, perfusion, T2*, STIR,
proton density, angiograms, maps, localisers, projections) is named as what it is. Where there are no times, words tell.
Contrast is known by its tag or by words; where neither does, it is open: many scanners never write it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from brainseg_engine.core.series import SeriesFacts
from brainseg_engine.core.study import Modality
from brainseg_engine.io.contrast_words import plain
from brainseg_engine.io.naming import classify, contrast_named

LEAST_SLICES = 10
_DIXON = "a fat or out-of-phase image (Dixon)"
_PD, _PROTON = "proton-density-weighted", r"pdw?|proton ?\w*"
_SUSCEPTIBILITY = "T2*- or susceptibility-weighted"
_TIME_SERIES = "perfusion or another time series"
_NO_AGENT = {
    "",
    "no",
    "none",
    "n",
    "0",
    "non",
    "nein",
    "na",
    "n/a",
    "no contrast",
    "without",
    "ohne",
    "false",
    "nil",
    "-",
}
_OTHER_WORDS: tuple[tuple[str, str], ...] = (
    (
        r"loca?|locali[sz]\w*|loka\w*|repere|reperage|scouts?|survey|topogram\w*|ue?bersicht|smart ?brain|3 ?-?plane|3-?pl|"
        r"aahead\w*",
        "a localiser",
    ),
    (
        r"cal (?:head|body)\w*|(?:asset|b[01]|coil)? ?(?:calib\w*|kalib\w*)|(?:sense|coil)? ?ref(?:erence)? ?(?:scan|head\w*)|"
        r"coil ?(?:survey|sens)\w*|smart ?plan|pre-?scan|shim\w*",
        "a calibration scan",
    ),
    (r"d?adc|eadc|apparent diffusion\w*", "a diffusion map (ADC)"),
    (r"dwi|(?:ep2d_)?diff|diff?usi\w*|tracew?|dti|hardi|dki|noddi|colfa|tensor|b-?\d{3,4}", "diffusion-weighted"),
    (
        r"swi|swan|venobold|(?:mip|pha|mag)_images|swip|t2star\w*|t2 ?star|t2 ?\*|hemo|haemo|heme|medic|t2 ?merge",
        _SUSCEPTIBILITY,
    ),
    (
        r"perf|perfusi\w*|dsc|dce|p?c?asl|easl|r?cb[vf]|mtt|ttp|tmax|pbp|ktrans|twist|bold|r?s?fmri|resting|ep2d\w*|"
        r"cerebral blood\w*|blood (?:flow|volume)|transit ?time",
        _TIME_SERIES,
    ),
    (r"tof(?:3d)?|mra|mrv|angio\w*|pca|pc3d|veno\w*|inhance|trance", "an angiogram"),
    (r"stirm?", "STIR (fat-suppressed inversion recovery)"),
    (r"double inversion|dir", "a double inversion recovery"),
    (r"inv ?[12]", "an inversion image of an MP2RAGE"),
    (
        r"dixon.*(?<![a-z0-9])(?:opp|in|out|f|fat|ff|fp)|(?:fat|(?:in|out|opp\w*) ?phase) ?: .*|out ?phase|opp ?phase",
        _DIXON,
    ),
    (_PROTON, _PD),
    (r"ciss|ci3d|fiesta-?c?|trufi\w*|truefisp|b-?ffe|b-?tfe|balanced", "a balanced steady-state sequence"),
    (r"mip|minip|mnip|projections?|vrt|vr", "a projection"),
    (r"sub(?!-)|subtra[ck]\w*|soustra\w*|sustrac\w*|sottra\w*|subtra[cç]\w*", "a subtraction"),
    (r"spectro\w*|svs|csi|mrs|press", "spectroscopy"),
    (r"field ?map\w*|b[01] ?map|t[12] ?map|mtr|qsm|phase ?map|t1_images|synthetic|fus(?:ed|ion)|colou?r", "a map"),
    (
        r"report|screen ?save|screen ?shots?|screen ?captures?|secondary ?capture|key ?images?|dose|patient ?protocol|phoenix\w*",
        "no scan",
    ),
    (r"c(?:ervical)? ?-?spine|spine|cervical|thoracic|lumbar|[tl]-?spine|hws|bws|lws|myelo\w*", "of the spine"),
)
_GRADIENT = re.compile(
    r"(?<![a-z0-9])(?:eg|gre|ge|ffe|fl[23]d|fast field echo|gradient\w*|eco de gradiente?)(?![a-z0-9])"
)
_WORDS = tuple((re.compile(rf"(?<![a-z0-9])(?:{p})(?![a-z0-9])"), what) for p, what in _OTHER_WORDS)
_IMAGE_TYPES = {
    "LOCALIZER": "a localiser", "ADC": "a diffusion map (ADC)", "EADC": "a diffusion map", "DIFFUSION": "diffusion-weighted",
    "TRACEW": "diffusion-weighted", "FA": "a diffusion map", "TENSOR": "a diffusion map", "SWI": "susceptibility-weighted",
    "MINIP": "a projection", "MNIP": "a projection", "MIN IP": "a projection", "MIP": "a projection", "MAX_IP": "a projection",
    "PERFUSION": "perfusion", "ASL": "perfusion", "RCBV": "a perfusion map", "RCBF": "a perfusion map", "CBV": "a perfusion map",
    "CBF": "a perfusion map", "MTT": "a perfusion map", "TTP": "a perfusion map", "TMAX": "a perfusion map",
    "SUBTRACTION": "a subtraction", "SUB": "a subtraction", "PHASE": "a phase image", "PHASE MAP": "a phase image",
    "P": "a phase image", "VELOCITY": "a phase image", "SCREEN SAVE": "no scan", "T1 MAP": "a map", "T2 MAP": "a map",
    "T2_STAR MAP": "a map", "SPECTROSCOPY": "spectroscopy", "CSAPARALLEL": "no scan",
}  # fmt: skip
_REFORMATS = {"PROJECTION IMAGE", "MPR", "REFORMATTED", "RESAMPLED", "CURVED_MPR", "CPR"}
_ELSEWHERE = {
    "SPINE",
    "CSPINE",
    "TSPINE",
    "LSPINE",
    "NECK",
    "CHEST",
    "ABDOMEN",
    "PELVIS",
    "BREAST",
    "KNEE",
    "SHOULDER",
    "LIVER",
    "HEART",
}


@dataclass(frozen=True)
class TagVerdict:
    """What tags and words say. ``family``: the weighting (T1 stands for T1 and T1ce), None where they do not tell.

    ``other``: what it is, where it is none of the four, in words; ``contrast``: with an agent, without, or not known;
    ``reason``: the finding, as part of a sentence; ``by_times``: known by the scanner's times, not by words alone;
    ``reformatted``: made from another series; ``doubt``: what contradicts it, in words.
    """

    family: Modality | None = None
    other: str = ""
    contrast: bool | None = None
    reason: str = ""
    by_times: bool = False
    reformatted: bool = False
    doubt: str = ""


def judge(facts: SeriesFacts) -> TagVerdict:
    """The verdict of tags and words on one series; see :class:`TagVerdict`."""
    times, why = _by_times(facts)
    named = _named(facts)
    reformatted = bool(_REFORMATS & {t.upper() for t in facts.image_type})
    other = _no_scan_of_ours(facts) or _other_by_words(facts) or ("" if isinstance(times, Modality) else times or "")
    if other:
        return TagVerdict(
            other=other, reason=f"{other}{f' ({why})' if times == other else ''}", reformatted=reformatted
        )
    if times is Modality.T2 and named is Modality.FLAIR and not facts.ti_ms and (facts.tr_ms or 0) >= 3500:
        times = Modality.FLAIR  # some scanners do not write the inversion time
        why += ", named FLAIR"
    family = times if isinstance(times, Modality) else named
    if family is None:
        return TagVerdict(reason=why or "neither tags nor name tell what it is", reformatted=reformatted)
    contrast, contrast_reason = _contrast(facts) if family is Modality.T1 else (None, "")
    weighting = {Modality.T1: "T1-weighted", Modality.T2: "T2-weighted", Modality.FLAIR: "FLAIR"}[family]
    reason = f"{weighting} ({why})" if times else f"{weighting} by its name"
    return TagVerdict(
        family, "", contrast, ", ".join(filter(None, (reason, contrast_reason))), bool(times), reformatted,
        f"its name says {named.title}" if times and named not in (None, family) else "",
    )  # fmt: skip


def fat_suppressed(facts: SeriesFacts) -> bool:
    """Whether the name says that fat is suppressed, as it is for the orbits or the skull base."""
    return bool(re.search(r"(?<![a-z0-9])(?:fs|fat ?sat\w*|spir|spair|we)(?![a-z0-9])", plain(words_of(facts))))


def words_of(facts: SeriesFacts) -> str:
    """The words to read: the description, else the protocol, else the sequence's name."""
    return facts.description or facts.protocol or facts.sequence_name


def _no_scan_of_ours(facts: SeriesFacts) -> str:
    types = [t.upper().strip() for t in facts.image_type]
    slices = facts.slices
    if facts.modality not in ("", "MR"):
        return f"{facts.modality}, not MR"
    if facts.body_part.upper().replace(" ", "").replace("-", "") in _ELSEWHERE:
        return f"of another part of the body ({facts.body_part.lower()})"
    if found := next((_IMAGE_TYPES[t] for t in types if t in _IMAGE_TYPES), ""):
        return found
    if facts.orientations > 1:
        return "a localiser (slices in several directions)"
    if (facts.b_value or 0) > 0:
        return "diffusion-weighted"
    if facts.time_points > 1:
        return f"a time series ({facts.time_points} images a position)"
    if "EP" in facts.scanning_sequence:
        return "echo-planar (diffusion, perfusion or functional)"
    if slices is not None and slices < LEAST_SLICES:
        return f"too few slices ({slices})"
    return ""


def _other_by_words(facts: SeriesFacts) -> str:
    raw = plain(words_of(facts))
    texts = {raw, re.sub(r"[_.]+", " ", words_of(facts).lower()), words_of(facts).lower()}
    kinds = [what for pattern, what in _WORDS if any(pattern.search(text) for text in texts)]
    times = _by_times(facts)[0]
    if times is Modality.T2:  # the second echo of a "PD/T2"
        kinds = [what for what in kinds if what != _PD]
    if not kinds and times is None and re.search(r"(?<![a-z0-9])t2", raw) and _GRADIENT.search(raw):
        return _SUSCEPTIBILITY
    if kinds and times is Modality.T1 and kinds[0] == _TIME_SERIES and re.search(r"t1|mprage|spgr|bravo", raw):
        return ""  # a "T1 post perfusion" is a T1
    return kinds[0] if kinds else ""


def _by_times(facts: SeriesFacts) -> tuple[Modality | str | None, str]:
    """The modality, or what else it is in words, or None; and the times, as they are said."""
    te, tr, ti = facts.te_ms, facts.tr_ms, facts.ti_ms
    if not te or not tr:
        return None, ""
    why = f"TE {te:.3g} ms, TR {tr:.4g} ms" + (f", TI {ti:.4g} ms" if ti else "")
    recovery, gradient = "IR" in facts.scanning_sequence or bool(ti), "GR" in facts.scanning_sequence
    if te >= 60 and tr >= 3500 and recovery and (not ti or ti >= 1400):
        return Modality.FLAIR, why
    if gradient and te >= 12:
        return _SUSCEPTIBILITY, why
    if ti and 80 <= ti < 350 and not gradient:
        return "STIR (fat-suppressed inversion recovery)", why
    if te >= 60 and tr >= 1800 and (not ti or ti < 400):
        return Modality.T2, why
    if te <= 35 and (tr <= 1100 or (ti and 400 <= ti <= 1300)):
        return Modality.T1, why
    if te <= 35 and tr >= 1800 and not recovery:
        return _PD, why
    return None, why


def agent_named(facts: SeriesFacts) -> bool:
    """Whether the tags name a contrast agent."""
    return facts.contrast is not None and facts.contrast.strip().lower() not in _NO_AGENT


def by_bolus(facts: SeriesFacts) -> bool:
    """Whether it is a perfusion series during which contrast was given (arterial spin labelling needs none)."""
    text = plain(f"{facts.description} {facts.protocol}")
    words = re.search(r"(?<![a-z0-9])(?:perf|perfusi|dsc|dce|twist|gre[ _]?epi)", text)
    return facts.time_points > 10 and bool(words) and not re.search(r"asl|bold|fmri", text)


def contrast_by_words(facts: SeriesFacts) -> bool | None:
    """Whether its names say that contrast was given, or that it was not; None where they say neither."""
    return next((c for text in _texts(facts) if (c := contrast_named(text)) is not None), None)


def _named(facts: SeriesFacts) -> Modality | None:
    for text in _texts(facts):
        kind = classify([text])[0]
        if isinstance(kind, Modality):
            return Modality.T1 if kind is Modality.T1CE else kind
    return None


def _texts(facts: SeriesFacts) -> list[str]:
    """What may name it, the closest first."""
    return [text for text in dict.fromkeys((facts.description, facts.protocol, facts.sequence_name)) if text]


def _contrast(facts: SeriesFacts) -> tuple[bool | None, str]:
    """With contrast, without, or not known; and what tells it."""
    if agent_named(facts):
        return True, "contrast agent named in the tags"
    by_words = contrast_by_words(facts)
    if by_words is not None:
        return by_words, f"{'contrast' if by_words else 'no contrast'} by its name"
    if facts.entities.get("ce"):
        return True, "contrast by its name"
    if facts.contrast is not None and facts.contrast.strip():
        return False, "the tags name no contrast agent"
    return None, ""
