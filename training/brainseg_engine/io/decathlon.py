"""The Medical Segmentation Decathlon's brain tumours (Task01): one 4-D NIfTI image a case, channels named by ``dataset.json``.

Antonelli et al. 2022, doi:10.1038/s41467-022-30695-9. The folder has ``imagesTr/<case>.nii.gz``, ``labelsTr/<case>.nii.gz``
and ``imagesTs``. nnU-Net's raw folders have a file a channel, ``imagesTr/<case>_0000.nii.gz`` and on; a case's first stands for
it. A case is named by its image's path. Neither the channels' order nor the labels' meaning is taken for
granted: both are read, and what does not fit a table of :data:`brainseg_engine.core.labels.CODINGS` is refused.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brainseg_engine.core import labels as codings
from brainseg_engine.core import records
from brainseg_engine.core.errors import CodingError, InputError
from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import Label
from brainseg_engine.core.study import Modality, Volume
from brainseg_engine.io import nifti
from brainseg_engine.io.image import content_hash, in_words, unreadable, with_background
from brainseg_engine.io.naming import MASK, classify, is_image, stem, words
from brainseg_engine.io.series import Layout, Series

DESCRIPTION = "dataset.json"
_IMAGES, _LABELS = ("imagesTr", "imagesTs", "imagesVal"), "labelsTr"
_CHANNEL = re.compile(r"(?P<case>.+)_(?P<number>\d{4})")


def cases_in(folder: Path) -> list[Path]:
    """The images of a Decathlon folder, sorted: those of ``imagesTr``, or of the folder of images itself; [] elsewhere."""
    images = folder if folder.name in _IMAGES else folder / _IMAGES[0]
    if not (images.parent / DESCRIPTION).is_file() or not images.is_dir():
        return []
    try:
        images_there = sorted(p for p in images.iterdir() if is_image(p) and classify([p.name]) != [MASK])
    except OSError as e:
        raise unreadable(images, e) from e
    firsts = [p for p in images_there if _channel(p) == 0]
    return firsts or images_there


def case_name(path: Path) -> str:
    """What a case is called: its image without the ending, and without nnU-Net's number of the channel."""
    match = _CHANNEL.fullmatch(stem(path.name)) if _is_described(path) else None
    return match["case"] if match else stem(path.name)


def _channel(path: Path) -> int | None:
    """The number of the channel of a file of nnU-Net's raw layout (``X_0000`` …); None for other names."""
    match = _CHANNEL.fullmatch(stem(path.name))
    return int(match["number"]) if match else None


def _is_described(path: Path) -> bool:
    return path.parent.name in _IMAGES and (path.parent.parent / DESCRIPTION).is_file()


def is_case(path: Path) -> bool:
    """True for an image of several channels: by its place in a Decathlon folder, else by its header."""
    if is_image(path) and _is_described(path):
        return True
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        return False
    try:
        return nifti.read_header(path).channels > 1
    except InputError:
        return False  # the reader says what is wrong with it


@in_words
def is_label(path: Path) -> bool:
    """True for a mask in the ``labelsTr`` of a Decathlon folder, whose names are those of the images."""
    return path.parent.name == _LABELS and (path.parent.parent / DESCRIPTION).is_file()


def find(path: Path) -> Series:
    """The channels of an image as series, with its labels where it has some. Raises InputError."""
    root = _root(path)
    if _is_described(path) and _channel(path) is not None:
        return _find_apart(path, root)
    files = dict.fromkeys((m for m in Modality if m in channels(path)), path)
    labels = root / _LABELS / path.name
    mask = labels if labels.is_file() and path.parent.name != "imagesTs" else None
    return Series(stem(path.name), files, mask, coding(root), folder=root, layout=Layout.CHANNELS)


def _find_apart(path: Path, root: Path) -> Series:
    """A case of nnU-Net's raw layout: a file a channel, named by its number, which ``dataset.json`` gives a meaning."""
    case = case_name(path)
    named = {(case_name(p), _channel(p)): p for p in sorted(path.parent.iterdir()) if is_image(p)}
    order = channels(path)
    files = {m: named[case, i] for i, m in enumerate(order) if (case, i) in named}
    absent = [f"{case}_{i:04d} ({m.title})" for i, m in enumerate(order) if m not in files]
    if absent:
        raise InputError(
            f"{path.parent} lacks {', '.join(absent)}, which {root / DESCRIPTION} tells of. Add what is missing."
        )
    masks = (
        [p for p in (root / _LABELS).glob(f"{glob.escape(case)}.*") if is_image(p)]
        if path.parent.name != "imagesTs"
        else []
    )
    try:
        coding_name = coding(root)
    except CodingError:  # said where the mask is read
        coding_name = ""
    return Series(
        case, {m: files[m] for m in Modality if m in files}, masks[0] if masks else None, coding_name, folder=root
    )


@in_words
def read(path: Path) -> dict[Modality, Volume]:
    """Modality → its channel, all on the image's grid. Raises InputError."""
    order = channels(path)
    image = nifti.read_channels(path)
    if image.data.shape[3] != len(order):
        raise InputError(f"{path} has {image.data.shape[3]} channels, and {_root(path) / DESCRIPTION} names {len(order)}. "
                         "One of the two belongs to another data set.")  # fmt: skip
    grid = Grid(image.data.shape[:3], image.affine, image.calibrated)
    volumes = {
        m: Volume(data, grid, m, None, content_hash(data, image.affine), image.header, image.note)
        for m, data in ((m, with_background(image.data[..., i])) for i, m in enumerate(order))
    }
    return {m: volumes[m] for m in Modality if m in volumes}


@in_words
def channels(path: Path) -> list[Modality]:
    """What each channel of the image is, as ``dataset.json`` tells. Raises InputError."""
    where = _root(path) / DESCRIPTION
    description = _description(where)
    named = description.get("modality", description.get("channel_names"))
    if not isinstance(named, dict) or not all(_is_number(str(k)) for k in named):
        raise InputError(
            f"{where} does not tell the channels under 'modality'. Take the file that came with the data set."
        )
    names = [str(named[k]) for k in sorted(named, key=int)]
    kinds = [_modality(name) for name in names]
    order = [k for k in kinds if k is not None]
    if len(order) < len(kinds) or len(set(order)) < len(order) or not order:
        raise InputError(f"{where} names the channels {', '.join(names)}, and each should be one of FLAIR, T1w, T1gd, T2w. "
                         "Only brain tumour data (Task01) can be read.")  # fmt: skip
    return order


@in_words
def coding(root: Path) -> str:
    """The label coding that ``dataset.json`` describes. Raises CodingError where no table fits."""
    where = root / DESCRIPTION
    description = _description(where).get("labels")
    pairs = dict(description) if isinstance(description, dict) else {}
    nested = any(isinstance(values, list) for values in pairs.values())
    table = (_of_regions if nested else _of_classes)(pairs, where)
    for c in codings.CODINGS.values():
        if table and dict(c.values) == table:
            return c.name
    if not any(label for label in table.values()):
        raise CodingError(f"{where} tells of no label what it is; {codings.choices()}")
    return codings.coding(",".join(f"{value}={label.name}" for value, label in sorted(table.items()) if label)).name


def _of_classes(labels: Mapping[Any, Any], where: Path) -> dict[int, Label]:
    """Value → label, where each value is a class: {"1": "edema"}, the Decathlon's form, or {"edema": 1}, nnU-Net's."""
    table: dict[int, Label] = {}
    for a, b in labels.items():
        value, name = (a, b) if _is_number(str(a)) else (b, a)
        label = _label(str(name))
        if not _is_number(str(value)) or label is None:
            raise _unknown(where, value, name)
        table[int(value)] = label
    for value, label in table.items():
        if label is Label.TUMOUR and set(table.values()) > {Label.BACKGROUND, Label.TUMOUR}:
            raise _unknown(where, value, "tumour, beside its parts")
    return table


def _of_regions(labels: Mapping[Any, Any], where: Path) -> dict[int, Label]:
    """Value → label, where nnU-Net's regions are given, nested, one value or a list of them: whole tumour, tumour core,
    enhancing tumour. The more inside, the later they count."""
    table: dict[int, Label] = {}
    kinds = (({"whole", "wt"}, Label.ED), ({"core", "tc"}, Label.NCR), ({"enhancing", "et"}, Label.ET))
    known = {name for name in labels if _label(str(name)) is Label.BACKGROUND}
    table |= {int(labels[name]): Label.BACKGROUND for name in known if _is_number(str(labels[name]))}
    for marks, label in kinds:
        for name, values in labels.items():
            if set(words(str(name))) & marks and name not in known:
                listed = values if isinstance(values, list) else [values]
                table |= {int(v): label for v in listed if _is_number(str(v))}
    for name, values in labels.items():
        if name not in known and not any(set(words(str(name))) & marks for marks, _ in kinds):
            raise _unknown(where, values, name)
    return table


def _unknown(where: Path, value: object, name: object) -> CodingError:
    return CodingError(
        f"{where} tells of the label {str(value)[:40]} that it is '{str(name)[:80]}', which is none of background, oedema, "
        "non-enhancing and enhancing tumour, cavity, or a whole tumour in one value. Name the coding by hand (--coding "
        "1=ED,2=NCR,3=ET)."
    )


def implied_coding(mask: Path) -> str:
    """The coding of a mask in ``labelsTr``, "" for masks elsewhere. Raises as :func:`coding`."""
    return coding(mask.parent.parent) if is_label(mask) else ""


def _root(path: Path) -> Path:
    """The folder of the ``dataset.json`` that describes the image. Raises InputError where there is none."""
    absolute = path.absolute()
    root = next((f for f in (absolute.parent, absolute.parent.parent) if (f / DESCRIPTION).is_file()), None)
    if root is None:
        raise InputError(
            f"{path} holds several channels, and no {DESCRIPTION} in its folder or the one above tells which series they "
            "are. Add that of its data set, or split the image into one file per series."
        )
    return root


def _description(where: Path) -> Mapping[str, Any]:
    try:
        description = records.read_json(where)
    except OSError as e:
        raise unreadable(where, e) from e
    except ValueError as e:
        raise InputError(f"{where} is damaged: it is no JSON text. Download it again.") from e
    if not isinstance(description, dict):
        raise InputError(f"{where} is no JSON object. Download it again.")
    return description


def _is_number(text: str) -> bool:
    return text.isdecimal() and text.isascii() and len(text) < 6


def _modality(name: str) -> Modality | None:
    kind = classify([name])[0]
    return kind if isinstance(kind, Modality) else None


_NAMED: tuple[tuple[set[str], Label], ...] = (
    ({"background"}, Label.BACKGROUND),
    # the newer data sets call oedema a "surrounding non-enhancing FLAIR hyperintensity"
    ({"edema", "oedema", "ed", "snfh", "hyperintensity", "surrounding", "peritumoral", "peritumoural"}, Label.ED),
    ({"resection", "cavity", "rc"}, Label.RC),
    ({"non", "nonenhancing", "necrotic", "necrosis", "ncr", "net", "netc", "nonenh"}, Label.NCR),
    ({"cyst", "cystic", "cc"}, Label.NCR),
    ({"enhancing", "et"}, Label.ET),
)
_WHOLE = {"tumor", "tumour", "lesion", "glioma", "whole", "wt"}


def _label(name: str) -> Label | None:
    description = set(words(name))
    label = next((label for marks, label in _NAMED if description & marks), None)
    return Label.TUMOUR if label is None and description and description <= _WHOLE else label
