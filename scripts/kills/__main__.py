"""Kills at random moments: nothing is lost, and nothing half-written is read as whole. `make kills N=20` for 20 of each kind.

Each case runs in a process forked from this one (so that none of the time goes into importing torch), is killed by SIGKILL
at a moment drawn from its whole duration, and what lies on the disk is then read as the program itself would read it.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from works import KINDS


def forked(work: Callable[[], None]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setpgid(0, 0)  # with what it forks itself it is killed as one
        with open(os.devnull, "w") as nowhere:  # noqa: PTH123
            os.dup2(nowhere.fileno(), 1)
            work()
        code = 0
    finally:
        os._exit(code)


def duration(work: Callable[[], None]) -> float:
    began = time.monotonic()
    _, status = os.waitpid(forked(work), 0)
    assert status == 0, "it does not run even when nobody kills it"
    return time.monotonic() - began


def killed(work: Callable[[], None], after: float) -> bool:
    """Whether the kill came before the end."""
    pid = forked(work)
    time.sleep(after)
    os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="Of each kind.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=[k.__name__ for k in KINDS])
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    print(f"{'what':<10}{'kills':>7}{'before the end':>16}{'failures':>10}{'seconds':>9}")
    failed = 0
    with tempfile.TemporaryDirectory(prefix="brainseg-kills-") as name:
        os.environ["BRAINSEG_HOME"] = str(Path(name) / "home")
        model = _tiny(Path(name))
        for kind in KINDS if given.only is None else [k for k in KINDS if k.__name__ == given.only]:
            began, chance = time.monotonic(), random.Random(f"{given.seed}:{kind.__name__}")
            place = Path(name) / kind.__name__
            place.mkdir()
            work, held, ended = kind(place, model)
            whole, early, failures = duration(work), 0, []
            held()
            for n in range(given.kills):
                early += killed(work, chance.uniform(0, whole))
                try:
                    held()
                except Exception as e:
                    failures.append(f"{kind.__name__} {n}: {type(e).__name__}: {e}")
            try:
                ended()
            except Exception as e:
                failures.append(f"{kind.__name__}, at the end: {type(e).__name__}: {e}")
            failed += len(failures)
            took = time.monotonic() - began
            print(f"{kind.__name__:<10}{given.kills:>7}{early:>16}{len(failures):>10}{took:>9.0f}", flush=True)
            print(*(f"  {failure}\n" for failure in failures[:5]), sep="", end="", flush=True)
    return 1 if failed else 0


def _tiny(folder: Path) -> Path:
    import torch

    from brainseg_engine import nets
    from brainseg_engine.models import checkpoint
    from brainseg_engine.recipe import load_recipe

    torch.set_num_threads(1)
    recipe = load_recipe("baseline", [
        "network.init_filters=8", "network.blocks_down=[1, 1]", "network.blocks_up=[1]", "schedule.warmup_steps=2",
        "training.validate_every_steps=5",
    ])  # fmt: skip
    net = nets.build(recipe)
    card = checkpoint.Card(name="tiny", recipe="baseline", modalities=recipe.modalities, regions=recipe.output.regions,
                           parameters=nets.count_parameters(net))  # fmt: skip
    path = folder / "tiny.safetensors"
    checkpoint.save(path, net.state_dict(), card, recipe)
    return path


if __name__ == "__main__":
    root = Path(__file__).parents[2]
    sys.path[:0] = [str(root / "tests"), str(root)]
    sys.exit(main())
