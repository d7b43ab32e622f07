"""`napari-brainseg phantom`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from brainseg_engine.cli.printing import messages, say


def phantom(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write the studies into, one folder each.")],
    cases: Annotated[int, typer.Option("--cases", "-n", min=1, help="How many studies.")] = 1,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Seed of the first study; the next ones count up from it.")
    ] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace studies that are there already.")] = False,
) -> None:
    """Make synthetic studies: four MR series of a head with a brain tumour, and the true mask.

    They are for trying the program out, for tests and for benchmarks. The same seed gives the same study. Files are
    named and coded as in BraTS 2023 (Phantom_0000001-t1n.nii.gz …, mask values 1, 2, 3), 240×240×155 voxels of 1 mm;
    some 8 MB and a few seconds each. Seeds from 1000000 on are never used for training.

    Examples:

      napari-brainseg phantom --out phantoms --cases 5 --seed 1000100

      napari-brainseg predict phantoms/Phantom_1000100 --out masks
    """
    from rich.progress import track

    from brainseg_engine.core.errors import OutputError
    from brainseg_engine.core.paths import check_writable
    from brainseg_engine.phantom import phantom_study, study_id, write_study
    from brainseg_engine.phantom.files import STUDY_BYTES

    seeds = range(seed, seed + cases)
    there = [s for s in seeds if (out / study_id(s)).exists()]
    if there and not overwrite:
        raise OutputError(
            f"{out / study_id(there[0])} is there already"
            + (f", and {len(there) - 1} more" if len(there) > 1 else "")
            + ". Choose another folder or seed, or add --overwrite to replace it."
        )
    check_writable(out, STUDY_BYTES * cases)
    console = messages()
    quiet = not console.is_terminal
    for s in track(seeds, description="making phantoms", console=console, transient=True, disable=quiet):
        folder = write_study(phantom_study(s), out, overwrite=overwrite)
        say(folder)
