"""What the window costs: what is done all day, with one canvas and with four, and the longest the window was away in each.

In a real window, on the synthetic sample study (240×240×155, four series). Time is the wall clock without what the window's
thread waited for a core, so that other work on the machine counts less; drawing is included.

    scripts/with-display python benchmarks/window/run.py [--repeats 5] [--beside COMMIT]

The same is done with the code of an earlier commit beside it, as far as that can do it: the last release's (the newest tag), or
the one before the reading room where nothing was released yet. Writes results.json and README.md beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "tests"))
BEFORE = "89180ca"
"""The commit before the reading room."""
STEPS = 10
"""Slice steps and points of a stroke that one measurement is the mean of."""
TIME = "segment, in the worker too"
"""What is measured by the wall clock."""

Measured = dict[str, dict[str, float]]


class Bench:
    """The window with the sample study, and a stopwatch. Only what the earlier commits have too is asked of the plugin, but for
    several canvases."""

    def __init__(self, repeats: int) -> None:
        import napari
        from qtpy.QtWidgets import QWidget

        self.repeats, self.label = repeats, 2
        self.results: Measured = {}
        self.viewer = napari.Viewer(show=True)
        self.viewer.window.resize(1600, 1000)
        _, panel = self.viewer.window.add_plugin_dock_widget("napari-brainseg", "Brain tumour segmentation")
        self.app, self.features = panel.owner, panel.owner.features
        self.sample = panel.findChild(QWidget, "open_sample")
        self.turn(lambda: self.app.session.model is not None)
        self.open()

    def turn(self, ready: Callable[[], bool] = lambda: True) -> None:
        """Let the window work until ``ready()``, and draw."""
        from qtpy.QtWidgets import QApplication

        QApplication.processEvents()
        while not ready():
            QApplication.processEvents()
            time.sleep(0.001)
        QApplication.processEvents()

    def measure(
        self, what: str, work: Callable[[], object], parts: int = 1, before: Callable[[], object] | None = None
    ) -> None:
        """Median of the repeats: milliseconds a part, and the longest the window was away, in ms: at all, and for other reasons
        than drawing and napari's own insertion of a layer."""
        from helpers.heartbeat import Clock, Heartbeat, covered
        from napari.components.layerlist import LayerList

        clock, times, away, own = Clock(), [], [], []
        insert = LayerList.insert
        for _ in range(self.repeats):
            if before is not None:
                before()
            self.turn()
            beat = Heartbeat()

            def inserting(*given: Any, beat: Heartbeat = beat) -> Any:
                with beat.inserting():
                    return insert(*given)

            LayerList.insert = inserting
            beat.start()
            began = time.monotonic() if what == TIME else clock.now()
            work()
            times.append(1000 * ((time.monotonic() if what == TIME else clock.now()) - began) / parts)
            self.turn()
            beat.stop()
            LayerList.insert = insert
            gaps = list(zip(beat.beats, beat.beats[1:], strict=False))
            away.append(1000 * max(b - a for a, b in gaps))
            own.append(1000 * max((b - a) - covered((a, b), [*beat.draws, *beat.insertions]) for a, b in gaps))
        self.results[what] = {
            "ms": round(statistics.median(times), 1),
            "away_ms": round(statistics.median(away)),
            "own_ms": round(max(0.0, statistics.median(own))),
        }
        print(what, self.results[what], flush=True)

    def open(self) -> None:
        """Open the sample, until its volumes are there."""
        session, before = self.app.session, self.app.session.study
        self.sample.click()
        self.turn(lambda: session.study is not before and session.reading == "" and session.measures is not None)

    def segment(self) -> None:
        """Segment it by the bundled model."""
        session = self.app.session
        before = session.segmentation
        self.features.segment.segment()
        self.turn(lambda: session.segmentation is not before and session.job is None and session.measures is not None)

    def go(self) -> None:
        """To the middle of the labels."""
        import numpy as np

        layer = self.app.context.labels
        middle = np.argwhere(np.asarray(layer.data) > 0).mean(axis=0)
        self.viewer.dims.point = tuple(float(x) for x in layer.data_to_world(middle))

    def steps(self) -> None:
        """Slices on and back."""
        axis = self.viewer.dims.order[0]
        for i in range(STEPS):
            self.viewer.dims.set_current_step(axis, self.viewer.dims.current_step[axis] + (1 if i % 2 else -1))
            self.turn()

    def stroke(self) -> None:
        """Points of a stroke, each drawn: erased and painted in turns, so that each changes something."""
        layer, self.label = self.app.context.labels, 2 - self.label
        planes = getattr(self.features, "planes", None)
        z, y, x = (round(v) for v in layer.world_to_data(self.viewer.dims.point))
        with layer.block_history():
            for i in range(STEPS):
                layer.paint((z, y, x - STEPS // 2 + i), self.label)
                self.turn()
                if planes is not None and planes.canvases is not None:
                    planes.canvases.refresh()
                    self.turn()

    def canvases(self, arrangement: str) -> None:
        """That arrangement, until all canvases are there."""
        planes = self.features.planes
        planes.arrange(arrangement)
        self.turn(lambda: planes.canvases is None or (
            planes.canvases.solid is not None and all(w.isVisible() for w in planes.canvases.natives)
        ))  # fmt: skip

    def run(self) -> Measured:
        """All of it."""
        view = self.features.view
        self.measure("open the sample study", self.open)
        self.measure(TIME, self.segment)
        self.go()
        for name in ("coronal", "axial"):
            self.measure(f"to the {name} plane", lambda name=name: (view.to_plane(name), self.turn()),
                         before=lambda name=name: view.to_plane("sagittal"))  # fmt: skip
        self.measure("slice step, one canvas", self.steps, STEPS)
        self.measure("point of a stroke, one canvas", self.stroke, STEPS)
        if hasattr(self.features, "planes"):
            self.measure("open four canvases", lambda: self.canvases("four"), before=lambda: self.canvases("one"))
            self.measure("slice step, four canvases", self.steps, STEPS)
            self.measure("point of a stroke, four canvases", self.stroke, STEPS)
            self.measure("close the canvases", lambda: self.canvases("one"), before=lambda: self.canvases("four"))
        surfaces = self.features.regions.surfaces
        self.measure("to 3D", lambda: (view.to_3d(), self.turn(lambda: len(surfaces.surfaces) > 3 and not surfaces.busy)),
                     before=lambda: view.to_plane("axial"))  # fmt: skip
        self.viewer.close()
        return self.results


def git(*words: str) -> str:
    """What git answers; "" where it does not."""
    done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def measured(tree: Path, repeats: int, work: Path) -> Measured:
    """The results of the code in that tree, in a process of its own."""
    out = work / "results.json"
    paths = os.pathsep.join([str(tree / "training"), str(tree)])
    env = os.environ | {"PYTHONPATH": paths, "BRAINSEG_HOME": str(work / "home")}
    given = ["--here", str(out), "--repeats", str(repeats)]
    subprocess.run([sys.executable, "-P", str(HERE / "run.py"), *given], env=env, cwd=work, check=True)
    results: Measured = json.loads(out.read_text())
    return results


def unpacked(commit: str, work: Path) -> Path:
    """The code of that commit, in a folder."""
    packed = work / "tree.tar"
    subprocess.run(["git", "-C", str(ROOT), "archive", "-o", str(packed), commit], check=True)
    with tarfile.open(packed) as files:
        files.extractall(work / "tree", filter="data")
    return work / "tree"


def main() -> None:
    """Measure both, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--beside", default=git("describe", "--tags", "--abbrev=0") or BEFORE)
    parser.add_argument("--here", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.here is not None:
        given.here.write_text(json.dumps(Bench(given.repeats).run()))
        return
    found: dict[str, Measured] = {}
    with tempfile.TemporaryDirectory() as now, tempfile.TemporaryDirectory() as before:
        if commit := git("rev-parse", "--short", given.beside):
            found["before"] = measured(unpacked(commit, Path(before)), given.repeats, Path(before))
        else:
            print(f"There is no commit {given.beside} here: nothing is measured beside.")
        load = os.getloadavg()[0]
        found["now"] = measured(ROOT, given.repeats, Path(now))
    told = {"date": str(date.today()), "repeats": given.repeats, "beside": commit, "load": round(load, 1), **found}
    (HERE / "results.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    (HERE / "README.md").write_text(page(told), encoding="utf-8")


def page(told: dict[str, Any]) -> str:
    """The page."""
    before = told.get("before", {})
    rows = []
    for what, now in told["now"].items():
        then = before.get(what)
        ratio = f"{now['ms'] / then['ms']:.2f}" if then else "–"
        was = f"{then['ms']:.0f}" if then else "–"
        rows.append(f"| {what} | {now['ms']:.0f} | {was} | {ratio} | {now['away_ms']} | {now['own_ms']} |")
    step = told["now"]
    each = step["slice step, four canvases"]["ms"] / step["slice step, one canvas"]["ms"]
    return (
        f"# The window: milliseconds of what is done all day\n\n{told['date']}, 240×240×155, four series, medians of "
        f"{told['repeats']}, drawn in software on {os.cpu_count()} cores that other work shared (load {told['load']}). "
        "Time spent waiting for a core is left out, but not that a shared core computes slower: the ratio to the earlier code, "
        f"measured in the same run ({told['beside'] or 'none'}: the last release, or the commit before the reading room), says "
        "more than the milliseconds.\n\n"
        "| what | ms | before | ratio | longest the window was away, ms | of which neither drawing nor napari's insertion |\n"
        "|---|---|---|---|---|---|\n" + "\n".join(rows) + "\n\n"
        f"With four canvases a slice step, which redraws those that it changes, takes {each:.2f} times that of one.\n\n"
        f"Made by `scripts/with-display python benchmarks/window/run.py --repeats {told['repeats']}`.\n"
    )


if __name__ == "__main__":
    main()
