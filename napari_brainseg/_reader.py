"""npe2 reader: a study folder opens as one study, a single file as an image or a labels layer, right way round.

What is not ours is left to other readers (None), known by names alone and before anything heavy is imported.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

LayerTuple = tuple[Any, dict[str, Any], str]
ReaderFunction = Callable[[str | Sequence[str]], list[LayerTuple]]

_ARCHIVES = (".zip",)
_DICOM = (".dcm",)
_SUFFIXES = (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd", ".mgz", ".mgh", ".hdr", ".hdr.gz")
_VOXELS = (".img", ".img.gz")  # a header lies beside them
_SLICE = re.compile(r"_\d+(_mask)?\.tiff?$")
_MANY = 2000  # entries of a folder that are looked at: a study has a few dozen at most
_LEAST, _MOST = 3, 24  # images of one folder that may be one study, whatever they are called
_FEW = 50  # files whose first bytes are looked at
PANEL = ("napari-brainseg", "Brain tumour segmentation")
"""Plugin and display name of the panel, as in the manifest."""


def get_reader(path: str | Sequence[str]) -> ReaderFunction | None:
    """The reader for a folder, a file, or several files of one study; None where there is nothing for us to read."""
    paths = [Path(path)] if isinstance(path, str) else [Path(p) for p in path]
    if not paths:
        return None
    if all(_is_export(p) for p in paths):
        return read_export
    if len(paths) == 1 and paths[0].is_dir():
        return read_study if _is_study(paths[0]) else read_export if _may_be_study(paths[0]) else None
    if not all(_is_image(p) for p in paths):
        return None
    return read_study if len(paths) > 1 else read_file


def read_study(path: str | Sequence[str]) -> list[LayerTuple]:
    """A study, which the panel opens, as by its own button: no layer yet. Without a window the study's layers."""
    return read_export(path) if _in_window() else study_layers(path)


def study_layers(path: str | Sequence[str]) -> list[LayerTuple]:
    """The layers of a study: its images, one of them visible, and its mask on top where it has one.

    Opens the panel beside it. Raises a BrainsegError whose sentence names the file, the cause and the remedy.
    """
    from brainseg_engine.io import load_study
    from napari_brainseg.display.layers import study_tuples

    study = load_study(path if isinstance(path, str) else [Path(p) for p in path])
    if not study.aligned:
        return read_export(path)
    _open_panel()
    return study_tuples(study)


def read_export(path: str | Sequence[str]) -> list[LayerTuple]:
    """No layer yet: the panel opens what lies there. Series of DICOM, of an archive, of files on grids of their own or with
    names that tell nothing are listed there.

    Without a window the layers of a study that needs no preparation; InputError for another.
    """
    from brainseg_engine.core.errors import InputError

    if not _in_window():
        from brainseg_engine.io import load_study
        from brainseg_engine.studies.incoming import find_study, is_export
        from napari_brainseg.display.layers import study_tuples

        if isinstance(path, str) and is_export(Path(path)) and (study := load_study(find_study(Path(path)))).aligned:
            return study_tuples(study)
        raise InputError(
            "These are series as acquired. Prepare them first: 'napari-brainseg prepare' does so without a window."
        )
    source = Path(path) if isinstance(path, str) else [Path(p) for p in path]
    if not isinstance(source, Path) and len(source) == 1:
        source = source[0]
    _open_panel(lambda session: session.open_requested.emit(source))
    return [(None,)]  # type: ignore[list-item]  # what napari takes for "read, and nothing to add"


def read_file(path: str | Sequence[str]) -> list[LayerTuple]:
    """The one layer of an image or mask; which of them it is, its name tells. An image of several channels is a study.

    Raises BrainsegError as above.

    A mask belongs to the study that its name tells, so that it joins the images of that study.
    """
    from brainseg_engine.core.study import Modality
    from brainseg_engine.io import load_segmentation, read_image, read_volume
    from brainseg_engine.io.decathlon import is_case
    from brainseg_engine.io.naming import MASK, classify, stem, study_id
    from napari_brainseg.display.layers import image_tuple, labels_tuple, plain_tuple

    file = Path(path if isinstance(path, str) else path[0])
    if is_case(file):
        return study_layers(str(file)) if not _in_window() else read_export(str(file))
    name, kind = stem(file.name), classify([file.name])[0]
    study = study_id([file.name]) or name
    if kind == MASK:
        return [labels_tuple(load_segmentation(file), study_id=study, name=name)]
    if kind is not None:
        return [image_tuple(read_volume(file, Modality(kind)), study_id=study, name=name)]
    image = read_image(file)
    return [plain_tuple(image.data, image.affine, study_id=study, name=name)]


def _in_window() -> bool:
    """Whether there is a napari window, with a panel or a place for it."""
    from napari import current_viewer

    return getattr(current_viewer(), "window", None) is not None


def _is_export(path: Path) -> bool:
    """An archive, DICOM, or a folder with DICOM and no study by its files' names."""
    name = path.name.lower()
    if path.is_file():
        return name.endswith((*_ARCHIVES, *_DICOM)) or name == "dicomdir"
    return path.is_dir() and not _is_study(path) and _holds_dicom(path)


def _is_image(path: Path) -> bool:
    lower = path.name.lower()
    if lower.endswith((*_VOXELS, ".hdr", ".hdr.gz")):
        from brainseg_engine.io.pair import partner

        return path.is_file() and partner(path) is not None
    return lower.endswith(_SUFFIXES) and path.is_file()


def _is_study(folder: Path) -> bool:
    """True when a name in the folder tells one of our modalities, or when it holds a patient's image slices.

    A folder of studies, or of anything else, is not ours.
    """
    names = [p.name.lower() for p in islice((p for depth in ("*", "*/*") for p in folder.glob(depth)), _MANY)]
    if any(_SLICE.search(name) for name in names) and _is_slices(folder):
        return True
    if not any(name.endswith(_SUFFIXES) for name in names):
        return False
    from brainseg_engine.core.errors import BrainsegError
    from brainseg_engine.io.layouts import find_series

    try:
        series = find_series(folder)
    except BrainsegError:
        return False
    return bool(series.files or series.ambiguous)


def _may_be_study(folder: Path) -> bool:
    """As many images side by side as a study has, whose names tell nothing: the panel looks at them, where there is one."""
    names = [p.name.lower() for p in islice(folder.glob("*"), _MANY)]
    return _LEAST <= sum(name.endswith(_SUFFIXES) for name in names) <= _MOST and _in_window()


def _holds_dicom(folder: Path) -> bool:
    """Whether one of the first files is DICOM, by its first bytes (files without a preamble are left to the panel)."""
    from brainseg_engine.core import plain

    for path in islice((Path(where, n) for where, _, names in os.walk(folder) for n in sorted(names)), _FEW):
        try:
            with plain.opened(path) as file:
                if file.read(132)[128:] == b"DICM":
                    return True
        except OSError:
            continue
    return False


def _is_slices(folder: Path) -> bool:
    """Slices by their names, and the first of them is such a picture: TIFF files are of many kinds."""
    from brainseg_engine.core.errors import BrainsegError
    from brainseg_engine.io import slices

    if not slices.is_slices(folder):
        return False
    try:
        first = next(iter(slices.list_slices(folder).images.values()))
    except BrainsegError:
        return True  # ours, and what is wrong with it the reader says
    try:
        slices.header(first)
    except BrainsegError:
        return False
    return True


def _open_panel(then: Callable[[Any], object] = lambda session: None) -> None:
    """Open the panel once napari has put the layers in, ``then`` do that with its session; nothing where there is no window."""
    from napari import current_viewer

    viewer = current_viewer()
    if viewer is None:
        return
    from napari.qt.threading import create_worker

    def show(_: object = None) -> None:
        window = getattr(viewer, "window", None)
        if window is not None:
            dock, panel = window.add_plugin_dock_widget(*PANEL)  # a second call gives the one that is open
            dock.show()
            dock.raise_()
            then(panel.owner.session)

    # An empty job for a thread: its answer comes by way of the event loop, which is after the layers are in.
    create_worker(lambda: None, _connect={"returned": show})
