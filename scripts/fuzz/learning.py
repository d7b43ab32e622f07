"""The doors that read records, models, recipes and tables. Each is made as those of `images`."""

from __future__ import annotations

import io
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

from changes import ODD, bytes_changed, door, json_changed


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
    from safetensors.torch import load

    from brainseg_engine import nets
    from brainseg_engine.inference import appearance, gated
    from brainseg_engine.models import checkpoint
    from brainseg_engine.recipe import load_recipe

    tiny = load_recipe("baseline", ["network.init_filters=8", "network.blocks_down=[1]", "network.blocks_up=[]"])
    net = nets.build(tiny)
    card = checkpoint.Card(
        name="m", recipe="baseline", modalities=tiny.modalities, regions=tiny.output.regions, parameters=1
    )
    path = folder / "m.safetensors"
    tuned = card.model_copy(update={"tuned": checkpoint.Tuned(parent="m", parent_sha256="0", keeps_base=True)})
    numbers = [1.0] * (appearance.OF_A_SERIES * len(tiny.modalities))
    kept = checkpoint.Kept(net.state_dict(), dict.fromkeys(("own", "other", "weight"), numbers))
    sound = []
    for of_it, base in ((card, None), (tuned, kept)):
        checkpoint.save(path, net.state_dict(), of_it, tiny, kept=base)
        sound.append((path.read_bytes(), of_it.model_dump_json()))

    def one(r: random.Random) -> None:
        raw, card_text = r.choice(sound)
        if r.random() < 0.4:
            path.write_bytes(bytes_changed(raw, r, r.choice((None, 4000))))
        else:
            metadata = {"format": checkpoint.FORMAT, "card": card_text, "recipe": tiny.model_dump_json()}
            which = r.choice(("card", "recipe"))
            metadata[which] = json_changed(metadata[which].encode(), r).decode("utf-8", "replace")
            state = load(raw)
            if r.random() < 0.2:
                state.pop(r.choice(list(state)))
            if r.random() < 0.2:
                key = r.choice(list(state))
                state[key] = torch.full_like(state[key].float(), r.choice((float("nan"), float("inf"), 1e30)))
            checkpoint.write_tensors(path, state, metadata)
        door(lambda: gated.of_model(checkpoint.load(path)))

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
