"""How fast a hospital's export is listed: 1,200 files in 19 series, with the private headers that scanners write.

Each measurement is a process of its own: the headers of all files scanned, sorted and judged; the files are in the system's
cache by then, as after a first look. Peak memory is the process's.

    python benchmarks/dicom/run.py            writes results.json and README.md beside this file
    python benchmarks/dicom/run.py --smoke    a few files: does it run? Nothing is written
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import numpy as np

from brainseg_engine.core.geometry import Grid
from brainseg_engine.phantom.dicom import Person, SeriesPlan, new_person, write_series

SERIES, FILES, RUNS = 19, 1200, 5
TARGET_SECONDS, TARGET_MB = 2.0, 300
HERE = Path(__file__).parent


def main() -> int:
    """Write the study, list it some times, write the page."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--smoke", action="store_true", help="38 files, two runs; nothing is written")
    options.add_argument("--list", type=Path, help=argparse.SUPPRESS)
    args = options.parse_args()
    if args.list is not None:
        return _list(args.list)
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        for vendor in ("SIEMENS", "Philips"):
            root = Path(folder, vendor)
            files = write(root, 2 * SERIES if args.smoke else FILES, vendor)
            for _ in range(2 if args.smoke else RUNS + 1):
                command = [sys.executable, __file__, "--list", str(root)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                runs.append({"vendor": vendor, "files": files, **json.loads(done.stdout)})
            if not args.smoke:
                runs.pop(-RUNS - 1)  # the first run fills the cache
    seconds = [r["seconds"] for r in runs]
    results = {
        "date": date.today().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "runs": runs,
        "median_seconds": round(statistics.median(seconds), 2),
        "worst_seconds": round(max(seconds), 2),
        "cpu_seconds": round(statistics.median(r["cpu_seconds"] for r in runs), 2),
        "peak_mb": max(r["peak_mb"] for r in runs),
    }
    print(json.dumps({k: v for k, v in results.items() if k != "runs"}, indent=1))
    if not args.smoke:
        (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n")
        (HERE / "README.md").write_text(_page(results))
    return 0


def write(root: Path, files: int, vendor: str) -> int:
    """Small pictures (their pixels are never read) with a private header of 60 kB each, as Siemens writes."""
    person = new_person()
    each = files // SERIES
    left = files - each * SERIES
    header = np.random.default_rng(0).bytes(60_000) if files > 2 * SERIES else b"x" * 100
    for i in range(SERIES):
        slices = each + (left if i == 0 else 0)
        grid = Grid((64, 64, slices), np.diag([-3.5, -3.5, 2.0, 1.0]))
        stored = np.zeros(grid.shape, dtype=np.uint16)
        _write_series(root / f"S{i:03d}", stored, grid, person, SeriesPlan(f"series {i}", i + 1, vendor), header)
    return files


def _write_series(
    folder: Path, stored: np.ndarray, grid: Grid, person: Person, plan: SeriesPlan, header: bytes
) -> None:
    import pydicom

    for path in write_series(folder, stored, grid, person, plan):
        dataset = pydicom.dcmread(path)
        block = dataset.private_block(0x0029, "BENCHMARK", create=True)
        block.add_new(0x10, "OB", header)
        dataset.save_as(path)


def _list(root: Path) -> int:
    """One measurement, in this process: seconds without the start of Python, peak memory in MB."""
    from brainseg_engine.io.listing import list_series

    begun, processor = time.perf_counter(), time.process_time()
    listing = list_series(root)
    seconds, cpu = time.perf_counter() - begun, time.process_time() - processor
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1 if sys.platform == "darwin" else 1024)
    found = sum(1 for _ in listing.series)
    print(json.dumps({"seconds": round(seconds, 3), "cpu_seconds": round(cpu, 3), "peak_mb": peak, "series": found}))
    return 0


def _page(results: dict) -> str:
    rows = "\n".join(
        f"| {r['vendor']} | {r['files']} | {r['series']} | {r['seconds']:.2f} | {r['cpu_seconds']:.2f} | {r['peak_mb']} |"
        for r in results["runs"]
    )
    return f"""# Listing a DICOM export

{FILES:,} files in {SERIES} series: headers scanned in one pass, sorted, grouped and judged; no pixel is read. Made by
`python benchmarks/dicom/run.py` on {results["date"]} ({results["machine"]}; load of the machine then: {results["load"]}).

Median **{results["median_seconds"]} s**, worst {results["worst_seconds"]} s (wanted: under {TARGET_SECONDS:.0f} s), of which the
processor worked {results["cpu_seconds"]} s: the rest is other work on the machine. Peak memory **{results["peak_mb"]} MB**
(wanted: under {TARGET_MB} MB).

| habits of | files | series | seconds | processor | peak MB |
|---|---|---|---|---|---|
{rows}
"""


if __name__ == "__main__":
    sys.exit(main())
