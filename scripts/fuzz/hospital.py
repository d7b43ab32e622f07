"""The doors that read what hospitals send and people prepare: DICOM folders, SEG, RTSTRUCT, prepared studies, assignments, and
what the window remembers. Each is made as those of `images`."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path

from changes import bytes_changed, door, json_changed


def dicom(folder: Path) -> Callable[[random.Random], None]:
    """A folder of one series, classic (also as lossless JPEG) or enhanced: listed, and its voxels read."""
    from dicom_studies import as_jpeg_lossless
    from helpers.dicom_series import write_dicom_series

    from brainseg_engine.io.listing import list_series, read_listed

    places = {kind: folder / kind for kind in ("thick", "jpeg", "enhanced")}
    for kind, place in places.items():
        place.mkdir()
        write_dicom_series(place, "thick" if kind == "jpeg" else kind)
    for path in places["jpeg"].iterdir():
        as_jpeg_lossless(path)
    sound = {kind: {p: p.read_bytes() for p in sorted(place.iterdir())} for kind, place in places.items()}

    def read(place: Path) -> None:
        with list_series(place) as listing:
            for series in listing.series:
                door(read_listed, series)

    def one(r: random.Random) -> None:
        kind = r.choice(sorted(places))
        spoilt = r.sample(sorted(sound[kind]), min(len(sound[kind]), r.choice((1, 1, 2, 5))))
        for path in spoilt:
            path.write_bytes(bytes_changed(sound[kind][path], r, r.choice((None, 2000))))  # headers, or anywhere
        door(read, places[kind])
        for path in spoilt:
            path.write_bytes(sound[kind][path])

    return one


def _derived(folder: Path, kind: str) -> Callable[[random.Random], None]:
    from helpers.dicom_series import grid_of_series, tumour_on, write_dicom_series

    from brainseg_engine.io import load_segmentation
    from brainseg_engine.io.derived.source import fitting, listed, opened
    from brainseg_engine.report.dicom_seg import Made, write_seg
    from brainseg_engine.report.rtstruct import write_rtstruct

    write_dicom_series(folder, "thick")
    mask = tumour_on(grid_of_series("thick"))
    source = opened(fitting(listed(folder), mask))
    made = {"seg": write_seg, "rtstruct": write_rtstruct}[kind](mask, source, Made("model", "1"))
    path = folder / "result.dcm"
    made.save_as(path, enforce_file_format=True)
    sound = path.read_bytes()

    def one(r: random.Random) -> None:
        path.write_bytes(bytes_changed(sound, r, r.choice((None, 3000))))
        door(load_segmentation, path)

    return one


def dicom_seg(folder: Path) -> Callable[[random.Random], None]:
    return _derived(folder, "seg")


def rtstruct(folder: Path) -> Callable[[random.Random], None]:
    return _derived(folder, "rtstruct")


def prepared(folder: Path) -> Callable[[random.Random], None]:
    """The record of a prepared study, whose id and transforms may name any place."""
    from helpers.small_study import make_study

    from brainseg_engine.core.study import Modality
    from brainseg_engine.prepare import files
    from brainseg_engine.prepare.prepared import Prepared
    from brainseg_engine.prepare.rigid import Rigid

    study = make_study()
    rigids, grids = (dict.fromkeys(Modality, what) for what in (Rigid.identity(), study.reference.grid))
    whole = Prepared(study, study.reference.data > 0, Modality.T1CE, rigids, grids, {}, (), {}, {}, False)
    place = files.save(whole, folder)
    record = place / files.RECORD
    sound = record.read_bytes()

    def one(r: random.Random) -> None:
        record.write_bytes(json_changed(sound, r))
        door(files.load, place, study)

    return one


def assignment(folder: Path) -> Callable[[random.Random], None]:
    from brainseg_engine.studies.assignment import read_assignment

    sound = {
        "a.toml": b't1 = "*T1*"\nt1ce = "*GD*"\nt2 = false\n',
        "a.json": b'{"t1": "*T1*", "t1ce": "*GD*", "flair": ""}',
    }

    def one(r: random.Random) -> None:
        name = r.choice(sorted(sound))
        raw = json_changed(sound[name], r) if name.endswith("json") else bytes_changed(sound[name], r)
        (folder / name).write_bytes(raw)
        door(read_assignment, folder / name)

    return one


def remembered(folder: Path) -> Callable[[random.Random], None]:
    """What the window remembers from start to start: of a damaged file nothing."""
    from napari_brainseg.features.corrections import choices

    sound = json.dumps({"store": "/tmp/corrections", "by": "A. Reader", "named": True}).encode()
    home = Path(os.environ["BRAINSEG_HOME"])
    home.mkdir(exist_ok=True)

    def one(r: random.Random) -> None:
        (home / "keeping.json").write_bytes(json_changed(sound, r))
        found = door(choices.remembered)
        assert all(isinstance(found.get(k, ""), str) for k in ("store", "by")), found

    return one
