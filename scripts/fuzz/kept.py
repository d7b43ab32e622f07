"""The doors that read what the program keeps from call to call, archives, and tables of people."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

from changes import ODD, bytes_changed, door, json_changed

Case = Callable[[random.Random], None]


def _home() -> Path:
    home = Path(os.environ["BRAINSEG_HOME"])
    home.mkdir(exist_ok=True)
    return home


def outbox(folder: Path) -> Case:
    """A sending that waits for a PACS: its record names files."""
    from helpers.dicom_series import write_dicom_series

    from brainseg_engine.pacs import outbox as kept

    (job,) = kept.put("pacs", write_dicom_series(folder / "series", "thick")[:2])
    record = job.folder / "job.json"
    sound = record.read_bytes()

    def one(r: random.Random) -> None:
        record.write_bytes(json_changed(sound, r))
        for found in door(kept.jobs) or ():
            door(lambda found=found: [str(i.sop_uid) for i in found.waiting] + [str(found.created), found.folder])
        record.write_bytes(sound)

    return one


def connections(folder: Path) -> Case:
    from brainseg_engine.pacs import connections as kept

    sound = (b'[orthanc]\nkind = "dicomweb"\nurl = "http://127.0.0.1:8042/dicom-web"\nlogin = "none"\n'
             b'[old]\nkind = "dimse"\nhost = "127.0.0.1"\nport = 104\ntitle = "PACS"\n')  # fmt: skip

    def one(r: random.Random) -> None:
        place = kept.file()
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(bytes_changed(sound, r))
        door(kept.read)
        door(kept.find, r.choice(("orthanc", "old", "x")))

    return one


def ledger(folder: Path) -> Case:
    """The records of a cohort in an output folder, and the marker of that folder."""
    from brainseg_engine.core import outputs
    from brainseg_engine.inference.batch import PredictOutcome
    from brainseg_engine.inference.ledger import Ledger, LedgerEntry

    outputs.claim(folder, outputs.Use.MASKS)
    kept = Ledger(folder)
    kept.plan(["a", "b"])
    kept.begin("a")
    kept.end(
        "a",
        PredictOutcome("a", "done", "", "a_seg.nii.gz", {"WT": 1.0}, 1.0),
        LedgerEntry({"t1": ["/x", 1, 2]}, {"t1": "0" * 64}),
    )
    sound = {p: p.read_bytes() for p in [*kept.folder.iterdir(), folder / outputs.MARK] if p.is_file()}

    def one(r: random.Random) -> None:
        for path in r.sample(sorted(sound), r.choice((1, 2))):
            path.write_bytes(
                json_changed(sound[path], r) if sound[path].startswith(b"{") else bytes_changed(sound[path], r)
            )
        for act in (kept.state, kept.rows, lambda: kept.known("a"), lambda: outputs.use_of(folder)):
            door(act)
        for path, raw in sound.items():
            path.write_bytes(raw)

    return one


def remembered_scores(folder: Path) -> Case:
    """Scores of doubt, keys of studies, sources of corrections, the default model, what is known of models and series."""
    from brainseg_engine.core.paths import models_home
    from brainseg_engine.corrections import sources
    from brainseg_engine.inference.uncertainty import Scores, known_key
    from brainseg_engine.io.derived import pseudonyms
    from brainseg_engine.models import catalogue, choice, upkeep
    from brainseg_engine.studies import remembered

    home = _home()
    files = {
        home / "doubt" / ("k-" + "0" * 16 + "-one.json"): b'{"mean": 0.1, "tumour": 0.2, "slices": 3.0}',
        sources.file(): b'{"' + b"0" * 32 + b'": {"study_id": "a", "files": {"t1": "/x/t1.nii"}, "folder": "/x"}}',
        home / choice._FILE: b'{"default": [{"name": "a", "when": "2020-01-01T00:00:00Z"}]}',
        models_home() / upkeep._FILE: b'{"a.safetensors": {"sha256": "00"}}',
        home / catalogue._FILE: json.dumps({"format": catalogue.FORMAT, "models": []}).encode(),
        pseudonyms.key_file(): b"0f" * 32 + b"\n",
    }  # fmt: skip

    def one(r: random.Random) -> None:
        spoilt = r.sample(sorted(files), r.choice((1, 2, 3)))
        for path, raw in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            changed = json_changed(raw, r) if raw.startswith(b"{") else bytes_changed(raw, r)
            path.write_bytes(changed if path in spoilt else raw)
        for act in (lambda: Scores("0" * 64).get("k"), lambda: known_key([folder]), lambda: sources.source_of("0" * 32),
                    sources.places, choice.current, choice.history, catalogue.known, lambda: remembered.remembered([]),
                    pseudonyms.load):  # fmt: skip
            door(act)

    return one


def tables(folder: Path) -> Case:
    """Lists of studies, spaces of a sweep, metrics, any table that rows are put into."""
    from brainseg_engine.core.tables import add_rows, rows_of
    from brainseg_engine.figures.curves import curves_figure
    from brainseg_engine.recipe import load_recipe
    from brainseg_engine.runs import COLUMNS, RunFolder
    from brainseg_engine.studies.selection import select
    from brainseg_engine.train.sweep import read_space

    recipe, run = load_recipe("baseline"), RunFolder(folder)
    rows = [f"{n},1,0.5," + ",".join("0.5" for _ in COLUMNS[3:]) for n in (1, 2, 3)]
    metrics = "\n".join([",".join(COLUMNS), *rows, ""]).encode()
    space = (
        b'["optimiser.learning_rate"]\nlow = 1e-4\nhigh = 1e-2\nlog = true\n["training.batch_size"]\nchoices = [1, 2]\n'
    )
    sound = {
        "list.txt": b"a\n/x/b\n# c\n",
        "table.csv": b"id,status\na,done\n",
        "metrics.csv": metrics,
        "space.toml": space,
    }

    def one(r: random.Random) -> None:
        name = r.choice(sorted(sound))
        path = folder / name
        path.write_bytes(bytes_changed(sound[name], r))
        match name:
            case "list.txt":
                door(select, [], path)
            case "table.csv":
                door(rows_of, path, ("id", "status"))
                door(
                    add_rows,
                    path,
                    [{"id": r.choice([v for v in ODD if isinstance(v, str)]), "status": "x"}],
                    ("id", "status"),
                )
            case "metrics.csv":
                door(run.cut_back, 2)
                path.write_bytes(bytes_changed(sound[name], r))
                if r.random() < 0.2:
                    door(curves_figure, path, folder / "c.png")
            case _:
                door(read_space, path, recipe)

    return one


def training_state(folder: Path) -> Case:
    """The state that a training goes on from."""
    import torch

    from brainseg_engine.recipe import load_recipe
    from brainseg_engine.runs import load_state
    from brainseg_engine.runs.saved import save_state

    path = folder / "last.safetensors"
    save_state(path, {"model/a": torch.zeros(3), "rng/cpu": torch.zeros(8, dtype=torch.uint8)}, {"step": 3, "best": 0.5},
               load_recipe("baseline"))  # fmt: skip
    sound = path.read_bytes()

    def one(r: random.Random) -> None:
        path.write_bytes(bytes_changed(sound, r, r.choice((None, 3000))))
        door(load_state, path)

    return one


def reports(folder: Path) -> Case:
    """An earlier report, and diameters that a person drew in a mask's sidecar."""
    from helpers.small_study import make_study

    from brainseg_engine.report import record as kept
    from brainseg_engine.scores import diameters

    segmentation = make_study(0).segmentation
    found = diameters.diameters(segmentation.labels, segmentation.grid, segmentation.regions)
    drawn = json.dumps(diameters.to_json(found)).encode()
    earlier = json.dumps({"schema": kept.SCHEMA, "id": "a", "created": "2020-01-01", "model": {"name": "m", "version": "1"},
                          "regions": {"WT": {"volume_ml": 1.0}}, "classes": {}}).encode()  # fmt: skip

    def one(r: random.Random) -> None:
        if r.random() < 0.5:
            (folder / "r.json").write_bytes(json_changed(earlier, r))
            door(kept.read, folder / "r.json")
            return
        try:
            written = json.loads(json_changed(drawn, r))
        except (ValueError, RecursionError):
            return
        door(kept.lengths_of, segmentation, written)

    return one


def series_sidecars(folder: Path) -> Case:
    """What converters write beside images, and BIDS' descriptions."""
    import nibabel
    import numpy as np

    from brainseg_engine.bids.validation import require_valid
    from brainseg_engine.io.file_facts import file_facts
    from brainseg_engine.io.listing import list_series

    nibabel.save(nibabel.Nifti1Image(np.ones((6, 5, 4), np.int16), np.eye(4)), folder / "a.nii.gz")
    sound = json.dumps({"SeriesDescription": "t1 km", "EchoTime": 0.01, "ImageType": ["ORIGINAL", "PRIMARY"], "FlipAngle": 90,
                        "AcquisitionTime": "10:00:00.5", "ContrastBolusAgent": "Gd", "Modality": "MR"}).encode()  # fmt: skip
    bids = json.dumps({"Name": "x", "BIDSVersion": "1.8.0", "DatasetType": "raw"}).encode()

    def one(r: random.Random) -> None:
        (folder / "a.json").write_bytes(json_changed(sound, r))
        door(file_facts, folder / "a.nii.gz")
        with door(list_series, folder) as listing:
            assert listing.series
        (folder / "dataset_description.json").write_bytes(json_changed(bids, r))
        door(require_valid, folder)
        (folder / "dataset_description.json").unlink()

    return one


def archives(folder: Path) -> Case:
    """A .zip of a study, damaged anywhere."""
    from helpers.dicom_series import write_dicom_series

    from brainseg_engine.io.listing import list_series

    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as out:
        for n, path in enumerate(write_dicom_series(folder / "s", "thick")[:3]):
            out.write(path, f"STUDY/IM{n}")
        out.writestr("STUDY/readme.txt", "x")
    shutil.rmtree(folder / "s")
    sound = packed.getvalue()
    end = sound.rindex(b"PK\x01\x02") - 200

    def one(r: random.Random) -> None:
        raw = bytes_changed(sound, r) if r.random() < 0.5 else sound[:end] + bytes_changed(sound[end:], r)
        (folder / "a.zip").write_bytes(raw)
        listing = door(list_series, folder / "a.zip")
        if listing is not None:
            listing.close()

    return one


def slicer(folder: Path) -> Case:
    """3D Slicer's .seg.nrrd: its header names segments, layers and colours."""
    import nrrd
    import numpy as np

    from brainseg_engine.io import load_segmentation

    told = {
        "space": "left-posterior-superior",
        "space directions": np.eye(3),
        "space origin": np.zeros(3),
        "kinds": ["domain"] * 3,
    }
    for n, name in enumerate(("oedema", "enhancing tumour", "necrosis")):
        told |= {f"Segment{n}_Name": name, f"Segment{n}_LabelValue": str(n + 1), f"Segment{n}_Layer": "0",
                 f"Segment{n}_Extent": "0 5 0 4 0 3", f"Segment{n}_ID": f"S_{n}"}  # fmt: skip
    nrrd.write(str(folder / "a.seg.nrrd"), np.random.default_rng(0).integers(0, 4, (6, 5, 4)).astype(np.uint8), told)
    sound = (folder / "a.seg.nrrd").read_bytes()

    def one(r: random.Random) -> None:
        (folder / "a.seg.nrrd").write_bytes(bytes_changed(sound, r, r.choice((None, 700))))
        door(load_segmentation, folder / "a.seg.nrrd")

    return one


def window_run(folder: Path) -> Case:
    """A fine-tuning as the window reads it: status, plan, events, report, log."""
    from brainseg_engine.core.events import EpochDone, Progress
    from brainseg_engine.finetune import status
    from napari_brainseg.features.finetune.run import Run
    from napari_brainseg.jobs.detached import last_line

    status._save(folder, status.Status(1, 1.0))
    events = (
        "\n".join(e.to_json() for e in (Progress("step 1 of 2", 0.5), EpochDone(1, 2, 0.5, 0.1, {"WT": 0.5}))).encode()
        + b"\n"
    )
    sound = {"status.json": (folder / "status.json").read_bytes().replace(b'"running"', b'"done"'), "events.jsonl": events,
             "report.json": b'{"held_out": {}, "notes": []}', "finetune.log": b"a\nb\n"}  # fmt: skip

    def one(r: random.Random) -> None:
        for name, raw in sound.items():
            changed = json_changed(raw, r) if name in ("status.json", "report.json") else bytes_changed(raw, r)
            (folder / name).write_bytes(changed if r.random() < 0.5 else raw)
        found = door(Run.of, folder)
        if found is not None:
            door(found.read)
            door(found.why_it_ended)
            door(lambda: found.began)
        door(last_line, folder)

    return one


KEPT = (outbox, connections, ledger, remembered_scores, tables, training_state, reports, series_sidecars, archives, slicer,
        window_run)  # fmt: skip
