"""What may be concluded about a fine-tuned model: see ``proof.RULE``."""

BETTER, NO_WORSE, WORSE, NO_CLAIM = "better", "no worse", "worse", "no claim"
AT_A_COST = "better, at a cost"
MARKED = (WORSE, AT_A_COST)
"""What a person should think about before such a model is used: it is never made the default of itself."""
