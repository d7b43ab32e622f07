"""Programs for tests that kill: they leave marks while something is under way that must not be broken by it."""

SLOW_SAVING = """
import sys, time
from pathlib import Path
import safetensors.torch
marks = Path(sys.argv.pop(1))
save = safetensors.torch.save_file
def save_slowly(tensors, part, metadata=None):
    save(tensors, part, metadata=metadata)
    whole = Path(part).read_bytes()
    Path(part).write_bytes(whole[: len(whole) // 2])
    (marks / "writing").touch()
    time.sleep(0.3)
    (marks / "writing").unlink()
    Path(part).write_bytes(whole)
safetensors.torch.save_file = save_slowly
"""
"""The first argument is the folder of marks; ``writing`` is there while a file is half written."""
