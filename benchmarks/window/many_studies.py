"""Whether a day's work leaves anything behind: many studies opened, segmented and left in one window, and its memory after each.

In a real window, with the bundled model in the worker that *Segment* uses. Memory is what the window's process holds itself
(USS: nothing that it shares with others), and the worker's beside it.

    scripts/with-display python benchmarks/window/many_studies.py --data DIR [--studies 50]

``--data`` holds brats/<case>/ (default: BRAINSEG_DATA); of fewer cases than asked for, they come round again. Writes
many_studies.json and many_studies.md beside this file.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import psutil

HERE = Path(__file__).parent
SETTLED, MOST = 5, 0.10
"""The study after which memory is to stay, and by how much it may grow until the last."""


def main() -> None:
    """Open, segment and leave them; write what was seen."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("BRAINSEG_DATA"))
    parser.add_argument("--studies", type=int, default=50)
    given = parser.parse_args()
    if given.data is None or not (given.data / "brats").is_dir():
        sys.exit("no real cases: name their folder with --data or BRAINSEG_DATA")
    cases = sorted(p for p in (given.data / "brats").iterdir() if p.is_dir())
    with tempfile.TemporaryDirectory() as home:
        os.environ["BRAINSEG_HOME"] = home
        rows = day(list(itertools.islice(itertools.cycle(cases), given.studies)))
    grown = rows[-1]["window_mb"] / rows[SETTLED - 1]["window_mb"] - 1
    found = {
        "date": str(date.today()),
        "studies": len(rows),
        "cases": len(cases),
        "grown": round(grown, 4),
        "rows": rows,
    }
    (HERE / "many_studies.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (HERE / "many_studies.md").write_text(page(rows, len(cases), grown), encoding="utf-8")


def day(folders: list[Path]) -> list[dict[str, float]]:
    """A row for each study: MB of the window's process and of its worker, after the study was segmented."""
    import napari
    from qtpy.QtWidgets import QApplication

    viewer = napari.Viewer(show=True)
    viewer.window.resize(1600, 1000)
    _, panel = viewer.window.add_plugin_dock_widget("napari-brainseg", "Brain tumour segmentation")
    session, features = panel.owner.session, panel.owner.features

    def turn(ready: Callable[[], bool]) -> None:
        while not ready():
            QApplication.processEvents()
            time.sleep(0.005)
        QApplication.processEvents()

    turn(lambda: session.model is not None)
    rows = []
    for n, folder in enumerate(folders, 1):
        before = session.study
        features.study.open(folder)
        turn(lambda before=before: session.study is not before and not session.reading)
        features.segment.segment()
        turn(lambda: bool(session.answers) and session.job is None and session.measures is not None)
        rows.append({"study": n, **memory()})
        print(rows[-1], flush=True)
    viewer.close()
    return rows


def memory() -> dict[str, float]:
    """MB that the window's process and its worker hold for themselves."""
    own = psutil.Process()
    worker = sum(child.memory_full_info().uss for child in own.children(recursive=True))
    return {"window_mb": round(own.memory_full_info().uss / 2**20, 1), "worker_mb": round(worker / 2**20, 1)}


def _span(rows: list[dict[str, float]], what: str) -> str:
    values = [row[what] for row in rows[SETTLED - 1 :]]
    return f"{min(values):.0f} to {max(values):.0f} MB"


def _middle(rows: list[dict[str, float]]) -> float:
    return statistics.median(row["window_mb"] for row in rows)


def page(rows: list[dict[str, float]], cases: int, grown: float) -> str:
    """The page."""
    shown = [row for row in rows if row["study"] in (1, 2, SETTLED, len(rows)) or row["study"] % 10 == 0]
    table = "\n".join(f"| {row['study']} | {row['window_mb']:.0f} | {row['worker_mb']:.0f} |" for row in shown)
    held = "within" if grown <= MOST else "beyond"
    return f"""# {len(rows)} studies in one window

{date.today()}, {cases} real cases of 240×240×155 in turn, each opened, segmented by the bundled model and left for the next.

| after study | window, MB | worker, MB |
|---|---|---|
{table}

From study {SETTLED} to the last the window grew by {100 * grown:.1f} %: {held} the {100 * MOST:.0f} % that are allowed.
In between it held {_span(rows, "window_mb")}; in the median {_middle(rows[SETTLED - 1 : SETTLED + 9]):.0f} MB in the first
ten studies from there and {_middle(rows[-10:]):.0f} MB in the last ten. The worker held {_span(rows, "worker_mb")}.

Made by `scripts/with-display python benchmarks/window/many_studies.py --data DIR`.
"""


if __name__ == "__main__":
    main()
