"""Fine-tuning, small: what was held out is never learnt from, the report says what is so, and nothing bad is trained on."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.small_study import make_study
from helpers.small_world import correct, make_world, thick
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from typer.main import get_command

from brainseg_engine import models, train
from brainseg_engine.cli import app
from brainseg_engine.core.errors import Cancelled, InputError, OutputError, RecipeError, TrainingError
from brainseg_engine.core.events import EpochDone, Finished, Progress, from_json
from brainseg_engine.core.labels import Region
from brainseg_engine.corrections import Store
from brainseg_engine.corrections.sources import source_of
from brainseg_engine.finetune import (
    FinetuneOptions,
    anchors,
    collecting,
    command,
    guard,
    keeping,
    memory,
    plan,
    proof,
    recipes,
    status,
    status_of,
    usable,
    verdict,
)
from brainseg_engine.finetune.job import run
from brainseg_engine.finetune.under_way import UnderWay
from brainseg_engine.inference.predictor import Predictor
from brainseg_engine.io import load_study
from brainseg_engine.models import checkpoint
from brainseg_engine.phantom import write_study
from brainseg_engine.recipe import load_recipe
from brainseg_engine.runs import RunFolder
from brainseg_engine.scores.scorer import score_case


def options(tmp_path: Path, model: Path, anchors: Path | None, **more) -> FinetuneOptions:
    given = {"epochs": 1, "rate": 1.0, "device": "cpu", **more}
    return FinetuneOptions(tmp_path / "run", str(model), tmp_path / "corrections", anchors, **given)


# --- from end to end


@pytest.mark.slow
def test_the_report_says_what_is_so(tmp_path, tiny_model):
    store, anchors = make_world(tmp_path)
    before = tiny_model.read_bytes()
    events = []
    report = run(options(tmp_path, tiny_model, anchors, epochs=8), events.append)
    out = tmp_path / "run"

    held_out = {c.mask_sha256 for c in store.corrections() if c.held_out}
    assert len(held_out) == 1  # a quarter of four patients, and the store remembers it
    assert {c["mask_sha256"] for c in report["corrections"]["held_out"]} == held_out
    made = checkpoint.load(out / "model.safetensors")
    hidden = load_study(out / "data" / report["corrections"]["held_out"][0]["name"])
    assert not {v.sha256 for v in hidden.volumes.values()} & set(made.card.training_hashes)
    learnt = load_study(out / "data" / report["corrections"]["training"][0]["name"])
    assert {v.sha256 for v in learnt.volumes.values()} <= set(made.card.training_hashes)

    # the scores are those of the file, and the base model's
    for which, model in (("before", tiny_model), ("after", out / "model.safetensors")):
        labels = Predictor(model, "cpu").predict(hidden).segmentation.labels
        found = score_case(labels, hidden.segmentation.labels, hidden.reference.grid)
        logged = report["held_out"][which]["cases"][hidden.folder.name]
        assert logged["WT"]["dice"] == pytest.approx(found[Region.WT].dice, abs=1e-6)
        assert logged["WT"]["hd95_mm"] == pytest.approx(found[Region.WT].hd95_mm, abs=1e-4)
    assert len(report["anchor_scores"]["after"]["cases"]) == len(report["anchors"]["scored"]) == 1
    assert not set(report["anchors"]["scored"]) & set(report["anchors"]["replayed"])
    assert set(report["guard"]["rows"][0]) == {"alpha", "anchors"}  # nothing is chosen by the held-out corrections
    assert set(report["anchors"]["choosing"]).isdisjoint(report["anchors"]["scored"])
    assert json.loads((out / "report.json").read_text()) == report
    page = (out / "report.md").read_text()
    assert report["words"] in page
    assert f"{report['guard']['alpha']:g} **chosen**" in page

    assert tiny_model.read_bytes() == before
    name = report["model"]["name"]
    assert models.find(name).read_bytes() == (out / "model.safetensors").read_bytes()
    assert models.default() != name
    line = models.lineage(name)
    assert [a.sha256 for a in line] == [report["model"]["sha256"], models.sha256(tiny_model)]
    assert report["anchors"]["of"] == "2 cases of anchors" and made.card.tuned.anchors == "1 case"  # a card may travel
    assert "anchors" not in made.card.model_dump_json(
        exclude={"known_failures": True, "tuned": {"scores", "cases", "anchors"}}
    )
    assert made.card.tuned.corrections == tuple(c["mask_sha256"] for c in report["corrections"]["training"])
    assert made.card.tuned.scores["held_out"]["after"]["WT"]["dice"] == pytest.approx(
        report["held_out"]["after"]["mean"]["WT"]["dice"], abs=1e-4
    )

    assert status_of(out).state == "done"
    logged = [from_json(line) for line in (out / "events.jsonl").read_text().splitlines()]
    assert isinstance(logged[-1], Finished)
    assert [e for e in logged if isinstance(e, EpochDone)][-1].dice
    fractions = [e.fraction for e in events if isinstance(e, Progress)]
    assert fractions == sorted(fractions)

    with pytest.raises(TrainingError, match="--resume"):
        run(options(tmp_path, tiny_model, anchors, epochs=8))
    with pytest.raises(TrainingError, match="epochs 8, not 9"):
        run(options(tmp_path, tiny_model, anchors, epochs=9, resume=True))
    again = run(FinetuneOptions(out, resume=True, device="cpu"))  # what is done stays done
    assert again == report
    assert len([m for m in models.installed() if not m.bundled]) == 1


def test_what_is_excluded_before_training_is_not_learnt_from(tmp_path, tiny_model):
    store, anchors = make_world(tmp_path, 3, 3)

    stop = tmp_path / "run" / "stop"
    with pytest.raises(
        Cancelled
    ):  # planned and stopped; then somebody excludes one of the corrections that it collected
        run(options(tmp_path, tiny_model, anchors, epochs=4),
            lambda e: stop.touch() if isinstance(e, Progress) and e.stage.startswith("step 1 ") else None)  # fmt: skip
    gone = next(c.id for c in store.corrections() if not c.held_out)
    store.exclude(gone, "a wrong contour")
    with pytest.raises(TrainingError, match=f"{gone} was excluded since"):
        run(FinetuneOptions(tmp_path / "run", resume=True, device="cpu"))
    assert not [m for m in models.installed() if not m.bundled]


def test_what_is_excluded_meanwhile_is_no_evidence_and_is_said(tmp_path, tiny_model):
    store, anchors = make_world(tmp_path, 4, 3)
    gone = {}

    def exclude(event):
        if isinstance(event, Progress) and event.stage.startswith("step 2 ") and not gone:
            gone.update({c.held_out: c.id for c in store.corrections()})
            for id in gone.values():
                store.exclude(id, "a wrong contour")

    report = run(options(tmp_path, tiny_model, anchors, epochs=4), exclude)
    assert report["held_out"]["after"]["cases"] == {} and report["verdict"] == verdict.NO_CLAIM
    notes = " ".join(report["notes"])
    assert f"{gone[True]} was excluded while this run was under way and is not scored" in notes
    assert f"{gone[False]} was excluded while this run was under way and was learnt from all the same" in notes


@pytest.mark.slow
def test_stopped_and_resumed_equals_never_stopped(tmp_path, tiny_model):
    make_world(tmp_path, 3, 3)
    whole = run(FinetuneOptions(tmp_path / "whole", str(tiny_model), tmp_path / "corrections", tmp_path / "anchors", epochs=4,
                        rate=1.0, device="cpu"))  # fmt: skip
    out, seen = tmp_path / "run", []

    def stop_at_step_four(event):
        if isinstance(event, Progress) and event.stage.startswith("step 4 "):
            (out / "stop").touch()  # as a window does
            seen.append(event)

    with pytest.raises(Cancelled, match="--resume"):
        run(options(tmp_path, tiny_model, tmp_path / "anchors", epochs=4), stop_at_step_four)
    assert seen
    assert status_of(out).state == "stopped"
    parts = run(FinetuneOptions(out, resume=True, device="cpu"))
    assert parts["guard"] == whole["guard"]
    one, two = load_file(tmp_path / "whole/training/last.safetensors"), load_file(out / "training/last.safetensors")
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert parts["model"]["name"] != whole["model"]["name"]  # never over another


def test_one_correction_goes_on_without_a_claim(tmp_path, tiny_model):
    make_world(tmp_path, 1, 3)
    report = run(options(tmp_path, tiny_model, tmp_path / "anchors", parts="decoder"))
    assert report["verdict"] in ("no claim", "worse")
    assert report["held_out"]["before"]["cases"] == {}
    assert report["guard"]["alpha"] <= guard.BLIND
    assert any("one correction only" in note for note in report["notes"])
    base, made = checkpoint.load(tiny_model).state, checkpoint.load(tmp_path / "run/model.safetensors").state
    moved = {k for k in base if not torch.equal(base[k], made[k])}
    assert moved
    assert all(k.startswith(("body.up_", "body.conv_final")) for k in moved)


def test_out_of_memory_is_answered_with_smaller_pieces_then_the_cpu(tmp_path, tiny_model, monkeypatch):
    make_world(tmp_path, 1, 2)
    tried = []
    step = train.Loop._step

    def short_of_memory(self, batches):
        tried.append((self.recipe.window.policy, self.recipe.window.size))
        if self.recipe.window.policy == "brain":
            raise torch.OutOfMemoryError("no")
        return step(self, batches)

    monkeypatch.setattr(train.Loop, "_step", short_of_memory)
    monkeypatch.setattr(memory, "PIECE", 16)
    report = run(options(tmp_path, tiny_model, tmp_path / "anchors"))
    assert tried[0][0] == "brain"
    assert tried[-1] == ("patch", (16, 16, 16))
    assert any("pieces of 16×16×16" in note for note in report["notes"])
    assert checkpoint.read_metadata(tmp_path / "run/model.safetensors")[1].window.policy == "brain"


def test_the_levels_of_memory_end_with_the_cpu(tiny_recipe, monkeypatch):
    monkeypatch.setattr(memory.device, "choose", lambda name: name)
    found = memory.levels(tiny_recipe, "cuda")
    assert [level.words for level in found] == [
        "", "pieces of 112×112×112 voxels", "pieces of 84×84×84 voxels", "the CPU",
    ]  # fmt: skip
    assert found[-1].recipe == tiny_recipe
    slices = load_recipe("unet2d_lgg")
    assert [level.device for level in memory.levels(slices, "cuda")][-1] == "cpu"


def test_the_command_of_a_run_is_what_the_program_understands(tmp_path):
    given_ = FinetuneOptions(tmp_path, "m", tmp_path / "c", tmp_path / "a", tmp_path / "s.csv", 1.5, None, "head", 3, "new",
                             0.4, 0.01, 0.2, True, "cpu", 2, tmp_path / "cache", "16-mixed",
                             ["loss.dice=2", "training.batch_size=2"], "brats2021")  # fmt: skip
    words = command(given_)
    program = get_command(app).commands["finetune"]
    parsed = program.make_context("finetune", words[words.index("finetune") + 1 :]).params
    for key, value in given_.settings().items():
        assert str(parsed[key]) == str(value) or list(parsed[key]) == value
    assert (parsed["out"], parsed["resume"], parsed["device"], parsed["workers"]) == (tmp_path, True, "cpu", 2)


def test_a_model_that_is_worse_is_not_made_the_default(tiny_model, capsys):
    from brainseg_engine.cli.finetune import _make_default

    models.add(tiny_model, "new")
    for marked in ("worse", "better, at a cost"):
        _make_default({"verdict": marked, "model": {"name": "new"}})
        assert models.default() != "new"
        assert "not made the default" in capsys.readouterr().err
    _make_default({"verdict": "no worse", "model": {"name": "new"}})
    assert models.default() == "new"


def test_progress_that_cannot_be_written_ends_no_run_but_its_end_must_be_recorded(tmp_path, monkeypatch):
    heard = []
    recorder = status.Recorder(tmp_path, heard.append)

    def refuse(out, state):
        raise OutputError("Cannot write status.json: Permission denied.")

    monkeypatch.setattr(status, "_save", refuse)
    event = Progress("collecting A", 0.5)
    recorder(event)
    assert heard == [event]
    with pytest.raises(OutputError):
        recorder.end("done", Finished("finetune", {}))
    monkeypatch.undo()
    recorder.end("done", Finished("finetune", {}))
    assert status_of(tmp_path).state == "done"


# --- minutes


def test_minutes_become_steps_once_and_the_pilot_leaves_no_trace(tmp_path, tiny_recipe):
    for n in range(3):
        write_study(make_study(n, id=f"C{n}"), tmp_path / "data" if n else _made(tmp_path / "data"))
    split = tmp_path / "split.csv"
    split.write_text("case,split\nC0,train\nC1,train\nC2,validation\n")

    def trained(out, **more):
        train.train(
            tiny_recipe, train.TrainOptions(tmp_path / "data", split, out, device="cpu", **more), lambda e: None
        )
        return load_file(out / "last.safetensors")

    timed = trained(tmp_path / "timed", minutes=0.01)
    steps = json.loads((tmp_path / "timed/run.json").read_text())["planned"]
    counted = trained(tmp_path / "counted", steps=steps)
    assert timed.keys() == counted.keys()
    assert all(torch.equal(timed[k], counted[k]) for k in timed)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


# --- bad input


def taken(store: Store, recipe, folder: Path) -> collecting.Collected:
    return collecting.collect(store, recipe, folder / "data", lambda p: None, lambda: None)


@pytest.mark.parametrize("ending", [".hdr", ".mhd", ".mgz", ".nrrd"])
def test_images_of_every_format_are_learnt_from(ending, tmp_path, tiny_recipe):
    """Also where the voxels lie in a second file."""
    import nibabel
    import SimpleITK as sitk

    study = make_study(0, id="Patient0")
    place = tmp_path / "Patient0"
    place.mkdir()
    for m, v in study.volumes.items():
        path = place / f"Patient0_{m}{ending}"
        if ending in (".hdr", ".mgz"):
            kind = nibabel.Nifti1Pair if ending == ".hdr" else nibabel.MGHImage
            nibabel.save(kind(v.data.astype(np.float32), v.grid.affine), path)
        else:
            sitk.WriteImage(sitk.GetImageFromArray(v.data.transpose()), str(path))
    loaded = load_study(place)
    mask = replace(study.segmentation, grid=loaded.reference.grid)
    store = Store(tmp_path / "corrections")
    made = store.add(loaded, mask, base=mask)
    found = taken(store, tiny_recipe, tmp_path)
    assert [c.name for c in found.cases] == [made.id] and not found.refused


def test_a_study_that_changed_is_refused_by_name_and_left_out(tmp_path, tiny_recipe):
    store, _ = make_world(tmp_path, 2, 0)
    first, second = store.corrections()
    path = next(iter(source_of(first.study).files.values())).parent
    write_study(make_study(77, id=path.name), path.parent, overwrite=True)
    found = taken(store, tiny_recipe, tmp_path)
    assert [c.name for c in found.cases] == [second.id]
    assert "has changed since it was corrected: T1, T1ce, T2, FLAIR" in found.refused[first.id]
    assert not (tmp_path / "data" / first.id).exists()
    for file in source_of(second.study).files.values():
        file.unlink()
    with pytest.raises(InputError, match="None of the 2 corrections"):
        taken(store, tiny_recipe, tmp_path)


def test_of_two_people_the_newest_is_used_and_said_so(tmp_path, tiny_recipe):
    store, _ = make_world(tmp_path, 0, 0)
    correct(store, tmp_path / "studies", 1, by="A")
    newest = correct(store, tmp_path / "studies", 1, by="B")
    found = taken(store, tiny_recipe, tmp_path)
    assert [c.mask_sha256 for c in found.cases] == [newest.mask_sha256]
    assert any("several people" in note and newest.id in note for note in found.notes)


def test_a_model_of_other_regions_or_modalities_is_refused(tmp_path, tiny_recipe):
    store, _ = make_world(tmp_path, 1, 0)
    record = store.corrections()[0]
    sidecar = record.sidecar
    sidecar.chmod(0o644)
    content = json.loads(sidecar.read_text())
    sidecar.write_text(json.dumps(content | {"images": {k: v for k, v in content["images"].items() if k != "t2"}}))
    with pytest.raises(InputError, match="no T2, which the model needs"):
        taken(store, tiny_recipe, tmp_path)
    sidecar.write_text(json.dumps(content | {"regions": ["WT"], "coding": "lgg"}))
    with pytest.raises(InputError, match="TC, ET cannot be learnt"):
        taken(store, tiny_recipe, tmp_path)


def test_a_changed_mask_and_a_folder_without_corrections_are_refused(tmp_path, tiny_recipe):
    store, _ = make_world(tmp_path, 1, 0)
    mask = store.corrections()[0].mask
    mask.chmod(0o644)
    mask.write_bytes(mask.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match="is not what was accepted"):
        taken(store, tiny_recipe, tmp_path)
    with pytest.raises(InputError, match="no folder of corrections"):
        run(FinetuneOptions(tmp_path / "o", "brats-baseline", tmp_path / "anchors", epochs=1))
    with pytest.raises(TrainingError, match="either --minutes or --epochs"):
        run(FinetuneOptions(tmp_path / "o2", "brats-baseline", tmp_path / "corrections"))
    with pytest.raises(TrainingError, match="no run in"):
        run(FinetuneOptions(tmp_path / "o3", resume=True))


def test_no_study_and_no_patient_of_the_corrections_is_an_anchor(tmp_path, tiny_recipe):
    from brainseg_engine.finetune import anchors

    store, folder = make_world(tmp_path, 2, 2)
    write_study(make_study(0, id="Renamed"), folder)  # the images of a corrected study
    write_study(make_study(55, id="Patient1"), folder)  # another study of a corrected patient
    cases = taken(store, tiny_recipe, tmp_path).cases
    split = tmp_path / "split.csv"
    split.write_text("case,split\nRenamed,train\nAnchor100,train\nPatient1,validation\nAnchor101,validation\n")
    found = anchors.of_folder(folder, split, cases, tiny_recipe, 0, (), lambda p: None, lambda: None)
    assert (list(found.replayed), list(found.choosing), list(found.scored)) == (["Anchor100"], ["Anchor101"], [])
    assert len(found.notes) == 3  # the last: nothing is left to judge


# --- who is held out


def cases_of(patients: list[str], held: set[int] = frozenset()) -> list[collecting.CorrectedCase]:
    return [collecting.CorrectedCase(f"c{n}", f"m{n}", p, (f"h{n}",), n in held) for n, p in enumerate(patients)]


class Remembers:
    path = Path("store")

    def set_held_out(self, id: str) -> None:
        pass


@given(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=12), st.data())
def test_a_patient_is_on_one_side_only(patients, data):
    flagged = data.draw(st.sets(st.integers(0, len(patients) - 1)))
    given_ = cases_of(patients, flagged)
    if {patients[n] for n in flagged} == set(patients):
        with pytest.raises(InputError, match="nothing to train on"):
            collecting.hold_out(given_, Remembers())
        return
    cases, notes = collecting.hold_out(given_, Remembers())
    sides = {p: {c.held_out for c in cases if c.patient == p} for p in patients}
    assert all(len(side) == 1 for side in sides.values())
    assert any(not c.held_out for c in cases)
    distinct = len(set(patients))
    assert any(c.held_out for c in cases) == (bool(flagged) or distinct >= usable.FEWEST)
    assert {patients[n] for n in flagged} <= {c.patient for c in cases if c.held_out}
    assert cases == collecting.hold_out(given_, Remembers())[0]
    assert any(c.held_out for c in cases) or any("no claim" in n or "claim is made" in n for n in notes)


@given(st.integers(1, 40), st.integers(1, 12), st.floats(0.05, 0.9))
def test_the_mix_is_about_what_was_asked_for(training, replayed, mix):
    times = collecting.visits(training, replayed, mix)
    share = times["anchors"] * replayed / (times["anchors"] * replayed + times["corrections"] * training)
    assert abs(share - mix) < 0.17  # whole visits
    assert min(times.values()) == 1


# --- the guard and the verdict


def test_mixed_weights_lie_between_and_their_ends_are_the_models():
    base = {"w": torch.randn(50), "n": torch.tensor(3)}
    trained = {"w": torch.randn(50), "n": torch.tensor(9)}
    assert all(torch.equal(guard.mixed(base, trained, 0.0)[k], base[k]) for k in base)
    assert all(torch.equal(guard.mixed(base, trained, 1.0)[k], trained[k]) for k in base)
    half = guard.mixed(base, trained, 0.5)["w"]
    torch.testing.assert_close(half, (base["w"] + trained["w"]) / 2)


@given(st.lists(st.floats(0, 1), min_size=5, max_size=5), st.booleans(), st.sampled_from([0.5, 1.0]))
def test_the_guard_goes_as_far_as_the_anchors_allow(values, anchored, most):
    rows = [guard.AlphaScore(a, k if anchored else None) for a, k in zip(guard.ALPHAS, values, strict=True)]
    choice = guard.chosen(rows, most)
    row = next(r for r in rows if r.alpha == choice.alpha)
    others = [r for r in rows[1:] if r.alpha <= most]
    allowed = [r for r in others if not anchored or rows[0].anchors - r.anchors <= verdict.LIMIT]
    assert 0 < choice.alpha <= most
    if allowed:
        assert choice.alpha == max(r.alpha for r in allowed)
    else:
        assert row.anchors >= max(r.anchors for r in others) - 2 * guard.EQUAL


def scored(before: list[float], after: list[float], **more) -> proof.BeforeAfter:
    from brainseg_engine.evaluation import Evaluation
    from brainseg_engine.scores.scorer import RegionScore, mean_score

    def made(values):
        cases = {f"c{n}": {r: RegionScore(dice=v, hd95_mm=1.0) for r in Region} for n, v in enumerate(values)}
        return Evaluation(cases, mean_score(cases.values()))

    return proof.BeforeAfter(made(before), made(after), **more)


SIX = [0.5, 0.6, 0.7, 0.55, 0.65, 0.75]


def test_the_verdict_follows_its_rule():
    up, down, same = (scored(SIX, [v + d for v in SIX]) for d in (0.1, -0.1, 0.0))
    few, fewer, none = scored(SIX[:5], [v + 0.1 for v in SIX[:5]]), scored([0.5], [0.505]), scored([], [])
    assert [x.verdict for x in (up, down, same, few, fewer, none)] == [
        "better", "worse", "no worse", "promising", "no claim", "no claim",
    ]  # fmt: skip
    assert proof.overall({"held_out": up, "anchors": same}) == "better"
    assert proof.overall({"held_out": up, "anchors": down}) == "worse"
    assert proof.overall({"held_out": few, "anchors": same}) == "promising"
    assert proof.overall({"held_out": few, "anchors": down}) == "worse"
    assert proof.overall({"held_out": none, "anchors": same}) == "no claim"
    assert proof.overall({"held_out": none, "anchors": down}) == "worse"
    assert proof.overall({"held_out": down, "anchors": up}) == "worse"
    slightly = scored(SIX, [v * 0.991 for v in SIX])
    assert slightly.verdict == "worse"
    assert proof.overall({"held_out": up, "anchors": slightly}) == "better, at a cost"
    assert proof.overall({"held_out": same, "anchors": slightly}) == "worse"
    for word in (
        verdict.BETTER,
        verdict.AT_A_COST,
        verdict.PROMISING,
        verdict.NO_WORSE,
        verdict.WORSE,
        verdict.NO_CLAIM,
    ):
        assert f'"{word}"' in verdict.RULE
    uncertain = scored(SIX, [0.9, *(v - 0.01 for v in SIX[1:])])
    assert uncertain.difference.mean > verdict.LIMIT
    assert uncertain.verdict == "no worse"
    assert "phantoms" in proof.in_words({"held_out": up, "anchors": same}, real_anchors=False)
    assert "too few for a claim" in proof.in_words({"held_out": few}, real_anchors=True)


@pytest.mark.parametrize("patients", [1, 2, 3, 5, 6, 8, 10, 20])
def test_a_model_that_is_no_better_is_seldom_called_better(patients):
    """Differences of patients with SD 0.035 and no true effect. Nothing is chosen on these patients, which is what the
    simulated rule takes for granted; the run's own part of that is tested below."""
    rng = np.random.default_rng(patients)
    called = [verdict.of_set(list(rng.normal(0, 0.035, patients))) for _ in range(400)]
    assert called.count("better") <= 0.1 * len(called)
    if patients < verdict.FEWEST:
        assert set(called) <= {"worse", "promising", "no claim"}


def test_cases_of_one_patient_are_one_piece_of_evidence():
    up = [v + 0.1 for v in SIX]
    one = scored(SIX, up, patients={f"c{n}": "same" for n in range(6)})
    assert len(one.differences) == 1 and one.verdict == "promising"


def test_what_nobody_edited_is_no_evidence():
    edited = {f"c{n}": [Region.ET] if n else [] for n in range(6)}
    one = scored(SIX, [v + 0.1 for v in SIX], edited=edited)
    assert len(one.differences) == 5 and one.verdict == "promising"
    from brainseg_engine.evaluation import Evaluation
    from brainseg_engine.scores.scorer import RegionScore, mean_score

    # untouched regions agree with the base by construction: any other answer loses there
    before = {
        "c0": {Region.WT: RegionScore(dice=1.0), Region.TC: RegionScore(dice=1.0), Region.ET: RegionScore(dice=0.5)}
    }
    after = {
        "c0": {Region.WT: RegionScore(dice=0.9), Region.TC: RegionScore(dice=0.9), Region.ET: RegionScore(dice=0.6)}
    }
    sets = [Evaluation(s, mean_score(s.values())) for s in (before, after)]
    assert proof.BeforeAfter(*sets).verdict == "worse"
    assert proof.BeforeAfter(*sets, edited={"c0": [Region.ET]}).verdict == "promising"


def test_regions_that_a_person_edited_are_known(tmp_path):
    from helpers.corrected_studies import on_disk

    study = on_disk(tmp_path, "a")
    labels = study.segmentation.labels.copy()
    et = np.argwhere(labels == 3)[0]
    labels[tuple(et)] = 1  # from enhancing to necrotic: the whole tumour stays as it was
    store = Store(tmp_path / "corrections")
    painted = store.add(study, replace(study.segmentation, labels=labels), base=study.segmentation)
    same = store.add(study, study.segmentation, base=study.segmentation)
    own = store.add(study, study.segmentation)
    assert set(painted.edited) >= {Region.TC, Region.ET} and same.edited == () and own.edited is None


def test_anchors_that_the_base_has_learnt_from_do_not_judge(tmp_path, tiny_recipe):
    from brainseg_engine import dataset

    store, folder = make_world(tmp_path, 1, 6)
    cases = taken(store, tiny_recipe, tmp_path).cases
    names = sorted(p.name for p in folder.iterdir() if p.is_dir())
    split = tmp_path / "split.csv"
    split.write_text("case,split\n" + "".join(f"{n},validation\n" for n in names))
    learnt = dataset.hashes_of(load_study(folder / names[0]), tiny_recipe)
    found = anchors.of_folder(folder, split, cases, tiny_recipe, 0, learnt, lambda p: None, lambda: None)
    assert set(found.choosing) | set(found.scored) == set(names[1:])
    assert not set(found.choosing) & set(found.scored) and len(found.choosing) >= len(found.scored) >= 2
    everything = [h for n in names for h in dataset.hashes_of(load_study(folder / n), tiny_recipe)]
    found = anchors.of_folder(folder, split, cases, tiny_recipe, 0, everything, lambda p: None, lambda: None)
    assert set(found.choosing) | set(found.scored) == set(names)
    assert any("too careful" in note for note in found.notes)


# --- a model that keeps its base


def planned(tmp_path: Path, model: Path, anchors: Path | None, **more):
    """The plan of a run that was stopped before its first step."""
    with pytest.raises(Cancelled):
        run(options(tmp_path, model, anchors, **more), cancelled=(tmp_path / "run/plan.json").exists)
    made = plan.load(tmp_path / "run")
    assert made is not None
    return made


@pytest.mark.parametrize(
    ("looks", "mix", "kept"), [(thick, None, True), (thick, 0.5, False), (lambda s: s, None, False)]
)
def test_the_base_is_kept_where_the_corrected_studies_look_unlike_the_anchors(tmp_path, tiny_model, looks, mix, kept):
    _, anchors = make_world(tmp_path, 4, 6, change=looks)
    made = planned(tmp_path, tiny_model, anchors, mix=mix)
    assert bool(made.gate) == kept
    assert bool(made.replayed) != kept  # what is kept need not be learnt again
    assert any("keeps the base model" in note for note in made.notes) == kept
    base = checkpoint.load(tiny_model)
    assert (recipes.recipe_of(base.recipe, made).training.pull == 0) == kept
    assert (keeping.kept(made, base) is not None) == kept


def test_how_it_is_trained_can_be_changed_and_what_it_is_cannot(tmp_path, tiny_model):
    _, anchors = make_world(tmp_path, 4, 6)
    changed = ["optimiser.weight_decay=0.25", "augmentation.flip=0.125"]
    made = planned(tmp_path, tiny_model, anchors, set=changed, precision="bf16-mixed")
    base = checkpoint.load(tiny_model).recipe
    recipe = recipes.recipe_of(base, made)
    assert (recipe.optimiser.weight_decay, recipe.augmentation.flip) == (0.25, 0.125)
    assert recipe.training.precision == "bf16-mixed"
    assert recipe.network == base.network and recipe.preprocess == base.preprocess
    with pytest.raises(RecipeError, match=r"network\.fold=1.*optimiser"):
        run(replace(options(tmp_path, tiny_model, anchors, set=["network.fold=1"]), out=tmp_path / "other"))


def test_phantoms_tell_nothing_of_what_else_the_model_will_see(tmp_path, tiny_model, monkeypatch):
    store, folder = make_world(tmp_path, 4, 6, change=thick)
    fixed = anchors.Anchors({p.name: p for p in folder.iterdir() if p.is_dir()}, {}, {}, "phantoms", False)
    base = checkpoint.load(tiny_model)
    cases = taken(store, base.recipe, tmp_path).cases
    job = UnderWay(tmp_path, lambda _: None, lambda: False)
    given = options(tmp_path, tiny_model, folder)
    assert keeping.gate_of(given, cases, fixed, base.recipe, job) is None
    assert keeping.gate_of(given, cases, replace(fixed, real=True), base.recipe, job) is not None


@pytest.mark.slow
def test_a_model_that_keeps_its_base_forgets_nothing(tmp_path, tiny_model):
    _, folder = make_world(tmp_path, 4, 6, change=thick)
    report = run(options(tmp_path, tiny_model, folder, epochs=20))
    scores = report["anchor_scores"]
    assert scores["before"]["cases"] == scores["after"]["cases"]
    assert report["guard"]["alpha"] == 1 and report["verdict"] != "worse"
    assert any("answered 1 of 1 held-out corrections and 0 of 1 anchors" in note for note in report["notes"])
    path = models.find(report["model"]["name"])
    made, base = checkpoint.load(path), checkpoint.load(tiny_model)
    assert made.card.tuned.keeps_base
    assert all(torch.equal(made.kept.state[k], v) for k, v in base.state.items())
    assert any(not torch.equal(made.state[k], v) for k, v in base.state.items())

    # once more, from that model: what it kept stays kept, and what it learnt is what is learnt from
    again = FinetuneOptions(
        tmp_path / "again", report["model"]["name"], tmp_path / "corrections", folder, epochs=1, device="cpu"
    )
    second = checkpoint.load(models.find(run(again)["model"]["name"]))
    assert all(torch.equal(second.kept.state[k], v) for k, v in base.state.items())


def test_the_split_file_names_no_patient(tmp_path, tiny_model):
    make_world(tmp_path, 3, 2)
    with pytest.raises(Cancelled):
        run(options(tmp_path, tiny_model, tmp_path / "anchors"), cancelled=(tmp_path / "run/plan.json").exists)
    texts = (tmp_path / "run/split.csv").read_text() + (tmp_path / "run/plan.json").read_text()
    assert "Patient" not in texts
    with (tmp_path / "run/split.csv").open() as f:
        rows = list(csv.DictReader(f))
    assert len({r["patient"] for r in rows}) == len(rows)
    assert not RunFolder(tmp_path / "run/training").last.exists()
