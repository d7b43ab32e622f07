"""Words by which a series' name says that a contrast agent was given, or that it was not, in the languages of scanners.

Names are read as tokens (:func:`brainseg_engine.io.naming.words`). Signs that would be lost with the punctuation ("S/C",
"IV-", "w/o") are written out before; words that say "without" only in front of contrast ("vor KM", "sin contraste") are kept
apart from those that say it alone ("nativ").
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_GIVEN, _NOT = " contrast ", " nativ "
_SIGNS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), written)
    for pattern, written in (
        (r"\bw ?/ ?wo\b|\bwo? ?(?:&|and|\+) ?wo?\b|\bwith(?:out)? (?:&|and) with(?:out)?\b", " "),
        (r"\bw ?/ ?o\b", " without "),
        (r"\b(?:avec|con|com|with|mit|post|apres) iv\b", _GIVEN),
        (r"\b(?:s|u) ?/ ?(?:c|k)\b", _NOT),
        (r"\b(?:c|m|w) ?/ ?(?:c|k|iv|gad|gd)\b", _GIVEN),
        (r"(?<![a-z0-9+])(?:c|ce|gd|gad|gado|km|k|iv)(?:-| ?\(-\))(?=$|[\s)])", _NOT),
        (r"(?<![a-z0-9])(?:c|ce|gd|gad|gado|km|k|iv) ?\(\+\)", _GIVEN),
        (r"\b(?:o|v)\. ?(?=km\b)", " ohne "),
        (r"\bm\. ?d\. ?c\b|\bc\. ?i\. ?v\b", _GIVEN),
        (r"造影前|平扫|平掃|単純", _NOT),
        (r"造影|增强|增強|с контраст", _GIVEN),
        (r"без контраст", _NOT),
    )
)
_WORD = re.compile(
    r"ce|gd|gad|gado\w*|gd?dtpa|dotarem|magnevist|multihance|omniscan|prohance|clariscan|vueway|elucirem|primovist|"
    r"km|mdc|civ|cte|contras\w*|kontras\w*|enhanced|\+(?:c|ce|gd|gad|gado|km|k|iv)|(?:c|gd|iv|km|k)\+|"
    r"inj|inje[ck]\w*|iniett\w*|inyec\w*|post|post?(?:gd|gad|gado|c|ce|contras\w*|kontras\w*|km|iv|inj\w*)"
)
_ALONE = re.compile(
    r"pre|non|no|without|wo|nativ[aeo]?|natif|native|unenhanced|plain|blanco|basal|ohne|sans|noncontras\w*|"
    r"pre(?:gd|gad|gado|c|ce|contras\w*|kontras\w*|km|iv|inj\w*)|"
    r"non?(?:gd|gad|gado|contras\w*|km|inj\w*)"
)
_BEFORE_CONTRAST = {"vor", "before", "avant", "antes", "prima", "voor", "fore", "sin", "sem", "senza", "zonder", "utan", "uden",
                    "uten", "bez", "not", "przed"}  # fmt: skip
_COURSE = {"op", "operative", "operation", "operatoire", "operatorio", "surgery", "surgical", "treatment", "tx", "rt", "chemo",
           "radiation", "resection"}  # fmt: skip
"""What "pre" and "post" may stand before without a word on contrast."""


def plain(name: str) -> str:
    """The name in lower case without accents, signs of contrast written out as words."""
    text = "".join(c for c in unicodedata.normalize("NFKD", name.lower()) if not unicodedata.combining(c))
    text = unicodedata.normalize("NFC", text).replace("_", " ")
    for sign, written in _SIGNS:
        text = sign.sub(written, text)
    return text


def contrast_of(tokens: Sequence[str]) -> bool | None:
    """True where the words say that contrast was given, False where they say that it was not, None for neither."""
    following = [*tokens, ""][1:]
    telling = [t for t, n in zip(tokens, following, strict=True) if not (t in ("pre", "post") and n in _COURSE)]
    given = [i for i, t in enumerate(telling) if _WORD.fullmatch(t)]
    before = any(t in _BEFORE_CONTRAST for t in telling[: given[-1]]) if given else False
    if before or any(_ALONE.fullmatch(t) for t in telling):
        return False
    return True if given else None


def says_contrast(token: str) -> bool:
    """Whether the word has to do with contrast, given or not."""
    return bool(_WORD.fullmatch(token) or _ALONE.fullmatch(token))
