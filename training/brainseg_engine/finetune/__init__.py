"""Fine-tuning: a model and corrections that people accepted → a new model, with proof of what it gained and lost.

``job.run`` does it; what is named here is light (no torch), so that a window may start a run and look at it.
"""

from brainseg_engine.finetune.options import PARTS, FinetuneOptions, command
from brainseg_engine.finetune.status import Status, announce, ask_to_stop, runs, runs_home, status_of

__all__ = ["PARTS", "FinetuneOptions", "Status", "announce", "ask_to_stop", "command", "runs", "runs_home", "status_of"]
