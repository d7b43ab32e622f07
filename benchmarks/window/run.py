"""What the window costs: what is done all day, with one canvas and with four, and the longest the window was away in each.

In a real window, on the synthetic sample study (240×240×155, four series). Time is the wall clock without what the window's
thread waited for a core, so that other work on the machine counts little; drawing is included.

    scripts/with-display python benchmarks/window/run.py [--repeats 5]

Writes results.json and README.md beside this file.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "tests"))
STEPS = 10
"""Slice steps and points of a stroke that one measurement is the mean of."""


class Bench:
    """The window with the sample study, and a stopwatch."""

    def __init__(self, repeats: int) -> None:
        import napari
        from qtpy.QtWidgets import QWidget

        self.repeats, self.results, self.label = repeats, {}, 2
        self.viewer = napari.Viewer(show=True)
        self.viewer.window.resize(1600, 1000)
        _, panel = self.viewer.window.add_plugin_dock_widget("napari-brainseg", "Brain tumour segmentation")
        self.app, self.features = panel.owner, panel.owner.features
        self.sample = panel.findChild(QWidget, "open_sample")
        self.open()

    def turn(self, ready: Callable[[], bool] = lambda: True) -> None:
        """Let the window work until ``ready()``, and draw."""
        from qtpy.QtWidgets import QApplication

        QApplication.processEvents()
        while not ready():
            QApplication.processEvents()
        QApplication.processEvents()

    def measure(
        self, what: str, work: Callable[[], None], parts: int = 1, before: Callable[[], None] | None = None
    ) -> None:
        """Median of the repeats: milliseconds a part, and the longest the window was away, in ms."""
        from helpers.heartbeat import Clock, Heartbeat

        clock, times, away = Clock(), [], []
        for _ in range(self.repeats):
            if before is not None:
                before()
            self.turn()
            beat = Heartbeat()
            beat.start()
            began = clock.now()
            work()
            times.append(1000 * (clock.now() - began) / parts)
            beat.stop()
            away.append(1000 * max(b - a for a, b in zip(beat.beats, beat.beats[1:], strict=False)))
        self.results[what] = {"ms": round(statistics.median(times), 1), "away_ms": round(statistics.median(away))}
        print(what, self.results[what], flush=True)

    def open(self) -> None:
        """Open the sample, until its volumes are there."""
        session, before = self.app.session, self.app.session.study
        self.sample.click()
        self.turn(lambda: session.study is not before and session.reading == "" and session.measures is not None)

    def steps(self) -> None:
        """Slices on and back."""
        for i in range(STEPS):
            self.features.view.step_slice(1 if i % 2 else -1)
            self.turn()

    def stroke(self) -> None:
        """Points of a stroke, each drawn: erased and painted in turns, so that each changes something."""
        layer, self.label = self.app.context.labels, 2 - self.label
        z, y, x = (round(v) for v in layer.world_to_data(self.viewer.dims.point))
        with layer.block_history():
            for i in range(STEPS):
                layer.paint((z, y, x - STEPS // 2 + i), self.label)
                self.turn()
                if self.features.planes.canvases is not None:
                    self.features.planes.canvases.refresh()
                self.turn()

    def canvases(self, arrangement: str) -> None:
        """That arrangement, until all canvases are there."""
        planes = self.features.planes
        planes.arrange(arrangement)
        self.turn(lambda: planes.canvases is None or (planes.canvases.solid is not None and planes.canvases.live))

    def run(self) -> dict[str, Any]:
        """All of it."""
        view = self.features.view
        self.measure("open the sample study", self.open)
        self.app.sections.regions.jump_requested.emit("WT")
        for name in ("coronal", "axial"):
            self.measure(f"to the {name} plane", lambda name=name: (view.to_plane(name), self.turn()),
                         before=lambda name=name: view.to_plane("sagittal"))  # fmt: skip
        self.measure("slice step, one canvas", self.steps, STEPS)
        self.measure("point of a stroke, one canvas", self.stroke, STEPS)
        self.measure("open four canvases", lambda: self.canvases("four"), before=lambda: self.canvases("one"))
        self.measure("slice step, four canvases", self.steps, STEPS)
        self.measure("point of a stroke, four canvases", self.stroke, STEPS)
        self.measure("close the canvases", lambda: self.canvases("one"), before=lambda: self.canvases("four"))
        surfaces = self.features.regions.surfaces
        self.measure("to 3D", lambda: (view.to_3d(), self.turn(lambda: len(surfaces.surfaces) > 3 and not surfaces.busy)),
                     before=lambda: view.to_plane("axial"))  # fmt: skip
        self.viewer.close()
        return self.results


def main() -> None:
    """Measure, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    results = Bench(repeats).run()
    (HERE / "results.json").write_text(
        json.dumps({"date": str(date.today()), "repeats": repeats, "results": results}, indent=1) + "\n"
    )
    rows = "\n".join(f"| {what} | {r['ms']} | {r['away_ms']} |" for what, r in results.items())
    (HERE / "README.md").write_text(
        f"# The window: milliseconds of what is done all day\n\n{date.today()}, 240×240×155, four series, medians of {repeats}, "
        "drawn in software on two cores that other work shared; time spent waiting for a core is left out.\n\n"
        f"| what | ms | longest the window was away, ms |\n|---|---|---|\n{rows}\n\n"
        f"Made by `scripts/with-display python benchmarks/window/run.py --repeats {repeats}`.\n"
    )


if __name__ == "__main__":
    main()
