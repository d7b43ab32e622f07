"""The BIDS App: a dataset's sessions found, segmented, written as derivatives, and their volumes in one table."""

from brainseg_engine.bids.group import write_table
from brainseg_engine.bids.participant import BidsSession, derivatives_of, find_sessions
from brainseg_engine.bids.validation import require_valid

__all__ = ["BidsSession", "derivatives_of", "find_sessions", "require_valid", "write_table"]
