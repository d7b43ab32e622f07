"""Damaged and wicked input at every door that reads files: `make fuzz N=10000`, or `python scripts/fuzz --cases N --only nifti`.

Each case is a sound file of its kind, changed by a random generator of its own (seed, surface, number), so that one case can
be run again: `python scripts/fuzz --only nifti --first 1234 --cases 1`. A door accepts what it is given or refuses it in one
sentence; a traceback, a death of the process, more than 10 s of computing or 60 s of waiting, and more than 2 GB of memory are
failures. The table
says how many of each there were, and the exit code is 1 where there was a failure.
"""

from __future__ import annotations

import argparse
import logging
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from changes import refused
from compressed import SYNTAXES
from foreign import FOREIGN
from hospital import assignment, dicom, dicom_seg, prepared, remembered, rtstruct
from images import decathlon, metaimage, nifti, pairs, sidecar, slices
from kept import KEPT
from learning import events, model, names, recipe, record, run_folder, split, summary, weights, working_copy
from pacs import PACS

HANG_S, WAIT_S, MEMORY = 10, 60, 2 * 2**30
OUTCOMES = ("refused", "accepted", "traceback", "died", "hang", "memory")


SURFACES = {
    f.__name__: f
    for f in (nifti, metaimage, pairs, slices, sidecar, decathlon, dicom, dicom_seg, rtstruct, prepared, assignment, remembered,
              record, working_copy, recipe, model, weights, run_folder, events, split, summary, names, *KEPT,
              *PACS, *SYNTAXES, *FOREIGN)
}  # fmt: skip


class Hang(Exception):
    pass


# --- one case after the other, in a process that may die


def work(surface: str, seed: int, first: int, cases: int) -> None:
    """Run these cases; a line of output before and after each."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY + 2**30, MEMORY + 2**30))
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    for elapsed in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(elapsed, _waited)
    with tempfile.TemporaryDirectory(prefix="brainseg-fuzz-") as name:
        import os

        os.environ["BRAINSEG_HOME"] = str(Path(name) / "home")
        (Path(name) / "place").mkdir()
        one = SURFACES[surface](Path(name) / "place")
        for n in range(first, first + cases):
            print(n, "begun", flush=True)
            print(n, *_outcome(one, random.Random(f"{seed}:{surface}:{n}")), flush=True)


def _outcome(one: Callable[[random.Random], None], r: random.Random) -> tuple[str, str]:
    refused.clear()
    signal.setitimer(signal.ITIMER_PROF, HANG_S)  # of the processor's time: another program's load is no hang
    signal.alarm(WAIT_S)
    try:
        one(r)
    except Hang:
        return "hang", ""
    except Exception as e:
        where = traceback.extract_tb(e.__traceback__)[-1]
        what = "memory" if isinstance(e, MemoryError) else "traceback"
        return what, f"{type(e).__name__}: {str(e)[:150]!r} at {Path(where.filename).name}:{where.lineno}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
    if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 > MEMORY:
        return "memory", ""
    return ("refused", "") if refused else ("accepted", "")


def _waited(number: int, frame: object) -> None:
    raise Hang


# --- all of it


def run(surface: str, seed: int, first: int, cases: int) -> tuple[Counter[str], list[str]]:
    """The outcomes of one surface; a process that dies costs the case that it died of."""
    counted: Counter[str] = Counter()
    failures: list[str] = []
    n, last = first, first + cases
    while n < last:
        words = [
            sys.executable,
            str(Path(__file__).parent),
            "--work",
            surface,
            "--seed",
            str(seed),
            "--first",
            str(n),
            "--cases",
            str(last - n),
        ]
        with tempfile.TemporaryFile("w+") as errors:  # a pipe that nobody empties would stop it
            done = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=errors, text=True)
            begun = False
            assert done.stdout is not None
            for line in done.stdout:
                number, what, *detail = line.rstrip("\n").split(" ", 2)
                if what == "begun":
                    begun = True
                    continue
                begun, n = False, int(number) + 1
                counted[what] += 1
                if what not in ("refused", "accepted"):
                    failures.append(f"{surface} {number}: {what} {' '.join(detail)}")
            done.wait()
            errors.seek(0)
            error = errors.read()
        if begun:
            counted["died"] += 1
            failures.append(f"{surface} {n}: died with {done.returncode} {error[-300:]}")
            n += 1
        elif n < last:
            raise SystemExit(f"{surface} could not be begun:\n{error}")
    return counted, failures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--only", choices=SURFACES)
    parser.add_argument("--work", choices=SURFACES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work(given.work, given.seed, given.first, given.cases)
        return 0
    chosen = [given.only] if given.only else list(SURFACES)
    print(f"{'surface':<14}{'tried':>8}" + "".join(f"{o:>11}" for o in OUTCOMES) + f"{'seconds':>9}")
    total: Counter[str] = Counter()
    failures: list[str] = []
    for i, surface in enumerate(chosen):
        cases = given.cases // len(chosen) + (i < given.cases % len(chosen))
        began = time.monotonic()
        counted, failed = run(surface, given.seed, given.first, cases)
        total += counted
        failures += failed
        row = "".join(f"{counted[o]:>11}" for o in OUTCOMES)
        print(f"{surface:<14}{sum(counted.values()):>8}{row}{time.monotonic() - began:>9.0f}", flush=True)
    print(f"{'all':<14}{sum(total.values()):>8}" + "".join(f"{total[o]:>11}" for o in OUTCOMES))
    for failure in failures[:50]:
        print(failure)
    return 1 if failures else 0


if __name__ == "__main__":
    root = Path(__file__).parents[2]
    sys.path[:0] = [str(root / "tests"), str(root)]
    sys.exit(main())
