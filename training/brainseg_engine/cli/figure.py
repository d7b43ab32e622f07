"""`napari-brainseg figure`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from brainseg_engine.cli.options import ImagesOption, ResultCodingOption, ResultsArgument
from brainseg_engine.cli.printing import say

if TYPE_CHECKING:
    from brainseg_engine.core.study import Segmentation, Study

KINDS = {"key": "_key", "sweep": "_sweep", "turn": "_turn"}
"""Kind of picture → the end of its file's name, before the suffix."""


def figure(
    results: ResultsArgument,
    out: Annotated[Path, typer.Option("--out", help="Folder for the pictures; made when it is not there.")],
    kinds: Annotated[
        str, typer.Option("--kind", help="With commas: key (PNG), sweep (film of slices), turn (film in 3D).")
    ] = "key",
    film: Annotated[str, typer.Option("--film", help="Format of the films: gif or mp4 (extra video).")] = "gif",
    images: ImagesOption = None,
    coding: ResultCodingOption = None,
) -> None:
    """Pictures of results, for slides and mails: a key image in three planes, the slices one after the other, the tumour turning.

    Examples:

      napari-brainseg figure masks/p1_seg.nii.gz --images data/p1 --out pictures --kind key,turn
    """
    from brainseg_engine.core.errors import InputError
    from brainseg_engine.report.sources import find_results, load_result

    wanted = [k.strip().lower() for k in kinds.split(",") if k.strip()]
    unknown = [k for k in wanted if k not in KINDS]
    if unknown or not wanted:
        raise InputError(f"There is no kind of picture '{', '.join(unknown)}'. Known are {', '.join(KINDS)}.")
    if film not in ("gif", "mp4"):
        raise InputError(f"There is no film format '{film}'. Known are gif and mp4.")
    out.mkdir(parents=True, exist_ok=True)
    for source in find_results(results, images):
        result = load_result(source, coding)
        if result.study is None:
            raise InputError(f"The images of '{result.id}' are needed for a picture: name their folder with --images.")
        for kind in wanted:
            path = out / f"{result.id}{KINDS[kind]}.{'png' if kind == 'key' else film}"
            _draw(kind, result.study, result.segmentation, path)
            say(str(path))


def _draw(kind: str, study: Study, segmentation: Segmentation, path: Path) -> None:
    if kind == "key":
        from brainseg_engine.figures import overlay_figure

        overlay_figure(study, segmentation, path)
    elif kind == "sweep":
        from brainseg_engine.figures.moving import sweep

        sweep(study, segmentation, path)
    else:
        from brainseg_engine.figures.moving import film_of
        from brainseg_engine.report.pictures import turning

        film_of(turning(segmentation, study), path)
