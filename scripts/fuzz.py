"""Damaged and wicked input at every door that reads files: `make fuzz N=10000`, or `fuzz.py --cases N --only nifti`.

Each case is a sound file of its kind, changed by a random generator of its own (seed, surface, number), so that one case can
be run again: `fuzz.py --only nifti --first 1234 --cases 1`. A door accepts what it is given or refuses it in one sentence;
a traceback, a death of the process, a wait of more than 10 s and more than 2 GB of memory are failures. The table says how
many of each there were, and the exit code is 1 where there was a failure.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import logging
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

HANG_S, MEMORY = 10, 2 * 2**30
OUTCOMES = ("refused", "accepted", "traceback", "died", "hang", "memory")
ODD = [
    0, 1, -1, 2**31, -(2**31), 2**63, 10**18, 1e308, -1e308, 1e-308, 0.1, True, False, None, "", "x", "..", "../..",
    "/etc/passwd", "/", "\x00", "\x1b[2J", "\ud800", "[/]", "x" * 300, "x" * 100_000, [], {}, [[]], {"a": {}}, [0] * 1000, "NaN",
    "2020-01-01T00:00:00Z", "00" * 32,
]  # fmt: skip
WORDS = [b"9" * 5000, b"-1", b"nan", b"inf", b"1e999", b"[" * 100_000, b'{"a":' * 50_000, b"\x00" * 64, b"\xff" * 8, b"\n", b'"',
         b"=", b"NDims = 1000\n", b"../", b"2147483647", b"1e-30"]  # fmt: skip


class Hang(Exception):
    pass


# --- what is changed


def bytes_changed(raw: bytes, r: random.Random, most: int | None = None) -> bytes:
    """A few bytes, runs or words of it are others; ``most``: within the first bytes alone."""
    out = bytearray(raw)
    for _ in range(r.choice((1, 1, 2, 4, 16))):
        reach = max(min(len(out), most or len(out)), 1)
        at = r.randrange(reach)
        match r.randrange(6):
            case 0 | 1:
                out[at : at + 1] = bytes([r.randrange(256)])
            case 2:
                out[at : at + r.choice((2, 4, 8))] = r.choice(
                    (b"\xff" * 4, b"\x00" * 4, b"\x7f\xff\xff\xff", r.randbytes(4))
                )
            case 3:
                out[at : at + r.randrange(1, 40)] = r.choice(WORDS)
            case 4:
                del out[at : at + r.randrange(1, 60)]
            case 5 if r.random() < 0.3:
                del out[at:]
    return bytes(out)


def value_changed(value: object, r: random.Random) -> object:
    """A JSON value in which something, somewhere, is something else."""
    if isinstance(value, dict) and value and r.random() < 0.85:
        out = dict(value)
        key = r.choice(list(out))
        match r.randrange(5):
            case 0:
                del out[key]
            case 1:
                out[str(r.choice(ODD))[:1000]] = out[key]
            case _:
                out[key] = value_changed(out[key], r)
        return out
    if isinstance(value, list) and value and r.random() < 0.7:
        at = r.randrange(len(value))
        return [*value[:at], value_changed(value[at], r), *value[at + 1 :]]
    return r.choice(ODD)


def json_changed(raw: bytes, r: random.Random) -> bytes:
    if r.random() < 0.35:
        return bytes_changed(raw, r)
    value = json.loads(raw)
    for _ in range(r.choice((1, 1, 2, 3))):
        value = value_changed(value, r)
    return json.dumps(value).encode()


# --- the doors. Each is made once in a folder, and gives what runs one case.


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
        "ElementSpacing = 1 1 1\n"
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


def record(folder: Path) -> Callable[[random.Random], None]:
    from helpers.small_world import correct

    from brainseg_engine.corrections import Store

    store = Store(folder / "corrections")
    (folder / "studies").mkdir()
    for seed in (0, 1):
        made = correct(store, folder / "studies", seed)
    made.sidecar.chmod(0o644)
    sound, log = made.sidecar.read_bytes(), store.log.read_bytes()

    def one(r: random.Random) -> None:
        made.sidecar.write_bytes(json_changed(sound, r))
        if r.random() < 0.3:
            store.log.write_bytes(bytes_changed(log, r))
        out = folder / "out"
        for act in (
            store.latest,
            store.patients,
            lambda: store.check(images=False),
            lambda: store.export(out, "brats"),
        ):
            door(act)
        shutil.rmtree(out, ignore_errors=True)
        store.log.write_bytes(log)

    return one


def working_copy(folder: Path) -> Callable[[random.Random], None]:
    from helpers.small_study import make_study

    from brainseg_engine.corrections import Work, study_key, working

    study = make_study()
    key = study_key(study)
    desk = working.Desk(key)
    desk.save(Work(key, study.id, study.segmentation, base=study.segmentation, steps=[{"tool": "brush"}]))
    desk.close()
    answer = next(desk.path.parent.glob("*.answer"))
    sound = {desk.path: desk.path.read_bytes(), answer: answer.read_bytes()}

    def one(r: random.Random) -> None:
        path = r.choice(list(sound))
        head, _, body = sound[path].partition(b"\n")
        raw = bytes_changed(sound[path], r) if r.random() < 0.5 else json_changed(head, r) + b"\n" + body
        path.write_bytes(raw)
        door(working.pending)
        door(working.pending, key)
        door(working.load, desk.path)
        path.write_bytes(sound[path])

    return one


def recipe(folder: Path) -> Callable[[random.Random], None]:
    from brainseg_engine.recipe import load_recipe, recipe_names, recipe_text

    sound = [recipe_text(name).encode() for name in recipe_names()]

    def one(r: random.Random) -> None:
        (folder / "r.toml").write_bytes(bytes_changed(r.choice(sound), r))
        door(load_recipe, folder / "r.toml", [f"{r.choice(('window.overlap', 'network.name', 'a.b.c', 'name'))}={r.choice(ODD)}"]
             if r.random() < 0.3 else [])  # fmt: skip

    return one


def model(folder: Path) -> Callable[[random.Random], None]:
    import torch

    from brainseg_engine import nets
    from brainseg_engine.models import checkpoint
    from brainseg_engine.recipe import load_recipe

    tiny = load_recipe("baseline", ["network.init_filters=8", "network.blocks_down=[1]", "network.blocks_up=[]"])
    net = nets.build(tiny)
    card = checkpoint.Card(
        name="m", recipe="baseline", modalities=tiny.modalities, regions=tiny.output.regions, parameters=1
    )
    path = folder / "m.safetensors"
    checkpoint.save(path, net.state_dict(), card, tiny)
    raw = path.read_bytes()
    told, recipe_ = json.loads(card.model_dump_json()), json.loads(tiny.model_dump_json())

    def one(r: random.Random) -> None:
        if r.random() < 0.4:
            path.write_bytes(bytes_changed(raw, r, r.choice((None, 4000))))
        else:
            metadata = {"format": checkpoint.FORMAT, "card": json.dumps(told), "recipe": json.dumps(recipe_)}
            which = r.choice(("card", "recipe"))
            metadata[which] = json_changed(metadata[which].encode(), r).decode("utf-8", "replace")
            state = dict(net.state_dict())
            if r.random() < 0.2:
                key = r.choice(list(state))
                state[key] = torch.full_like(state[key].float(), r.choice((float("nan"), float("inf"), 1e30)))
            checkpoint.write_tensors(path, state, metadata)
        door(checkpoint.load, path)

    return one


def weights(folder: Path) -> Callable[[random.Random], None]:
    import torch

    from brainseg_engine.nets.foreign import read_weights

    sound = []
    for new in (True, False):
        out = io.BytesIO()
        torch.save(
            {"state_dict": {"a": torch.zeros(3), "b": torch.ones(2, 2)}}, out, _use_new_zipfile_serialization=new
        )
        sound.append(out.getvalue())

    def one(r: random.Random) -> None:
        (folder / "w.pt").write_bytes(bytes_changed(r.choice(sound), r))
        door(read_weights, folder / "w.pt")

    return one


def run_folder(folder: Path) -> Callable[[random.Random], None]:
    from brainseg_engine.finetune import plan, status
    from brainseg_engine.runs import RunFolder

    made = plan.FinetunePlan({"corrections": "c"}, {"name": "b", "version": "1", "path": "p", "sha256": "0"}, "new",
                     [plan.Learnt("a_01", "0", "p", False, ["0"])], {"x": "/x"}, {"y": "/y"}, "phantoms", False)  # fmt: skip
    made.save(folder)
    status._save(folder, status.Status(1, 1.0))
    (folder / "run.json").write_text(json.dumps({"train": ["a"], "validation": ["b"], "seed": 0, "versions": {}}))
    (folder / "last.safetensors").write_bytes(b"x")
    sound = {name: (folder / name).read_bytes() for name in ("plan.json", "status.json", "run.json")}

    def one(r: random.Random) -> None:
        for name, raw in sound.items():
            (folder / name).write_bytes(json_changed(raw, r))
        door(plan.load, folder)
        door(status.status_of, folder)
        door(RunFolder(folder).earlier, {"train": ["a"], "validation": ["b"]}, True)

    return one


def events(folder: Path) -> Callable[[random.Random], None]:
    from brainseg_engine.core.events import EpochDone, Failed, Finished, Progress, from_json

    sound = [e.to_json().encode() for e in (Progress("step 1 of 2", 0.5), EpochDone(1, 2, 0.5, 0.1, {"WT": 0.5}),
                                            Finished("j", {"a": 1}), Failed("j", "m"))]  # fmt: skip

    def one(r: random.Random) -> None:
        door(from_json, json_changed(r.choice(sound), r).decode("utf-8", "replace"), also=ValueError)

    return one


def split(folder: Path) -> Callable[[random.Random], None]:
    from brainseg_engine.studies.cohort import read_split

    sound = [b"case,patient,split\na,a,train\nb,b,validation\nc,c,test\n", b"case,fold\na,0\nb,1\nc,test\n"]

    def one(r: random.Random) -> None:
        (folder / "s.csv").write_bytes(bytes_changed(r.choice(sound), r))
        door(read_split, folder / "s.csv", r.choice((None, 0, 1, "all")))

    return one


def summary(folder: Path) -> Callable[[random.Random], None]:
    from brainseg_engine.inference.batch import PredictOutcome, write_summary

    rows = [PredictOutcome("a", "done", "", "a_seg.nii.gz", {"WT": 1.0}, 1.0)]
    write_summary(rows, folder / "summary.csv")
    sound = (folder / "summary.csv").read_bytes()

    def one(r: random.Random) -> None:
        (folder / "summary.csv").write_bytes(bytes_changed(sound, r))
        text = [v for v in ODD if isinstance(v, str)]
        door(write_summary, [PredictOutcome(r.choice(text), "failed", r.choice(text))], folder / "summary.csv")

    return one


def names(folder: Path) -> Callable[[random.Random], None]:
    from brainseg_engine.core.names import inside

    pieces = ["..", ".", "/", "\\", "a", "~", "\x00", "etc", " ", "C:", "\ud800", "ü" * 120, "nul", "-"]

    def one(r: random.Random) -> None:
        name = "".join(r.choices(pieces, k=r.randrange(1, 6)))
        path = door(inside, folder, name, also=ValueError)
        assert path is None or path.parent == folder, path

    return one


SURFACES = {f.__name__: f for f in (nifti, metaimage, slices, sidecar, decathlon, record, working_copy, recipe, model, weights,
                                    run_folder, events, split, summary, names)}  # fmt: skip

# --- one case after the other, in a process that may die


def door(act, *args, also: type[Exception] = Exception, **kwargs):  # type: ignore[no-untyped-def]
    """Call it; what it refuses in words is a refusal, what it raises otherwise a failure."""
    from brainseg_engine.core.errors import BrainsegError

    try:
        return act(*args, **kwargs)
    except BrainsegError as e:
        assert len(str(e)) < 5000, "a sentence of more than 5000 characters"
        _refused.append(str(e))
    except Exception as e:
        if also is Exception or not isinstance(e, also):
            raise
        _refused.append(str(e))
    return None


_refused: list[str] = []


def work(surface: str, seed: int, first: int, cases: int) -> None:
    """Run these cases; a line of output before and after each."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY + 2**30, MEMORY + 2**30))
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGALRM, _hang)
    with tempfile.TemporaryDirectory(prefix="brainseg-fuzz-") as name:
        import os

        os.environ["BRAINSEG_HOME"] = str(Path(name) / "home")
        (Path(name) / "place").mkdir()
        one = SURFACES[surface](Path(name) / "place")
        for n in range(first, first + cases):
            print(n, "begun", flush=True)
            print(n, *_outcome(one, random.Random(f"{seed}:{surface}:{n}")), flush=True)


def _outcome(one: Callable[[random.Random], None], r: random.Random) -> tuple[str, str]:
    _refused.clear()
    signal.alarm(HANG_S)
    try:
        one(r)
    except Hang:
        return "hang", ""
    except MemoryError:
        return "memory", ""
    except Exception as e:
        where = traceback.extract_tb(e.__traceback__)[-1]
        return "traceback", f"{type(e).__name__}: {str(e)[:150]!r} at {Path(where.filename).name}:{where.lineno}"
    finally:
        signal.alarm(0)
    if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 > MEMORY:
        return "memory", ""
    return ("refused", "") if _refused else ("accepted", "")


def _hang(number: int, frame: object) -> None:
    raise Hang


# --- all of it


def run(surface: str, seed: int, first: int, cases: int) -> tuple[Counter[str], list[str]]:
    """The outcomes of one surface; a process that dies costs the case that it died of."""
    counted: Counter[str] = Counter()
    failures: list[str] = []
    n, last = first, first + cases
    while n < last:
        words = [
            sys.executable,
            __file__,
            "--work",
            surface,
            "--seed",
            str(seed),
            "--first",
            str(n),
            "--cases",
            str(last - n),
        ]
        done = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        begun = False
        assert done.stdout is not None
        for line in done.stdout:
            number, what, *detail = line.rstrip("\n").split(" ", 2)
            if what == "begun":
                begun = True
                continue
            begun, n = False, int(number) + 1
            counted[what] += 1
            if what not in ("refused", "accepted"):
                failures.append(f"{surface} {number}: {what} {' '.join(detail)}")
        error = done.communicate()[1]
        if begun:
            counted["died"] += 1
            failures.append(f"{surface} {n}: died with {done.returncode} {error[-300:]}")
            n += 1
        elif n < last:
            raise SystemExit(f"{surface} could not be begun:\n{error}")
    return counted, failures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--only", choices=SURFACES)
    parser.add_argument("--work", choices=SURFACES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work(given.work, given.seed, given.first, given.cases)
        return 0
    chosen = [given.only] if given.only else list(SURFACES)
    print(f"{'surface':<14}{'tried':>8}" + "".join(f"{o:>11}" for o in OUTCOMES) + f"{'seconds':>9}")
    total: Counter[str] = Counter()
    failures: list[str] = []
    for i, surface in enumerate(chosen):
        cases = given.cases // len(chosen) + (i < given.cases % len(chosen))
        began = time.monotonic()
        counted, failed = run(surface, given.seed, given.first, cases)
        total += counted
        failures += failed
        row = "".join(f"{counted[o]:>11}" for o in OUTCOMES)
        print(f"{surface:<14}{sum(counted.values()):>8}{row}{time.monotonic() - began:>9.0f}", flush=True)
    print(f"{'all':<14}{sum(total.values()):>8}" + "".join(f"{total[o]:>11}" for o in OUTCOMES))
    for failure in failures[:50]:
        print(failure)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    sys.exit(main())
