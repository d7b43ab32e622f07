"""Which files of a folder are which series, from their names; no pixel is read.

Known are the BraTS layouts of 2013 to 2024 (``<id>_t1ce.nii.gz``, ``<id>-t1c.nii.gz``, ``VSD.Brain.XX.O.MR_T1c.N.mha``,
also with each series in a folder of its own) and the usual clinical words; see :mod:`brainseg_engine.io.naming`. The
layouts in which one file or folder holds all series are :mod:`brainseg_engine.io.decathlon` and
:mod:`brainseg_engine.io.slices`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from brainseg_engine.core.errors import InputError
from brainseg_engine.core.study import Modality
from brainseg_engine.io import decathlon, slices
from brainseg_engine.io.formats import SUFFIXES
from brainseg_engine.io.identity import mixed_patients
from brainseg_engine.io.image import in_words, is_folder, unreadable
from brainseg_engine.io.naming import MASK, Kind, classify, implied_coding, is_image, study_id
from brainseg_engine.io.series import Series
from brainseg_engine.io.sessions import name_of
from brainseg_engine.io.sidecars import read_sidecar

NAMES_KNOWN = (
    "<id>_t1, _t1ce, _t2, _flair, or <id>-t1n, -t1c, -t2w, -t2f (.nii, .nii.gz, .mha, .mhd, .nrrd, .mgz or .hdr/.img)"
)


@in_words
def find_series(folder: Path) -> Series:
    """The series in a study folder. Raises InputError when the folder cannot be read or holds no image at all."""
    folder = Path(folder)
    if slices.is_slices(folder):
        series = slices.find(folder)
        if series.segmentation is None:
            series = replace(series, segmentation=_mask_file(folder, series.id))
    else:
        named = _images(folder)
        if not named or decathlon.cases_in(folder):
            raise InputError(_nothing_in(folder))
        series = sort_series(list(named), names=list(named.values()), folder=folder)
        series = _as_folders_tell(series, folder)
    if series.segmentation is None and MASK not in series.ambiguous and series.files:
        series = replace(series, segmentation=_saved_beside(folder, series.id))
    return series


def sort_series(paths: Sequence[Path], *, names: Sequence[str] | None = None, folder: Path | None = None) -> Series:
    """Files → series, by their names (or by ``names``, where a file lies in a folder that bears the telling name)."""
    names = [p.name for p in paths] if names is None else names
    groups: dict[Kind, list[int]] = {}
    for i, kind in enumerate(classify(names)):
        groups.setdefault(kind, []).append(i)
    files = {m: paths[groups[m][0]] for m in Modality if len(groups.get(m, ())) == 1}
    masks = groups.get(MASK, [])
    several = {
        str(k): tuple(paths[i] for i in group) for k, group in groups.items() if k is not None and len(group) > 1
    }
    unknown = tuple(paths[i] for i in groups.get(None, ()))
    recognised = [names[i] for kind, group in groups.items() if kind is not None for i in group]
    images = [names[groups[m][0]] for m in files]
    mixed = mixed_patients(names)
    home = folder if folder is not None else _common_folder(paths)
    return Series(
        id=(study_id(images) if images else "") or (name_of(home) if home is not None else "") or "study",
        files=files,
        segmentation=paths[masks[0]] if len(masks) == 1 else None,
        coding=implied_coding(recognised),
        problems=[
            *filter(None, [mixed]),
            *missing_series(files, several, unknown),
            *(ambiguity(k, several[k]) for k in several),
        ],
        ambiguous=several,
        unknown=unknown,
        folder=home,
        mixed=mixed,
    )


def _as_folders_tell(series: Series, folder: Path) -> Series:
    """Where each series lies in a folder that bears a whole file's name (``BraTS2021_00000_t1.nii/00000057_brain_t1.nii``, as
    Kaggle unpacks archives), these names tell the study's id and its coding."""
    homes = [p.parent.name for p in series.files.values()]
    if not homes or not all(is_image(p.parent) for p in series.files.values()) or None in classify(homes):
        return series
    mask = [series.segmentation.parent.name] if series.segmentation is not None else []
    return replace(series, id=study_id(homes) or series.id, coding=implied_coding([*homes, *mask]) or series.coding)


@in_words
def find_studies(folder: Path) -> list[Path]:
    """The studies at or below ``folder``, sorted: itself, its children, or theirs (HGG/LGG).

    Each is what ``load_study`` takes: a folder, or in the Decathlon's layout an image of several channels.
    """
    return _studies(Path(folder), depth=2)


def ambiguity(what: str, candidates: Sequence[Path]) -> str:
    """The sentence for several candidates for one modality or mask."""
    title = "the mask" if what == MASK else Modality(what).title
    listed = " and ".join(str(p) for p in candidates)
    return f"Several files may be {title}: {listed}. Assign the right one by hand, or move the others away."


def _studies(folder: Path, depth: int) -> list[Path]:
    if slices.is_slices(folder):
        return [folder]
    if cases := decathlon.cases_in(folder):
        return cases
    named = _images(folder)
    if named and any(isinstance(k, Modality) for k in classify(list(named.values()))):
        return [folder]
    if depth == 0:
        return []
    below = []
    for child in sorted(_children(folder)):
        if _is_folder(child) and not child.name.startswith("."):
            try:
                below += _studies(child, depth - 1)
            except InputError:  # one closed folder does not hide the others
                continue
    return below


def _images(folder: Path) -> dict[Path, str]:
    """Image → the name that tells what it is: its own, or that of the folder it lies in alone."""
    named: dict[Path, str] = {}
    for child in sorted(_children(folder)):
        if _is_folder(child):
            if not child.name.startswith(".") and classify([child.name]) != [None]:
                inside = _inside(child)
                if len(inside) == 1:
                    own = classify([inside[0].name]) != [None]
                    named[inside[0]] = inside[0].name if own else child.name
        elif is_image(child):
            named[child] = child.name
    return named


def _inside(series: Path) -> list[Path]:
    """The images of a series' folder, or of the one folder in it (the Erasmus Glioma Database's ``1_T1/NIFTI/T1.nii.gz``)."""
    children = [p for p in _children(series) if not p.name.startswith(".")]
    below = [p for p in children if _is_folder(p)]
    images = [p for p in children if is_image(p) and p not in below]
    return (
        images if images or len(below) != 1 else [p for p in _children(below[0]) if is_image(p) and not _is_folder(p)]
    )


def _mask_file(folder: Path, id_: str) -> Path | None:
    """The file ``<id>_seg`` in the folder, by its ending; None for none."""
    return next((p for s in SUFFIXES if (p := folder / f"{id_}_seg{s}").is_file()), None)


def _saved_beside(folder: Path, id_: str) -> Path | None:
    """The mask ``<id>_seg`` next to a study folder, where its sidecar says that a person edited it.

    What a model gave may lie there too: that is no truth.
    """
    path = _mask_file(folder.absolute().parent, id_)
    try:
        return path if path is not None and read_sidecar(path).get("edited") is True else None
    except InputError:
        return None


def _is_folder(path: Path) -> bool:
    """True for a folder that may be looked at; what may not is left to the reader, which says so."""
    try:
        return is_folder(path)
    except InputError:
        return False


def _children(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except NotADirectoryError as e:
        raise InputError(f"{folder} is a file, and a study folder is expected. Name the folder that holds it.") from e
    except OSError as e:
        raise unreadable(folder, e) from e


def _nothing_in(folder: Path) -> str:
    children = _children(folder)
    if any(p.suffix.lower() in (".dcm", ".ima") or p.name.upper() == "DICOMDIR" for p in children):
        return (
            f"{folder} holds files that are named as DICOM, and none that was looked at is DICOM: they are empty, damaged or of "
            "another kind. Copy or export them again."
        )
    studies = find_studies(folder)
    if studies:
        return f"{folder} is no study but holds {len(studies)} of them. Name one, for example {studies[0]}."
    what = "is empty" if not children else "holds no image"
    return f"{folder} {what}. A study folder has files named {NAMES_KNOWN}."


def missing_series(
    files: Mapping[Modality, Path], several: Mapping[str, tuple[Path, ...]], unknown: tuple[Path, ...]
) -> list[str]:
    """The sentence for modalities that no file is, nor may be; [] where there are none."""
    missing = [m.title for m in Modality if m not in files and m.value not in several]
    if not missing:
        return []
    hint = ""
    if unknown:
        shown = ", ".join(p.name for p in unknown[:4]) + (", …" if len(unknown) > 4 else "")
        hint = f" The name tells no modality of {shown}: assign by hand what belongs here."
    return [f"No file is named as {', '.join(missing)} (known are {NAMES_KNOWN}).{hint}"]


def _common_folder(paths: Sequence[Path]) -> Path | None:
    parents = {p.parent for p in paths}
    return parents.pop() if len(parents) == 1 else None
