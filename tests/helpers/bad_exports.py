"""What hospitals hand out and nothing can be made of: each written on the disk, with words of the sentence that tells it."""

from __future__ import annotations

import zipfile
from pathlib import Path

from dicom_studies import TIMING, ball, grid_of, new_person, write_series

from brainseg_engine.core.study import Modality
from brainseg_engine.phantom.dicom import SeriesPlan

HEAD = grid_of((40, 44, 12), (5.0, 5.0, 12.0))
THIN = grid_of((40, 44, 3), (5.0, 5.0, 12.0))


def series(folder: Path, grid=HEAD, person=None, **plan) -> list[Path]:
    return write_series(folder, ball(grid), grid, person or new_person(), SeriesPlan(**plan))


def four(folder: Path, person, uses=tuple(Modality)) -> None:
    for i, m in enumerate(uses):
        tags = {k: v for k, v in TIMING[m].items() if v is not None}
        series(folder / m.value, person=person, description=f"AX {m.title}", number=i + 1, tags=tags)


def nothing(folder: Path) -> Path:
    folder.mkdir()
    return folder


def text(folder: Path) -> Path:
    folder.mkdir()
    (folder / "report.pdf").write_bytes(b"%PDF-1.4 report")
    return folder


def ct_only(folder: Path) -> Path:
    series(folder, tags={"Modality": "CT", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"})
    return folder


def three_slices(folder: Path) -> Path:
    series(folder, THIN)
    return folder


def localisers(folder: Path) -> Path:
    person = new_person()
    for i, turn in enumerate(((0, 0, 0), (90, 0, 0), (0, 90, 0))):
        series(folder / str(i), grid_of((64, 64, 3), (4.0, 4.0, 20.0), turn), person, description="localizer", number=i)
    return folder


def zero_bytes_only(folder: Path) -> Path:
    folder.mkdir()
    for i in range(3):
        (folder / f"IM{i}.dcm").write_bytes(b"")
    return folder


def way_out(folder: Path) -> Path:
    target = folder.with_suffix(".zip")
    with zipfile.ZipFile(target, "w") as z:
        z.writestr("../../out.dcm", b"x" * 300)
    return target


def bomb(folder: Path) -> Path:
    target = folder.with_suffix(".zip")
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as z, z.open("x", "w") as f:
        for _ in range(300):
            f.write(bytes(2**20))
    return target


def no_zip(folder: Path) -> Path:
    target = folder.with_suffix(".zip")
    target.write_bytes(b"PK\x03\x04 no zip at all")
    return target


def as_film(path: Path) -> None:
    """Its pixels said to be a film."""
    import pydicom
    from pydicom.encaps import encapsulate

    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.100"
    dataset.PixelData = encapsulate([dataset.PixelData])
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path)


REFUSED = {
    nothing: "empty",
    text: "no DICOM image|holds no|cannot",
    ct_only: "no MR",
    three_slices: "at least 8 slices",
    localisers: "at least 8 slices",
    zero_bytes_only: "named as DICOM.*empty",
    way_out: "lead|outside|out of",
    bomb: "unpack|larger|grow|GB|MiB",
    no_zip: "damaged",
}
