"""Models: the registry of what is installed."""

from brainseg_engine.models.registry import ModelInfo, default, find, installed

__all__ = ["ModelInfo", "default", "find", "installed"]
