"""What may be concluded about a fine-tuned model from paired differences of Dice, after minus before."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from brainseg_engine.core.stats import sign_flip

BETTER, PROMISING, NO_WORSE, WORSE, NO_CLAIM = "better", "promising", "no worse", "worse", "no claim"
AT_A_COST = "better, at a cost"
MARKED = (WORSE, AT_A_COST)
"""What a person should think about before such a model is used: it is never made the default automatically."""

LIMIT = 0.01
"""Dice. A mean change of less is no change worth a word."""
FEWEST = 6
"""Independent patients below which nothing is claimed: with five, not even five gains out of five reach p = 0.05."""
LEVEL = 0.05
LEAST_STEPS = 50
"""Steps of training below which a network has hardly moved: nothing is recommended then, whatever the scores say."""

RULE = (
    "Of each set the difference of a patient is that of the mean Dice over cases and regions, after minus before; of "
    "corrected masks only the regions count that a person changed, since the others are a model's own answer. With fewer "
    f'than {FEWEST} patients a set is "{WORSE}" when the mean difference is below −{LIMIT:g}, "{PROMISING}" when it is at '
    f'least {LIMIT:g}, and else "{NO_CLAIM}". From {FEWEST} patients on it is "{WORSE}" when the mean is below −{LIMIT:g}, or '
    f'falls beyond chance (sign-flip test, two-sided p ≤ {LEVEL:g}); "{BETTER}" when it rises beyond chance; else '
    f'"{NO_WORSE}". The model is "{WORSE}" when either set is, with one exception: it is "{AT_A_COST}" when the held-out '
    f'corrections are "{BETTER}" and the mean on the anchors falls beyond chance, but by at most {LIMIT:g}. Else it is what '
    "the held-out corrections are. Neither the weights nor how far the model was moved were chosen on the cases that are "
    "judged here. HD95 is shown beside it and decides nothing: one stray voxel moves it by centimetres."
)
"""What is concluded, and when."""


def of_set(differences: Sequence[float]) -> str:
    """By the rule, of the patients' differences."""
    if not differences:
        return NO_CLAIM
    mean = float(np.mean(differences))
    if mean < -LIMIT:
        return WORSE
    if len(differences) < FEWEST:
        return PROMISING if mean >= LIMIT else NO_CLAIM
    if sign_flip(differences) > LEVEL:
        return NO_WORSE
    return BETTER if mean > 0 else WORSE


def overall(held_out: str, anchors: str, lost: float | None) -> str:
    """The verdict on the model, from those of both sets; ``lost`` is the mean difference on the anchors."""
    if anchors != WORSE or held_out == WORSE:
        return held_out
    return AT_A_COST if held_out == BETTER and lost is not None and lost >= -LIMIT else WORSE
