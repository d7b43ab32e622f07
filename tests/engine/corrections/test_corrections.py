"""The store of corrections: what goes in comes back, what is accepted never changes, and nothing tells who the patient is."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.corrected_studies import SECRET, changed, on_disk, spoil_mask
from helpers.small_study import make_study
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from isal import igzip

from brainseg_engine.core.errors import CodingError, GeometryError, InputError, OutputError
from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import CODINGS, Label
from brainseg_engine.core.study import Modality, Segmentation, Study, Volume
from brainseg_engine.corrections import BaseModel, CorrectionState, Store, source_of, study_key, tally
from brainseg_engine.corrections import files as store_files
from brainseg_engine.io import load_segmentation, load_study, save_volume

AS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "corrections")


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(p.relative_to(folder)): (p.read_bytes(), p.stat().st_mode) for p in sorted(folder.rglob("*")) if p.is_file()
    }


# --- what goes in comes back

AFFINES = (
    np.diag([-1.0, -1.0, 1.0, 1.0]),
    np.array([[0, 0, 2.0, -7], [-0.9, 0, 0, 3], [0, 1.1, 0, 5], [0, 0, 0, 1]]),
    np.array([[0.9, -0.2, 0, 1], [0.2, 0.9, 0.1, 2], [0, -0.1, 1.0, 3], [0, 0, 0, 1]]),
)


@settings(max_examples=25)
@given(
    labels=hnp.arrays(np.uint8, st.tuples(*(st.integers(2, 6),) * 3), elements=st.integers(0, 4)),
    affine=st.sampled_from(AFFINES),
    coding=st.sampled_from([c for c in CODINGS if c != "lgg"]),
    minutes=st.floats(0, 1e4),
    by=st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=12),
)
def test_a_correction_comes_back_on_its_own_grid(tmp_path_factory, labels, affine, coding, minutes, by):
    store = Store(tmp_path_factory.mktemp("store"))
    grid = Grid(labels.shape, affine @ np.diag([6.0, 6.0, 6.0, 1.0]))  # what is smaller than a head is refused
    volume = Volume(np.arange(labels.size, dtype=np.float32).reshape(labels.shape), grid, Modality.FLAIR)
    study = Study("x", {Modality.FLAIR: volume})
    made = store.add(study, Segmentation(labels, grid, coding), minutes=minutes, by=by, steps=[{"tool": "brush"}])
    found = store.corrections()
    assert [c.id for c in found] == [made.id]
    back = store.read(found[0])
    assert np.array_equal(back.labels, labels)
    assert back.grid.same_as(grid, 1e-4) and back.coding == coding
    assert found[0].by == by.strip() and found[0].minutes == pytest.approx(minutes, abs=0.006)
    assert found[0] == made
    assert {k: v.voxels for k, v in made.changed.items()} == {
        label: int(n) for label in Label if label and (n := (labels == label).sum())
    }


@given(
    pair=hnp.arrays(np.uint8, st.tuples(st.just(2), *(st.integers(1, 5),) * 3), elements=st.integers(0, 5)),
)
def test_the_tally_counts_what_came_and_what_went(pair):
    before, now = pair
    counted = tally(now, before)
    for label in list(Label)[1:]:
        was, holds = before == label, now == label
        if label not in counted:
            assert not was.any() and not holds.any()
            continue
        assert counted[label].voxels == holds.sum()
        assert counted[label].added == (holds & ~was).sum() and counted[label].removed == (was & ~holds).sum()
    assert tally(now, None) == tally(now, np.zeros_like(now))


def test_any_tool_reads_the_mask_and_the_folder_explains_itself(store, tmp_path):
    import nibabel

    study = on_disk(tmp_path)
    made = store.add(study, changed(study), base=study.segmentation, model=BaseModel("m", "2", "ab" * 32))
    image = nibabel.load(made.mask)
    assert np.array_equal(np.asarray(image.dataobj), changed(study).labels)  # brats2024: the canonical values
    assert np.allclose(image.affine, study.reference.grid.affine)
    assert hashlib.sha256(made.mask.read_bytes()).hexdigest() == made.mask_sha256
    assert json.loads((store.path / "dataset_description.json").read_text())["DatasetType"] == "derivative"
    assert "never rewritten" in (store.path / "README").read_text()
    table = dict(line.split("\t")[:2] for line in (store.path / "dseg.tsv").read_text().splitlines()[1:])
    assert table["3"] == "enhancing tumour" and table["4"] == "resection cavity"
    again = load_segmentation(made.mask)
    assert np.array_equal(again.labels, changed(study).labels) and again.made_by == "m 2 and a person"
    content = json.loads(made.sidecar.read_text())
    assert content["base_model"]["sha256"] == "ab" * 32 and len(content["base_model"]["answer_sha256"]) == 64
    assert set(content["images"]) == {m.value for m in Modality} and content["when"].endswith("Z")


def test_each_class_that_a_coding_has_can_be_kept_and_a_mixture_that_none_has_is_refused(store):
    study = make_study(shape=(6, 6, 6))
    only = replace(study.segmentation, labels=np.full((6, 6, 6), Label.TUMOUR, dtype=np.uint8))
    assert np.array_equal(store.read(store.add(study, only)).labels, only.labels)
    mixed = only.labels.copy()
    mixed[0] = Label.NCR
    with pytest.raises(CodingError):
        store.add(study, replace(only, labels=mixed))
    assert len(store.corrections()) == 1


def test_a_mask_on_another_grid_is_refused_and_leaves_nothing(store):
    study = make_study(shape=(6, 6, 6))
    other = make_study(shape=(6, 6, 7)).segmentation
    with pytest.raises(GeometryError):
        store.add(study, other)
    assert not store.path.exists()


# --- what is accepted is immutable, and the log only grows


def test_versions_add_up_and_nothing_written_before_ever_changes(store):
    studies = [make_study(seed, shape=(8, 8, 8), id=f"case{seed}") for seed in (0, 1)]
    before: dict[str, tuple[bytes, int]] = {}
    log = b""
    rng = np.random.default_rng(0)
    for turn in range(14):
        known = store.corrections()
        what = rng.integers(0, 4) if known else 0
        if what <= 1:
            study = studies[turn % 2]
            state = CorrectionState.DRAFT if turn % 3 == 0 else CorrectionState.ACCEPTED
            store.add(study, changed(study, turn), base=study.segmentation, steps=[{"n": turn}], state=state)
        elif what == 2:
            store.exclude(known[-1].id, "a mistake")
        else:
            store.set_held_out(known[0].id, bool(turn % 2))
        now = contents(store.path)
        assert now["log.jsonl"][0].startswith(log)
        log = now["log.jsonl"][0]
        kept = {k: v for k, v in before.items() if k != "log.jsonl"}
        assert {k: now[k] for k in kept} == kept
        before = now
    assert all(not stat.S_IMODE(mode) & 0o222 for name, (_, mode) in before.items() if "/anat/" in name)
    ids = [c.id for c in store.corrections()]
    assert len(ids) == len(set(ids)) == sum(json.loads(line)["what"] == "added" for line in log.splitlines())
    assert all(isinstance(json.loads(line), dict) for line in log.splitlines())


def test_a_name_that_is_taken_is_refused(tmp_path):
    path = tmp_path / "a.json"
    store_files.write_once(path, b"first")
    with pytest.raises(OutputError, match="never rewritten"):
        store_files.write_once(path, b"second")
    assert path.read_bytes() == b"first" and [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_without_links_a_file_is_still_made_once(tmp_path, monkeypatch):
    def no_links(*_):
        raise PermissionError("no links here")

    monkeypatch.setattr(store_files.os, "link", no_links)
    path = tmp_path / "a.json"
    store_files.write_once(path, b"first")
    with pytest.raises(OutputError):
        store_files.write_once(path, b"second")
    assert path.read_bytes() == b"first" and not path.stat().st_mode & 0o222


def test_states_move_on_only(store):
    study = make_study(shape=(8, 8, 8))
    draft = store.add(study, changed(study), state=CorrectionState.DRAFT)
    assert store.latest() == {} and draft.state is CorrectionState.DRAFT
    assert store.accept(draft.id).state is CorrectionState.ACCEPTED
    assert store.latest()[study_key(study)].id == draft.id
    assert store.exclude(draft.id, "wrong side").state is CorrectionState.EXCLUDED
    assert store.latest() == {} and store.exclude(draft.id, "again").state is CorrectionState.EXCLUDED
    with pytest.raises(InputError, match="excluded"):
        store.accept(draft.id)
    with pytest.raises(InputError, match=draft.id):
        store.exclude("nothing", "")
    assert "wrong side" in store.log.read_text()


def test_the_newest_accepted_version_counts(store):
    study = make_study(shape=(8, 8, 8))
    made = [store.add(study, changed(study, n), by="Ann") for n in range(3)]
    assert [c.id.rpartition("_")[2] for c in made] == ["01", "02", "03"]
    store.exclude(made[2].id, "worse")
    (newest,) = store.latest().values()
    assert newest.id == made[1].id


def test_a_line_that_a_crash_tore_loses_nothing_else(store):
    study = make_study(shape=(8, 8, 8))
    first = store.add(study, changed(study))
    store.exclude(first.id, "x")
    with store.log.open("ab") as f:
        f.write(b'{"what": "accep')
    assert store.get(first.id).state is CorrectionState.EXCLUDED
    second = store.add(study, changed(study, 2))
    store.set_held_out(second.id)
    assert store.get(first.id).state is CorrectionState.EXCLUDED and store.get(second.id).held_out


ADD = """
import sys
sys.path[:0] = {path!r}
from helpers.small_study import make_study
from brainseg_engine.corrections import Store
study = make_study(shape=(8, 8, 8))
for n in range(6):
    store = Store(sys.argv[1])
    store.add(study, study.segmentation, by=sys.argv[2])
    store.set_held_out(store.corrections()[0].id, bool(n % 2))
"""


def test_processes_that_write_at_once_do_not_collide(store):
    code = ADD.format(path=sys.path)
    running = [subprocess.Popen([sys.executable, "-c", code, str(store.path), f"p{i}"]) for i in range(3)]
    assert [p.wait(120) for p in running] == [0, 0, 0]
    found = store.corrections()
    assert len(found) == 18 == len({c.id for c in found})
    assert {c.by for c in found} == {"p0", "p1", "p2"}
    lines = [json.loads(line) for line in store.log.read_text().splitlines()]
    assert sum(x["what"] == "added" for x in lines) == 18 and sum(x["what"] == "held_out" for x in lines) == 18
    assert not [f for f in store.check(images=False) if f.severity == "error"]


# --- nobody is named


def secrets(study: Study, tmp_path: Path) -> list[bytes]:
    return [s.encode() for s in (SECRET, "Mueller", "1954", str(tmp_path), tmp_path.name, study.id)]


def test_nothing_in_the_store_tells_name_or_path(store, tmp_path):
    study = on_disk(tmp_path / "hospital")
    made = store.add(study, changed(study), base=study.segmentation, by="Dr. Ito", steps=[{"tool": "brush"}])
    store.set_held_out(made.id)
    store.exclude(made.id, "test")
    out = tmp_path / "handed-on"
    second = store.add(study, changed(study, 2), base=study.segmentation)
    store.export(out / "brats", images=True)
    store.export(out / "bids", "bids")
    written = 0
    for folder in (store.path, out):
        for name, (content, _) in contents(folder).items():
            plain = igzip.decompress(content) if name.endswith(".gz") else content
            for secret in secrets(study, tmp_path):
                assert secret not in content and secret not in plain and secret.decode() not in name, (name, secret)
            written += 1
    assert written > 15
    source = source_of(second.study)  # and yet this machine knows where the images are
    assert source is not None and source.study_id == SECRET and source.there


def test_names_are_recorded_when_that_is_wanted(store, tmp_path):
    study = on_disk(tmp_path / "hospital")
    made = store.add(study, changed(study), named=True)
    assert made.study_id == SECRET and made.folder == str(study.folder) and made.name == SECRET
    assert made.mask.parts[-3] == "sub-MuellerAnna19540302"
    plain = store.add(study, changed(study, 2))
    assert SECRET not in plain.sidecar.read_text() and plain.study == made.study


def test_a_store_that_was_handed_on_works_without_this_machine(store, tmp_path, monkeypatch):
    study = on_disk(tmp_path)
    made = store.add(study, changed(study))
    monkeypatch.setenv("BRAINSEG_HOME", str(tmp_path / "elsewhere"))
    assert np.array_equal(Store.existing(store.path).read(made).labels, changed(study).labels)
    assert [f.code for f in store.check() if f.correction] == ["study_absent"]
    with pytest.raises(InputError, match="not known on this machine"):
        store.export(tmp_path / "out", images=True)


# --- held out, by patient


def test_held_out_goes_by_patient(store, tmp_path):
    studies = [on_disk(tmp_path, f"BraTS-GLI-0000{p}-00{t}", seed=10 * p + t) for p, t in ((1, 0), (1, 1), (2, 0))]
    first, second, other = (store.add(s, changed(s)) for s in studies)
    assert {c.id for c in store.set_held_out(first.id)} == {first.id, second.id}
    assert [store.get(c.id).held_out for c in (first, second, other)] == [True, True, False]
    assert sorted(len(v) for v in store.patients().values()) == [1, 2]
    later = store.add(third := on_disk(tmp_path, "BraTS-GLI-00001-002", seed=50), changed(third))
    assert later.held_out
    store.set_held_out(second.id, False)
    assert not any(c.held_out for c in store.corrections())


# --- checks


def codes(store: Store, **how) -> set[str]:
    return {f.code for f in store.check(**how)}


def test_a_sound_store_has_nothing_to_tell_but_how_many_there_are(store, tmp_path):
    for n in range(2):
        study = on_disk(tmp_path, f"case{n}", seed=n)
        store.add(study, changed(study), base=study.segmentation)
    assert codes(store) == set()
    assert {f.code for f in Store(tmp_path / "none").check()} == set()


def drop_mask(made, study):
    made.mask.unlink()


def spoil_record(made, study):
    made.sidecar.chmod(0o644)
    made.sidecar.write_text('{"format": "something else"}')


def drop_record(made, study):
    made.sidecar.unlink()


def move_study(made, study):
    study.folder.rename(study.folder.with_name("moved"))


def change_study(made, study):
    v = study.volumes[Modality.T2]
    save_volume(v.data + 1, v.grid, v.path)


def damage_study(made, study):
    study.volumes[Modality.T2].path.write_bytes(b"not an image")


@pytest.mark.parametrize(
    ("spoil", "code", "words"),
    [
        (spoil_mask, "mask_changed", "SHA-256"),
        (drop_mask, "mask_absent", "gone"),
        (spoil_record, "record_damaged", "damaged"),
        (drop_record, "unfinished", "no record"),
        (move_study, "study_absent", "not known"),
        (change_study, "study_changed", "T2"),
        (damage_study, "study_absent", "t2"),
    ],
)
def test_what_was_spoilt_is_found_and_told(store, tmp_path, spoil, code, words):
    study = on_disk(tmp_path, "case")
    made = store.add(study, changed(study), base=study.segmentation)
    assert code not in codes(store)
    spoil(made, study)
    finding = next(f for f in store.check() if f.code == code)
    assert words in finding.message
    if code == "mask_changed":
        with pytest.raises(InputError, match="not what was accepted"):
            store.read(made)


def test_what_people_do_by_mistake_is_found(store, tmp_path):
    study = on_disk(tmp_path, "case")
    store.add(study, changed(study), base=study.segmentation, by="Ann")
    assert codes(store) == {"one_only"}
    store.add(study, changed(study, 2), base=study.segmentation, by="Ann")
    assert codes(store) == {"one_only", "superseded"}
    last = store.add(study, changed(study, 3), base=study.segmentation, by="Ben")
    assert codes(store) == {"one_only", "two_people"}
    assert "Ann" in (sentence := next(f.message for f in store.check() if f.code == "two_people")) and "Ben" in sentence
    store.exclude(last.id, "Ann's is better")
    assert codes(store) == {"one_only", "superseded"}
    other = on_disk(tmp_path, "other", seed=4)
    store.add(
        other, replace(other.segmentation, labels=np.zeros_like(other.segmentation.labels)), base=other.segmentation
    )
    third = on_disk(tmp_path, "third", seed=5)
    store.add(third, third.segmentation, base=third.segmentation)
    assert codes(store) == {"superseded", "empty", "untouched"}


def test_a_mask_without_its_record_does_not_block_the_next(store):
    study = make_study(shape=(8, 8, 8))
    made = store.add(study, changed(study))
    made.sidecar.unlink()
    again = store.add(study, changed(study, 2))
    assert again.id != made.id and again.mask != made.mask
    assert [c.id for c in store.corrections()] == [again.id]


# --- export


def test_export_makes_a_folder_that_can_be_trained_on(store, tmp_path):
    study = on_disk(tmp_path, "case")
    store.add(study, changed(study, 1), base=study.segmentation)
    made = store.add(study, changed(study, 2), base=study.segmentation)
    (mask,) = store.export(tmp_path / "out", images=True)
    back = load_study(mask.parent)
    assert back.id == made.id.rpartition("_")[0]
    assert np.array_equal(back.segmentation.labels, changed(study, 2).labels)
    assert study_key(back) == made.study
    (kept,) = store.export(tmp_path / "bids", "bids")
    assert Store.existing(tmp_path / "bids").get(made.id).mask == kept
    with pytest.raises(InputError, match="brats, bids"):
        store.export(tmp_path / "x", "dicom")
    with pytest.raises(OutputError):
        store.export(store.path)


def test_a_folder_that_is_no_store_is_reported_so(tmp_path):
    with pytest.raises(InputError, match="no folder of corrections"):
        Store.existing(tmp_path)


@pytest.mark.skipif(AS_ROOT, reason="root may write everywhere")
def test_a_folder_that_takes_no_files_is_reported_so(tmp_path):
    study = make_study(shape=(8, 8, 8))
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError):
            Store(tmp_path / "corrections").add(study, study.segmentation)
    finally:
        tmp_path.chmod(0o700)


FULL = """
import resource, signal, sys
sys.path[:0] = {path!r}
from helpers.small_study import make_study
from brainseg_engine.corrections import Store
from brainseg_engine.core.errors import OutputError
study = make_study(shape=(60, 60, 60))
import numpy as np
from dataclasses import replace
noisy = replace(study.segmentation, labels=np.random.default_rng(0).integers(0, 4, (60, 60, 60)).astype(np.uint8))
store = Store(sys.argv[1])
store.add(study, study.segmentation)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (30000, 30000))  # every file ends there, as on a full disk
try:
    store.add(study, noisy)
except OutputError as e:
    print("told:", e)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit")
def test_a_full_disk_is_reported_and_leaves_the_store_as_it_was(store):
    done = subprocess.run(
        [sys.executable, "-c", FULL.format(path=sys.path), str(store.path)], capture_output=True, text=True, timeout=120
    )
    assert "told: Cannot write" in done.stdout, done.stderr
    assert len(store.corrections()) == 1
    assert not [f for f in store.check(images=False) if f.severity == "error"]
    assert not list(store.path.rglob(".part-*"))
