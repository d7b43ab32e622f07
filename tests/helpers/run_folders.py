"""Run folders of fine-tunings as a process would leave them, without one."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import psutil

from brainseg_engine.core.labels import Region
from brainseg_engine.finetune import plan as plans
from brainseg_engine.finetune.status import FILE, Status

REGIONS = tuple(Region)


def tell(out: Path, **what) -> None:
    """Write the status of a run, alive as long as the tests are."""
    began = psutil.Process().create_time()
    status = replace(Status(os.getpid(), began), **what)
    (out / FILE).write_text(json.dumps(asdict(status)))


def killed(out: Path, **what) -> None:
    """The status of a run whose process has gone."""
    tell(out, pid=os.getpid(), began=1.0, **what)


def make_plan(out: Path, held_out: int = 1, anchors: Path | None = None, **what) -> None:
    learnt = [plans.Learnt(f"C{i}", "0" * 64, f"P{i}", i < held_out, []) for i in range(3)]
    plans.FinetunePlan(
        {"anchors": str(anchors) if anchors else None},
        {"name": "base", "version": "1", "path": "base.safetensors", "sha256": "0" * 64},
        "new",
        learnt,
        {},
        {},
        "phantoms",
        False,
        **what,
    ).save(out)


def scores(value: float) -> dict:
    return {r.value: {"dice": value, "hd95_mm": 10 * (1 - value)} for r in REGIONS}


def make_report(name: str = "new", verdict: str = "better", held_out: dict | None = None) -> dict:
    """``held_out``: case → (Dice before, after)."""
    sets = {}
    for key, cases in (("held_out", held_out or {}), ("anchor_scores", {"Phantom_1": (0.9, 0.89)})):
        before, after = ({c: scores(pair[i]) for c, pair in cases.items()} for i in (0, 1))
        paired = {"n": len(cases), "difference": 0.05, "low": 0.01, "high": 0.09}
        sets[key] = {
            "verdict": verdict if key == "held_out" else "no worse",
            "difference": {"n": len(cases), "dice": 0.05, "low": 0.01, "high": 0.09},
            "before": {"cases": before, "mean": scores(0.5), "seen_in_training": []},
            "after": {"cases": after, "mean": scores(0.55)},
            "comparison": {"regions": {r.value: {"dice": paired, "hd95_mm": paired} for r in REGIONS}},
        }
    return {
        "verdict": verdict, "words": f"{verdict.capitalize()}. So it is.", "model": {"name": name}, "settings": {},
        "guard": {"alpha": 0.5, "why": "it gains most", "rows": []}, "notes": ["a note"], "refused": {"C": "it changed."},
        "anchors": {"of": "phantoms", "real": False}, **sets,
    }  # fmt: skip


def finished(out: Path, report: dict) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "report.json").write_text(json.dumps(report))
    tell(out, state="done", stage="done", fraction=1.0)
