"""Run every benchmark of this folder, one after the other; `make bench` calls this."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BENCHMARKS = ("inference", "training", "painting", "window")
WITH_A_WINDOW = frozenset({"painting", "window"})
DISPLAY = Path(__file__).parents[1] / "scripts" / "with-display"


def main() -> int:
    """Exit code: that of the first benchmark that failed, else 0."""
    for name in BENCHMARKS:
        print(f"== {name}", flush=True)
        command = [sys.executable, str(Path(__file__).parent / name / "run.py"), *sys.argv[1:]]
        ended = subprocess.run([str(DISPLAY), *command] if name in WITH_A_WINDOW else command, check=False)
        if ended.returncode:
            return ended.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
