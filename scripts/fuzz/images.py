"""The doors that read images. Each is made once in a folder, and gives what runs one case with the generator it is given."""

from __future__ import annotations

import gzip
import io
import json
import random
import zlib
from collections.abc import Callable
from pathlib import Path

from changes import bytes_changed, door, json_changed


def _image():  # type: ignore[no-untyped-def]
    import numpy as np

    return np.random.default_rng(0).integers(1, 100, (7, 6, 5)).astype(np.int16)


def nifti(folder: Path) -> Callable[[random.Random], None]:
    import nibabel
    import numpy as np

    from brainseg_engine.io import load_segmentation, read_header, read_image

    sound = [kind(_image(), np.eye(4)).to_bytes() for kind in (nibabel.Nifti1Image, nibabel.Nifti2Image)]

    def one(r: random.Random) -> None:
        raw = bytes_changed(r.choice(sound), r, r.choice((None, 400)))
        packed = r.random() < 0.5
        if packed:
            raw = gzip.compress(raw, 1)
            if r.random() < 0.3:
                raw = bytes_changed(raw, r)
        path = folder / ("x_seg.nii.gz" if packed else "x_seg.nii")
        path.write_bytes(raw)
        door(r.choice((read_image, read_header, load_segmentation)), path)

    return one


def metaimage(folder: Path) -> Callable[[random.Random], None]:
    from brainseg_engine.io import read_header, read_image

    head = (
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nCompressedData = {}\n{}"
        "TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\nCenterOfRotation = 0 0 0\nAnatomicalOrientation = RAI\n"
        "dim[0] = 3\n0008|0060 = MR\nElementSpacing = 1 1 1\n"
        "DimSize = 7 6 5\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    )
    voxels = _image().tobytes()
    packed = zlib.compress(voxels)
    sound = [
        (head.format("False", ""), voxels), (head.format("True", f"CompressedDataSize = {len(packed)}\n"), packed),
    ]  # fmt: skip
    numbers = [
        "1000",
        "2147483647",
        "-1",
        "0",
        "nan",
        "inf",
        "1e300",
        "1e-300",
        "9" * 5000,
        "",
        "x",
        "1 " * 2000,
        "True",
        "4",
    ]

    def one(r: random.Random) -> None:
        text, body = r.choice(sound)
        lines = text.split("\n")
        for _ in range(r.choice((0, 1, 1, 2, 3))):
            at = r.randrange(len(lines) - 2)
            name, _, value = lines[at].partition(" = ")
            words = value.split()
            if words and r.random() < 0.6:
                words[r.randrange(len(words))] = r.choice(numbers)
            else:
                words = r.choice(([r.choice(numbers)], [*words, "1"], words[:-1]))
            lines[at] = f"{name} = {' '.join(words)}"
            if r.random() < 0.1:
                lines.insert(r.randrange(len(lines) - 2), lines[r.randrange(len(lines) - 2)])
        raw = "\n".join(lines).encode() + body
        (folder / "x.mha").write_bytes(bytes_changed(raw, r) if r.random() < 0.3 else raw)
        door(r.choice((read_image, read_header)), folder / "x.mha")

    return one


def slices(folder: Path) -> Callable[[random.Random], None]:
    import numpy as np
    from PIL import Image as Picture

    from brainseg_engine.io import load_segmentation, load_study

    case = folder / "p"
    case.mkdir()
    sound: dict[str, list[bytes]] = {"": [], "_mask": []}
    for compression in (None, "tiff_lzw", "tiff_deflate", "packbits"):
        for ending, shape in (("", (12, 10, 3)), ("_mask", (12, 10))):
            out = io.BytesIO()
            picture = Picture.fromarray((np.ones(shape) * 255).astype(np.uint8))
            picture.save(out, "TIFF", **({"compression": compression} if compression else {}))
            sound[ending].append(out.getvalue())
    for n in (1, 2, 3):
        for ending, files in sound.items():
            (case / f"p_{n}{ending}.tif").write_bytes(files[0])

    def one(r: random.Random) -> None:
        ending = r.choice(("", "_mask"))
        (case / f"p_2{ending}.tif").write_bytes(bytes_changed(r.choice(sound[ending]), r))
        door(load_study if not ending else load_segmentation, case)
        (case / f"p_2{ending}.tif").write_bytes(sound[ending][0])

    return one


def sidecar(folder: Path) -> Callable[[random.Random], None]:
    import nibabel
    import numpy as np

    from brainseg_engine.io import load_segmentation

    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4), np.uint8), np.eye(4)), folder / "a_seg.nii.gz")
    sound = json.dumps({"coding": "brats2023", "regions": ["WT", "TC"], "model": "m", "model_version": "1", "made_by": "m 1",
                        "mask_sha256": "0" * 64, "edited": True}).encode()  # fmt: skip

    def one(r: random.Random) -> None:
        (folder / "a_seg.json").write_bytes(json_changed(sound, r))
        door(load_segmentation, folder / "a_seg.nii.gz", coding=r.choice((None, "brats2021")))

    return one


def decathlon(folder: Path) -> Callable[[random.Random], None]:
    import nibabel
    import numpy as np

    from brainseg_engine.io import find_studies, load_study

    for place, shape in (("imagesTr", (6, 5, 4, 4)), ("labelsTr", (6, 5, 4))):
        (folder / place).mkdir()
        nibabel.save(nibabel.Nifti1Image(np.ones(shape, np.uint8), np.eye(4)), folder / place / "a.nii.gz")
    sound = json.dumps({"modality": {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"}, "labels": {
        "0": "background", "1": "edema", "2": "non-enhancing tumor", "3": "enhancing tumour"}}).encode()  # fmt: skip

    def one(r: random.Random) -> None:
        (folder / "dataset.json").write_bytes(json_changed(sound, r))
        door(load_study, folder / "imagesTr" / "a.nii.gz")
        door(find_studies, folder)

    return one


def pairs(folder: Path) -> Callable[[random.Random], None]:
    """Header and voxels in two files (NIfTI, Analyze, SPM's .mat), FreeSurfer's volumes, NRRD."""
    import nibabel
    import nrrd
    import numpy as np

    from brainseg_engine.io import read_header, read_image

    nibabel.save(nibabel.Nifti1Pair(_image(), np.eye(4)), folder / "a.hdr")
    nibabel.save(nibabel.Spm99AnalyzeImage(_image(), np.eye(4)), folder / "b.hdr")
    nibabel.save(nibabel.MGHImage(_image(), np.eye(4)), folder / "c.mgh")
    nibabel.save(nibabel.MGHImage(_image(), np.eye(4)), folder / "c.mgz")
    nrrd.write(
        str(folder / "d.nrrd"), _image(), {"space directions": np.eye(3), "space": "LPS", "space origin": np.zeros(3)}
    )
    sound = {p: p.read_bytes() for p in folder.iterdir()}

    def one(r: random.Random) -> None:
        path = r.choice(sorted(sound))
        packed = path.suffix == ".mgz" and r.random() < 0.7
        raw = gzip.decompress(sound[path]) if packed else sound[path]
        raw = bytes_changed(raw, r, r.choice((None, 400)))
        path.write_bytes(gzip.compress(raw, 1) if packed else raw)
        door(r.choice((read_image, read_header)), path.with_suffix(".hdr") if path.suffix in (".img", ".mat") else path)
        path.write_bytes(sound[path])

    return one
