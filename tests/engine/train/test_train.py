"""Training on disk, small: it learns, it repeats, and a resumed run ends as one that was never stopped."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import nibabel as nib
import numpy as np
import pytest
import torch
from helpers.small_study import make_study, write_cohort
from safetensors import SafetensorError
from safetensors.torch import load_file

from brainseg_engine.core.errors import Cancelled, DeviceError, InputError, OutputError, RecipeError, TrainingError
from brainseg_engine.core.events import EpochDone, Progress
from brainseg_engine.core.labels import Region
from brainseg_engine.core.study import Modality
from brainseg_engine.inference.predictor import Predictor
from brainseg_engine.io import load_study, save_segmentation, save_volume
from brainseg_engine.models import checkpoint
from brainseg_engine.phantom import write_study
from brainseg_engine.recipe import load_recipe, overridden
from brainseg_engine.runs import COLUMNS, RunFolder, load_state
from brainseg_engine.scores.scorer import score_case
from brainseg_engine.train import TrainOptions, memory, train


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return write_cohort(tmp_path_factory.mktemp("cohort"))


def run(recipe, cohort, out, steps, **more):
    events = []
    train(recipe, TrainOptions(*cohort, out, steps=steps, device="cpu", **more), events.append)
    return [e for e in events if isinstance(e, EpochDone)]


def equal(a, b):
    one, two = load_file(a), load_file(b)
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


def test_it_learns_and_keeps_the_best(tiny_recipe, cohort, tmp_path):
    recipe = load_recipe("baseline", [
        "network.init_filters=8", "network.blocks_down=[1, 1]", "network.blocks_up=[1]", "schedule.warmup_steps=2",
        "optimiser.learning_rate=2e-2", "training.validate_every_steps=20", "training.ema_decay=0.8",
        "augmentation.acquisition={}", 'network.norm_over="image"',
    ])  # fmt: skip
    events = run(recipe, cohort, tmp_path, 60)
    assert events[-1].loss < 0.6 * events[0].loss
    validated = [e for e in events if e.dice]
    best = max(validated, key=lambda e: sum(e.dice.values()))
    assert best.dice["WT"] > 0.8
    loaded = checkpoint.load(tmp_path / "model.safetensors")
    assert loaded.card.scores["WT"]["dice"] == round(best.dice["WT"], 4)
    assert len(loaded.card.training_hashes) == 3 * 4
    study = load_study(cohort[0] / "Case_0")
    assert study.reference.sha256 in loaded.card.training_hashes
    held_out = load_study(cohort[0] / "Case_3")
    assert held_out.reference.sha256 not in loaded.card.training_hashes
    labels = Predictor(tmp_path / "model.safetensors", "cpu").predict(held_out).segmentation.labels
    score = score_case(labels, held_out.segmentation.labels, held_out.reference.grid, hd95=False)
    assert abs(score[Region.WT].dice - best.dice["WT"]) < 1e-4  # inference is what validation was


@pytest.mark.slow
def test_same_seed_same_weights_whatever_the_workers(tiny_recipe, cohort, tmp_path):
    run(tiny_recipe, cohort, tmp_path / "a", 6)
    run(tiny_recipe, cohort, tmp_path / "b", 6, workers=2)
    run(tiny_recipe, cohort, tmp_path / "c", 6, seed=1)
    assert equal(tmp_path / "a/last.safetensors", tmp_path / "b/last.safetensors")
    assert not equal(tmp_path / "a/last.safetensors", tmp_path / "c/last.safetensors")


@pytest.fixture(scope="module")
def whole(tiny_recipe, cohort, tmp_path_factory):
    """The folder of a run of 12 steps that nothing stopped."""
    out = tmp_path_factory.mktemp("whole")
    run(tiny_recipe, cohort, out, 12)
    return out


def test_stopped_and_resumed_equals_never_stopped(whole, tiny_recipe, cohort, tmp_path):
    seen = []
    with pytest.raises(Cancelled):
        train(
            tiny_recipe, TrainOptions(*cohort, tmp_path / "parts", steps=12, device="cpu"), seen.append,
            lambda: len(seen) > 12,
        )  # fmt: skip
    with (tmp_path / "parts/metrics.csv").open("a") as f:
        f.write("9,11,0.1,1e-3,,,,1.0\n")  # what a killed process may have written after its last checkpoint
    run(tiny_recipe, cohort, tmp_path / "parts", 12, resume=True)
    assert equal(whole / "last.safetensors", tmp_path / "parts/last.safetensors")
    assert equal(whole / "model.safetensors", tmp_path / "parts/model.safetensors")
    assert table(whole) == table(tmp_path / "parts")


def test_bad_input_is_reported_in_words(tiny_recipe, cohort, tmp_path):
    folder, split = cohort

    def attempt(text, **more):
        bad = tmp_path / "bad.csv"
        bad.write_text(text)
        train(tiny_recipe, TrainOptions(folder, bad, tmp_path / "out", steps=1, device="cpu", **more), lambda e: None)

    with pytest.raises(TrainingError, match="Case_9"):
        attempt("case,split\nCase_9,train\nCase_1,validation\n")
    with pytest.raises(TrainingError, match=r"line 3.*both in"):
        attempt("case,split\nCase_1,train\nCase_1,validation\n")
    with pytest.raises(TrainingError, match="one for validation"):
        attempt("case,split\nCase_1,train\n")
    with pytest.raises(TrainingError, match="columns"):
        attempt("a,b\n1,2\n")
    with pytest.raises(TrainingError, match="must be one of"):
        attempt("case,split\nCase_1,training\n")
    with pytest.raises(InputError, match="no data folder"):
        train(tiny_recipe, TrainOptions(tmp_path / "none", split, tmp_path / "o", device="cpu"), lambda e: None)


def test_a_run_folder_is_not_overwritten(tiny_recipe, cohort, tmp_path):
    run(tiny_recipe, cohort, tmp_path, 2)
    before = (tmp_path / "recipe.json").read_text()
    with pytest.raises(TrainingError, match="--resume"):
        run(tiny_recipe, cohort, tmp_path, 2)
    with pytest.raises(TrainingError, match="seed"):
        run(tiny_recipe, cohort, tmp_path, 2, seed=3, resume=True)
    with pytest.raises(TrainingError, match=r"another recipe.*init_filters was 8, not 16"):
        run(load_recipe("baseline"), cohort, tmp_path, 2, resume=True)
    assert (tmp_path / "recipe.json").read_text() == before
    with RunFolder(tmp_path).lock(), pytest.raises(TrainingError, match="already training"):
        run(tiny_recipe, cohort, tmp_path, 2, resume=True)
    split = tmp_path / "other.csv"
    split.write_text("case,split\nCase_0,train\nCase_3,validation\n")
    with pytest.raises(TrainingError, match="other train cases"):
        run(tiny_recipe, (cohort[0], split), tmp_path, 2, resume=True)


def table(folder):
    """The metrics, but for the seconds."""
    with (folder / "metrics.csv").open() as f:
        return [{k: v for k, v in r.items() if k != "seconds"} for r in csv.DictReader(f)]


@pytest.mark.parametrize("when", ["reading Case_0", "step 5 of 12", "step 7 of 12", "step 12 of 12"])
def test_a_stop_anywhere_is_clean_and_resumes_exactly(when, whole, tiny_recipe, cohort, tmp_path):
    """While it reads, while it validates (every 5 steps, and at the end), between steps."""
    seen = []
    options = TrainOptions(*cohort, tmp_path / "parts", steps=12, device="cpu")
    with pytest.raises(Cancelled, match="start it again" if "reading" in when else "--resume"):
        train(tiny_recipe, options, seen.append, lambda: any(getattr(e, "stage", "").startswith(when) for e in seen))
    assert (tmp_path / "parts/last.safetensors").exists() == ("reading" not in when)
    stages = [e.stage for e in seen if isinstance(e, Progress)]
    assert ("reading Case_1 (all take about 0.0 GiB in the cache)" in stages) == ("reading" not in when)
    run(tiny_recipe, cohort, tmp_path / "parts", 12, resume=True)
    assert equal(whole / "last.safetensors", tmp_path / "parts/last.safetensors")
    assert equal(whole / "model.safetensors", tmp_path / "parts/model.safetensors")
    assert table(whole) == table(tmp_path / "parts")


def test_a_stop_before_the_first_step_resumes(tiny_recipe, cohort, tmp_path):
    seen = []
    with pytest.raises(Cancelled, match="at step 0"):
        train(
            tiny_recipe, TrainOptions(*cohort, tmp_path, steps=2, device="cpu"), seen.append,
            lambda: any(getattr(e, "stage", "").startswith("checking") for e in seen),
        )  # fmt: skip
    assert run(tiny_recipe, cohort, tmp_path, 2, resume=True)[-1].step == 2


def test_resume_where_nothing_is_begins_anew(tiny_recipe, cohort, tmp_path):
    (tmp_path / "metrics.csv").write_text(
        ",".join(COLUMNS) + "\n1,3,0.5,,,,,\n"
    )  # of a run that was killed before it saved a state
    run(tiny_recipe, cohort, tmp_path, 2, resume=True)
    assert [r["step"] for r in table(tmp_path)] == ["2"]


def test_a_finished_run_goes_on_with_more_epochs(tiny_recipe, cohort, tmp_path):
    def of(epochs):
        return tiny_recipe.model_copy(update={"training": tiny_recipe.training.model_copy(update={"epochs": epochs})})

    run(of(1), cohort, tmp_path, None)
    events = run(of(2), cohort, tmp_path, None, resume=True)
    assert [e.step for e in events] == [5, 6]  # 3 cases, 2 epochs


@pytest.mark.slow
def test_a_model_remembers_the_cases_of_the_one_it_started_from(tiny_recipe, cohort, tmp_path):
    folder, _ = cohort
    first, second = tmp_path / "1.csv", tmp_path / "2.csv"
    first.write_text("case,split\nCase_0,train\nCase_3,validation\n")
    second.write_text("case,split\nCase_1,train\nCase_3,validation\n")
    run(tiny_recipe, (folder, first), tmp_path / "a", 1)
    seen = []
    with pytest.raises(Cancelled):
        train(
            tiny_recipe,
            TrainOptions(folder, second, tmp_path / "b", steps=4, device="cpu", init=str(tmp_path / "a/model.safetensors")),
            seen.append, lambda: len(seen) > 3,
        )  # fmt: skip
    run(tiny_recipe, (folder, second), tmp_path / "b", 4, resume=True)  # --init is not given again
    kept = checkpoint.load(tmp_path / "b/model.safetensors").card.training_hashes
    for case in ("Case_0", "Case_1"):
        assert load_study(folder / case).reference.sha256 in kept
    assert str(folder) not in (tmp_path / "b/run.json").read_text()


def spoil(data, what):
    """One case of a copied cohort, damaged."""
    case = data / "Case_1"
    mask, image = next(case.glob("*seg*")), next(case.glob("*t2f*"))
    if what == "no truth":
        mask.unlink()
    elif what == "not a number":
        file = nib.load(image)
        values = np.asarray(file.dataobj).astype(np.float32)
        values[10, 10, 10] = np.nan
        nib.save(nib.Nifti1Image(values, file.affine), image)
    elif what == "strange label":
        file = nib.load(mask)
        values = np.asarray(file.dataobj).astype(np.uint8)
        values[10, 10, 10] = 9
        nib.save(nib.Nifti1Image(values, file.affine), mask)
    elif what == "no series":
        image.unlink()
    elif what == "twin":
        shutil.rmtree(case)
        write_study(make_study(0, id="Case_1"), data)


@pytest.mark.parametrize("subset", ["train", "validation"])
@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("no truth", "no segmentation"), ("not a number", "NaN"), ("strange label", "value 9"),
        ("no series", "FLAIR"), ("twin", "holds an image of the training case"),
    ],
)  # fmt: skip
def test_a_bad_case_is_named_before_the_first_step(what, words, subset, tiny_recipe, cohort, tmp_path):
    data, split = tmp_path / "data", tmp_path / "split.csv"
    shutil.copytree(cohort[0], data)
    spoil(data, what)
    other = "validation" if subset == "train" else "train"
    split.write_text(f"case,split\nCase_0,{other}\nCase_1,{subset}\n")
    seen = []
    with pytest.raises((InputError, TrainingError), match=words) as e:
        train(tiny_recipe, TrainOptions(data, split, tmp_path / "out", steps=2, device="cpu"), seen.append)
    assert "Case_" in str(e.value)
    assert not any(s.stage.startswith("step") for s in seen)


def test_a_diverging_loss_is_reported_and_the_good_state_kept(tiny_recipe, cohort, tmp_path):
    run(tiny_recipe, cohort, tmp_path, 2)
    good = (tmp_path / "last.safetensors").read_bytes()
    wild = tiny_recipe.model_copy(
        update={"optimiser": tiny_recipe.optimiser.model_copy(update={"learning_rate": 1e30})}
    )
    with pytest.raises(TrainingError, match=r"became (nan|inf).* at step \d+, with the case Case_\d.*start it again"):
        run(wild, cohort, tmp_path / "wild", 20)
    assert not (tmp_path / "wild/last.safetensors").exists()
    assert (tmp_path / "last.safetensors").read_bytes() == good


def test_what_a_machine_runs_out_of_is_a_sentence(tiny_recipe, cohort, tmp_path, monkeypatch):
    def empty(*_):
        torch.empty(1 << 46)

    monkeypatch.setattr("brainseg_engine.train.losses.region_targets", empty)
    with pytest.raises(DeviceError, match=r"ran out of memory.*start it again"):
        run(tiny_recipe, cohort, tmp_path / "a", 2)
    monkeypatch.undo()
    run(tiny_recipe, cohort, tmp_path / "b", 2)

    def full(*_, **__):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    before = (tmp_path / "b/last.safetensors").read_bytes()
    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(OutputError, match=r"Cannot write .*safetensors.*No space left"):
        run(tiny_recipe, cohort, tmp_path / "b", 4, resume=True)
    assert (tmp_path / "b/last.safetensors").read_bytes() == before
    assert not list((tmp_path / "b").glob(".part*"))


@pytest.mark.skipif(os.name != "posix", reason="signals between processes")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.slow
def test_a_signal_stops_the_command_cleanly(number, cohort, tmp_path):
    """To the whole process group, as a terminal sends it, with a worker that prepares samples."""
    command = [
        sys.executable, "-m", "brainseg_engine", "train", "baseline", "--data", str(cohort[0]), "--split",
        str(cohort[1]), "--out", str(tmp_path), "--steps", "100000", "--device", "cpu", "--workers", "1",
        *(x for s in ("network.init_filters=8", "network.blocks_down=[1, 1]", "network.blocks_up=[1]")
          for x in ("--set", s)),
    ]  # fmt: skip
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        deadline = time.monotonic() + 200
        while not (tmp_path / "metrics.csv").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert "--resume" in said
    tensors, facts, _ = load_state(tmp_path / "last.safetensors")
    assert facts["step"] >= 25
    assert tensors


def test_starting_from_a_model(tiny_recipe, tiny_model, cohort, tmp_path):
    run(tiny_recipe, cohort, tmp_path / "run", 1, init=str(tiny_model))
    with pytest.raises(RecipeError, match="same form"):
        run(load_recipe("baseline"), cohort, tmp_path / "other", 1, init=str(tiny_model))


def test_short_numbers_are_not_imitated_and_the_run_says_what_it_took(
    tiny_recipe, cohort, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    run(overridden(tiny_recipe, ["training.precision=bf16-mixed"]), cohort, tmp_path / "short", 2)
    run(tiny_recipe, cohort, tmp_path / "plain", 2)
    assert json.loads((tmp_path / "short/run.json").read_text())["precision"] == "32-true"
    assert "only imitates bf16-mixed" in caplog.text
    assert equal(tmp_path / "short/last.safetensors", tmp_path / "plain/last.safetensors")


@pytest.mark.parametrize("capability", ["AVX2", "AVX512"])
def test_short_numbers_are_advised_where_they_are_not_imitated(tiny_recipe, monkeypatch, capability):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert ("bf16-mixed" in memory.advice(tiny_recipe, "cpu")) == (capability == "AVX512")


def test_a_doubt_of_many_cases_is_told_once(tmp_path, tiny_recipe, caplog):
    """Masks of 1, 2, 4 under names of BraTS 2023, settled by the T1ce: a sentence for the folder, not one a case."""
    data, split = tmp_path / "data", tmp_path / "split.csv"
    for n in range(5):
        study = make_study(n, id=f"BraTS-GLI-0000{n}-000")
        folder = data / study.id
        for m, name in (("t1", "t1n"), ("t1ce", "t1c"), ("t2", "t2w"), ("flair", "t2f")):
            volume = study.volumes[Modality(m)]
            save_volume(volume.data, volume.grid, folder / f"{study.id}-{name}.nii.gz")
        save_segmentation(study.segmentation, folder / f"{study.id}-seg.nii.gz", coding="brats2021")
    rows = "".join(f"BraTS-GLI-0000{n}-000,{'train' if n < 3 else 'validation'}\n" for n in range(5))
    split.write_text("case,split\n" + rows)
    options = TrainOptions(data, split, tmp_path / "run", 1, device="cpu", cache=tmp_path / "cache")
    train(tiny_recipe, options, lambda e: None)
    told = [r.getMessage() for r in caplog.records if "name the coding" in r.getMessage()]
    assert [t.partition(":")[0] for t in told] == ["BraTS-GLI-00000-000 and 2 more", "BraTS-GLI-00003-000 and 1 more"]
