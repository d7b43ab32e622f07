"""What is killed: the work, what must hold after a kill, and what must hold at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

Case = tuple[Callable[[], None], Callable[[], None], Callable[[], None]]


def no_halves(folder: Path) -> None:
    left = list(folder.rglob(".part-*"))
    assert not left, f"left behind: {left}"


def predict(folder: Path, model: Path) -> Case:
    from helpers.small_study import make_study

    from brainseg_engine.core.events import silent
    from brainseg_engine.inference import batch
    from brainseg_engine.inference.predictor import Predictor
    from brainseg_engine.io import load_segmentation, load_study, read_image, save_segmentation
    from brainseg_engine.io.sidecars import sidecar_state
    from brainseg_engine.phantom import write_study

    studies = [write_study(make_study(n, id=f"Case_{n}"), folder / "data") for n in range(3)]
    out, predictor = folder / "out", Predictor(model, "cpu")
    truths = [load_study(s).segmentation for s in studies]

    def work() -> None:
        for settings in (
            batch.PredictSettings(out, overwrite=True),
            batch.PredictSettings(out, coding="brats2021", overwrite=True),
        ):
            for row in batch.predict_many(predictor, studies, settings, lambda _: silent):
                batch.write_summary([row], out / "summary.csv")
            for s, truth in zip(studies, truths, strict=True):  # another mask each time, so that the pairs differ
                save_segmentation(truth, out / f"{s.name}_seg.nii.gz", coding="brats2021", sidecar={"model": "truth"})

    def held() -> None:
        for s in studies:
            mask = out / f"{s.name}_seg.nii.gz"
            if not mask.exists():
                continue
            state = sidecar_state(mask)
            assert state in ("whole", "torn"), state
            if state == "whole":
                load_segmentation(mask)
            read_image(mask)  # whole in any case
        if (out / "summary.csv").exists():
            batch.write_summary([], out / "summary.csv")

    def ended() -> None:
        rows = list(
            batch.predict_many(predictor, studies, batch.PredictSettings(out, overwrite=True), lambda _: silent)
        )
        assert {r.status for r in rows} == {"done"}
        again = list(batch.predict_many(predictor, studies, batch.PredictSettings(out), lambda _: silent))
        assert {r.status for r in again} == {"skipped"}
        no_halves(out)

    return work, held, ended


def shards(folder: Path, model: Path) -> Case:
    """Two shards of one cohort at once, into one folder: the second is killed at a moment of its own."""
    import csv
    import os
    import random
    import shutil
    import signal
    import time

    from helpers.small_study import make_study

    from brainseg_engine.core.events import silent
    from brainseg_engine.inference import batch, cluster
    from brainseg_engine.inference.ledger import Ledger
    from brainseg_engine.inference.predictor import Predictor
    from brainseg_engine.inference.rows import complete_summary
    from brainseg_engine.inference.shards import Shard
    from brainseg_engine.io.sidecars import sidecar_state
    from brainseg_engine.phantom import write_study

    studies = [write_study(make_study(n, id=f"Case_{n}"), folder / "data") for n in range(6)]
    out, took, predictor = folder / "out", folder / "took", Predictor(model, "cpu")
    settings, whole = batch.PredictSettings(out), []

    def part(n: int) -> None:
        list(
            batch.predict_many(
                predictor, studies, settings, lambda _: silent, shard=Shard(n, 2), ended=cluster.Ending(settings)
            )
        )

    def work() -> None:
        began, second = time.monotonic(), os.fork()
        if not second:
            try:
                if whole:
                    signal.signal(signal.SIGALRM, signal.SIG_DFL)
                    signal.setitimer(signal.ITIMER_REAL, random.Random().uniform(0.001, whole[0]))
                part(2)
            finally:
                os._exit(0)
        part(1)
        os.waitpid(second, 0)
        if not whole:
            took.write_text(str(time.monotonic() - began))

    def exact() -> None:
        complete_summary(Ledger(out).rows(), out / "summary.csv")
        with (out / "summary.csv").open(newline="", encoding="utf-8") as f:
            rows = [(r["id"], r["status"]) for r in csv.DictReader(f)]
        assert sorted(i for i, _ in rows) == [s.name for s in studies], f"lost or doubled: {rows}"
        assert {s for _, s in rows} <= {"done", "skipped"}, rows
        assert {sidecar_state(out / f"{s.name}_seg.nii.gz") for s in studies} == {"whole"}

    def held() -> None:
        if not whole:
            whole.append(float(took.read_text()))
        for mask in out.glob("*_seg.nii.gz"):
            assert sidecar_state(mask) in ("whole", "torn")
        if out.exists() and len(Ledger(out).rows()) == len(studies):  # they came to their end: begin anew
            exact()
            shutil.rmtree(out)

    def ended() -> None:
        for n in (1, 2):
            part(n)
        exact()
        no_halves(out)
        state = Ledger(out).state()
        assert not state.waiting and state.count("lost") == state.count("running") == 0

    return work, held, ended


def train(folder: Path, model: Path) -> Case:
    from helpers.small_study import write_cohort

    from brainseg_engine.models import checkpoint
    from brainseg_engine.recipe import load_recipe
    from brainseg_engine.runs import RunFolder, load_state
    from brainseg_engine.train import TrainOptions
    from brainseg_engine.train import loop as loops
    from brainseg_engine.train import train as run

    data, split = write_cohort(folder)
    out, steps = folder / "run", [0]
    loops.SAVE_EVERY = 2
    recipe = load_recipe("baseline", [
        "network.init_filters=8", "network.blocks_down=[1]", "network.blocks_up=[]", "schedule.warmup_steps=2",
        "training.validate_every_steps=3",
    ])  # fmt: skip

    def work(total: int = 12) -> None:
        options = TrainOptions(data, split, out, total, resume=RunFolder(out).last.exists(), device="cpu")
        run(recipe, options, lambda _: None)

    def held() -> None:
        folder = RunFolder(out)
        if folder.last.exists():
            _, facts, _ = load_state(folder.last)
            assert facts["step"] >= steps[0], "steps were lost"
            steps[0] = facts["step"] if facts["step"] < 12 else 0
            if facts["step"] >= 12:  # it came to its end: begin anew
                import shutil

                shutil.rmtree(out)
                return
        if folder.model.exists():
            checkpoint.load(folder.model)

    def ended() -> None:
        work()
        assert load_state(RunFolder(out).last)[1]["step"] == 12
        no_halves(out)

    return work, held, ended


def finetune(folder: Path, model: Path) -> Case:
    import shutil

    from helpers.small_world import make_world

    from brainseg_engine.core.errors import BrainsegError
    from brainseg_engine.finetune import FinetuneOptions, plan, status_of
    from brainseg_engine.finetune.job import run
    from brainseg_engine.models import checkpoint

    store, anchors = make_world(folder, 3, 3)
    out, ids = folder / "run", [c.id for c in store.corrections()]

    def work() -> None:
        known = plan.load(out) is not None if out.exists() else False
        try:
            run(FinetuneOptions(out, str(model), store.path, anchors, epochs=1, device="cpu", resume=known))
        except BrainsegError as e:
            assert "already" in str(e), e

    def held() -> None:
        assert [c.id for c in store.corrections()] == ids
        assert not [f for f in store.check(images=False) if f.severity == "error"]
        state = status_of(out)
        assert state is None or state.state in ("killed", "done"), state
        plan.load(out)
        for file in (out / "model.safetensors", out / "training" / "model.safetensors"):
            if file.exists():
                checkpoint.load(file)
        if state is not None and state.state == "done":
            shutil.rmtree(out)

    def ended() -> None:
        work()
        assert status_of(out).state == "done"
        no_halves(out)

    return work, held, ended


def accept(folder: Path, model: Path) -> Case:
    from helpers.small_study import make_study

    from brainseg_engine.corrections import CorrectionState, Store

    store, drafts = Store(folder / "store"), []

    def add() -> None:
        for seed in range(6):
            study = make_study(seed, shape=(8, 8, 8))
            drafts.append(store.add(study, study.segmentation, state=CorrectionState.DRAFT).id)

    add()
    batch = [list(drafts)]

    def work() -> None:
        store.accept_all(batch[0])
        study = make_study(0, shape=(8, 8, 8))
        for _ in range(5):
            store.add(study, study.segmentation)

    def held() -> None:
        found = {c.id: c.state for c in store.corrections()}
        states = {found[id] for id in batch[0]}
        assert len(states) == 1, "a part of them was accepted"
        assert not [f for f in store.check(images=False) if f.severity == "error"]
        if states == {CorrectionState.ACCEPTED}:
            drafts.clear()
            add()
            batch[0] = list(drafts)

    def ended() -> None:
        work()
        held()
        no_halves(folder / "store")

    return work, held, ended


def autosave(folder: Path, model: Path) -> Case:
    import numpy as np
    from helpers.small_study import make_study

    from brainseg_engine.corrections import Work, study_key, working

    study = make_study()
    key, noted = study_key(study), folder / "noted"
    noted.write_text("0")
    base = study.segmentation

    def work() -> None:
        desk = working.Desk(key)
        for n in range(1, 40):
            labels = np.zeros_like(base.labels)
            labels.ravel()[:n] = 1
            desk.save(Work(key, study.id, replace(base, labels=labels), base=base))
            noted.write_text(str(n))
            if n % 13 == 0:
                desk.clear()  # accepted; and painted on
                noted.write_text("0")
        desk.clear()

    def held() -> None:
        at_least = int(noted.read_text() or 0)
        found = working.pending(key)
        if at_least:
            work = working.load(found[0].path)
            assert int((work.segmentation.labels == 1).sum()) >= at_least, "strokes were lost"
            assert work.base is not None and np.array_equal(work.base.labels, base.labels), "the answer was lost"
        for f in found:
            working.load(f.path)
            working.discard(f.path)
        noted.write_text("0")

    def ended() -> None:
        work()
        assert not working.pending(key)

    return work, held, ended


def window(folder: Path, model: Path) -> Case:
    """The plugin below its widgets: strokes of the brush, the working copy after each, every third one accepted."""
    import numpy as np
    from helpers.cases import write
    from helpers.rig import Card, House, Model, paint, segment
    from helpers.small_study import make_study
    from napari.components import ViewerModel

    from brainseg_engine.core.labels import Label
    from brainseg_engine.corrections import Store, working

    study, store, noted = make_study(id="A"), Store(folder / "store"), folder / "noted"
    place, seen = write(study, folder), set[str]()
    noted.write_text("0")
    answer = np.zeros(study.reference.grid.shape, np.uint8)
    answer[5:9, 5:9, 5:9] = Label.ET  # what the rig's segment gives

    def work() -> None:
        house = House(ViewerModel())
        house.session.set_models((Model(card=Card()),))
        house.corrections.choose(store=store.path)
        house.study.open(place)
        given = segment(house)
        for n in range(1, 10):
            painted = paint(house, at=(3, 4 + n, 5))
            house.corrections.autosave.flush()
            noted.write_text(str(int((painted != given).sum())))
            if n % 3 == 0:
                house.corrections.accept()
        house.close()

    def held() -> None:
        at_least = int(noted.read_text() or 0)
        assert not [f for f in store.check(images=False) if f.severity == "error"]
        made = [c for c in store.corrections() if c.id not in seen]
        kept = [store.read(c).labels for c in made]
        for found in working.pending():
            left = working.load(found.path)
            assert left.base is not None and np.array_equal(left.base.labels, answer), "the answer was lost"
            kept.append(left.segmentation.labels)
            working.discard(found.path)
        most = max((int((labels != answer).sum()) for labels in kept), default=0)
        assert most >= at_least, f"strokes were lost: {most} voxels are kept of {at_least}"
        seen.update(c.id for c in made)
        noted.write_text("0")

    def ended() -> None:
        work()
        held()
        assert not working.pending()
        no_halves(folder / "store")

    return work, held, ended


KINDS = (predict, shards, train, finetune, accept, autosave, window)
