"""Samples are a function of (seed, epoch, index), lie inside, and come from a cache that holds only what is true."""

import logging
import os
import pickle
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from helpers.small_study import make_study
from hypothesis import given, settings
from hypothesis import strategies as st

from brainseg_engine import dataset
from brainseg_engine.core.errors import InputError, OutputError
from brainseg_engine.dataset import Samples, Visits, cache, cases, loader, prepare
from brainseg_engine.inference import preprocess
from brainseg_engine.phantom import write_study
from brainseg_engine.recipe import Augmentation, Output, Preprocess, Window, load_recipe

BASE = load_recipe("baseline").model_copy(update={"augmentation": Augmentation()})
PLAIN = Augmentation(flip=0, affine=0, intensity=0, gamma=0, bias_field=0, noise=0, blur=0)
DIVISOR = (4, 4, 4)


def recipe_with(**sections):
    """The baseline's, with other sections; unchecked, so that any window goes with any network."""
    return BASE.model_copy(update=sections)


PATCH = recipe_with(window=Window(policy="patch", size=(8, 12, 16), samples_per_case=3))
SLICES = recipe_with(window=Window(policy="slice"))
PIECES = recipe_with(window=Window(policy="slice", size=(16, 12), samples_per_case=5))
POLICIES = {"brain": BASE, "patch": PATCH, "slices": SLICES, "pieces": PIECES}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort")
    for i in range(3):
        write_study(make_study(i, id=f"Case_{i}"), folder)
    return [folder / f"Case_{i}" for i in range(3)]


@pytest.fixture(scope="module")
def prepared(cohort, tmp_path_factory):
    """Policy → its cases, from a cache."""
    kept = tmp_path_factory.mktemp("cache")
    return {name: [prepare(p, recipe, DIVISOR, kept) for p in cohort] for name, recipe in POLICIES.items()}


def equal(one, other):
    return len(one) == len(other) and all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


# Samples


@pytest.mark.parametrize("policy", POLICIES)
def test_a_sample_is_a_function_of_seed_epoch_and_index(policy, prepared):
    recipe = POLICIES[policy]
    samples, again = (Samples(prepared[policy], recipe, 7) for _ in range(2))
    other = Samples(prepared[policy], recipe, 8)
    middles = (len(samples) // 6, len(samples) // 2, 5 * len(samples) // 6)  # of slices, those with a brain
    keys = [(e, i) for e in (0, 1, 5) for i in middles]
    there = [samples[k] for k in keys]
    back = [again[k] for k in reversed(keys)]
    assert all(equal(a, b) for a, b in zip(there, reversed(back), strict=True))
    assert not any(torch.equal(a[0], b[0]) for a, b in zip(there, there[3:], strict=False))  # other epochs
    assert not any(torch.equal(a[0], other[k][0]) for a, k in zip(there, keys, strict=True))


@pytest.mark.parametrize("policy", POLICIES)
def test_shapes_types_and_names(policy, prepared):
    recipe, found = POLICIES[policy], prepared[policy]
    samples = Samples(found, recipe, 0)
    image, labels, key = samples[(2, 1)]
    assert image.dtype == torch.float32
    assert labels.dtype == torch.uint8
    assert key.dtype == torch.int64
    assert key.tolist() == [2, 1]
    assert image.shape[1:] == labels.shape
    assert image.shape[0] == 4
    depth = found[0].shape[1]
    sizes = {"brain": 3, "patch": 9, "slices": sum(c.shape[1] for c in found), "pieces": 15}
    assert len(samples) == sizes[policy]
    spatial = {"patch": (8, 12, 16), "pieces": (12, 16), "slices": found[0].shape[2:], "brain": found[0].shape[1:]}
    assert tuple(labels.shape) == spatial[policy]
    last_of_first = {"brain": 0, "patch": 2, "slices": depth - 1, "pieces": 4}[policy]
    assert samples.case_id(last_of_first) == "Case_0"
    assert samples.case_id(last_of_first + 1) == "Case_1"
    assert samples.case_id(len(samples) - 1) == "Case_2"


def test_whole_brains_and_slices_are_what_preprocessing_gave(cohort, prepared):
    from brainseg_engine.io import load_study

    study = load_study(cohort[1])
    image, inverse = preprocess.preprocess(study, BASE, DIVISOR)
    labels = torch.from_numpy(inverse.forward_labels(study.segmentation.labels))
    given = Samples(prepared["brain"], BASE, 0, augmented=False)[(0, 1)]
    assert torch.equal(given[0], image.half().float())
    assert torch.equal(given[1], labels)
    slices = Samples(prepared["slices"], SLICES, 0, augmented=False)
    depth = prepared["slices"][0].shape[1]
    for z in range(depth):
        image_z, labels_z, _ = slices[(0, depth + z)]
        assert torch.equal(image_z, image.half().float()[..., z].transpose(1, 2))
        assert torch.equal(labels_z, labels[..., z].T)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 8), st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from(["patch", "pieces"]))
def test_pieces_lie_inside_and_match_their_labels(prepared, epoch, index, share, policy):
    """Every piece is found again in its case, image and labels at the same place."""
    recipe = POLICIES[policy]
    recipe = recipe_with(window=recipe.window.model_copy(update={"foreground": share}))
    samples = Samples(prepared[policy], recipe, 3, augmented=False)
    image, labels, _ = samples[(epoch, index)]
    case = prepared[policy][int(samples.case_id(index)[-1])]
    whole = case.image  # of slices (C, Z, Y, X)
    piece = image if policy == "patch" else image[:, None]
    windows = whole.float().unfold(1, piece.shape[1], 1).unfold(2, piece.shape[2], 1).unfold(3, piece.shape[3], 1)
    same = (windows == piece[:, None, None, None]).flatten(4).all(dim=4).all(dim=0)
    places = torch.nonzero(same)
    assert len(places) >= 1
    found = case.labels.unfold(0, piece.shape[1], 1).unfold(1, piece.shape[2], 1).unfold(2, piece.shape[3], 1)
    assert any(torch.equal(found[tuple(p)], labels.view(piece.shape[1:])) for p in places.tolist())


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_share_of_pieces_on_tumour_holds(prepared, share):
    """A piece of one voxel is the centre itself; classes come evenly, whatever their size."""
    recipe = recipe_with(window=Window(policy="patch", size=(1, 1, 1), samples_per_case=200, foreground=share))
    found = prepared["patch"]
    samples = Samples(found, recipe, 0, augmented=False)
    labels = [int(samples[(0, i)][1]) for i in range(len(samples))]
    brain = torch.cat([(c.image != 0).any(dim=0).flatten() for c in found])
    tumour = torch.cat([(c.labels > 0).flatten() for c in found])
    by_chance = float((brain & tumour).sum() / brain.sum())
    expected = share + (1 - share) * by_chance
    assert np.mean([n > 0 for n in labels]) == pytest.approx(expected, abs=0.08)
    if share == 1:
        assert all(np.mean([n == k for n in labels]) == pytest.approx(1 / 3, abs=0.08) for k in (1, 2, 3))


@pytest.mark.parametrize("policy", ["patch", "pieces"])
def test_other_pieces_are_centred_on_the_brain(prepared, policy):
    samples = Samples(prepared[policy], POLICIES[policy], 0, augmented=False)
    for index in range(len(samples)):
        image = samples[(4, index)][0]
        assert image[(slice(None), *(n // 2 for n in image.shape[1:]))].any()


def test_slices_of_tumour_come_at_their_share(prepared):
    depth = prepared["slices"][0].shape[1]
    empty = [z for z in range(depth) if not prepared["slices"][0].labels[z].any()]
    assert empty
    recipe = recipe_with(window=Window(policy="slice", foreground=1.0))
    all_on_tumour = Samples(prepared["slices"], recipe, 0, augmented=False)
    assert all(all_on_tumour[(0, z)][1].any() for z in empty)


def test_augmentation_may_be_done_elsewhere(prepared):
    """The same sample, whether the worker changes it or who receives it."""
    here = Samples(prepared["patch"], PATCH, 5)
    bare = Samples(prepared["patch"], PATCH, 5, augmented=False)
    for key in ((0, 0), (3, 7)):
        image, labels, _ = bare[key]
        assert equal(here[key][:2], dataset.augmented(image, labels, PATCH, 5, key))


def test_samples_are_small_to_send_and_open_their_files_anew(prepared):
    samples = Samples(prepared["patch"], PATCH, 0)
    sent = pickle.dumps(samples)
    assert len(sent) < 20_000
    assert equal(pickle.loads(sent)[(1, 2)], samples[(1, 2)])


# Visits and loader


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(0, 30), st.integers(0, 30), st.integers(1, 4), st.integers(0, 3))
def test_ranks_share_the_visits(n, first, more, world, seed):
    """Disjoint, together the whole, in its order; and each is as long as it says."""
    whole = list(Visits(n, first, first + more, seed))
    shards = [Visits(n, first, first + more, seed, rank, world) for rank in range(world)]
    assert [len(s) for s in shards] == [len(list(s)) for s in shards]
    dealt = {
        v: key for rank, s in enumerate(shards) for v, key in zip(range_of(first, more, rank, world), s, strict=True)
    }
    assert [dealt[v] for v in range(first, first + more)] == whole
    assert len(dealt) == more == sum(len(s) for s in shards)


def range_of(first, more, rank, world):
    return [v for v in range(first, first + more) if v % world == rank]


@given(st.integers(1, 12), st.integers(0, 5), st.integers(0, 20))
def test_an_epoch_visits_every_sample_once_and_can_begin_anywhere(n, seed, skipped):
    visits = list(Visits(n, 0, 3 * n, seed))
    for epoch in range(3):
        assert sorted(i for e, i in visits if e == epoch) == list(range(n))
    assert list(Visits(n, min(skipped, 3 * n), 3 * n, seed)) == visits[skipped:]


def batches(samples, size, workers, **more):
    return list(loader(samples, Visits(len(samples), 0, 8, 1), size, workers, **more))


def test_the_number_of_workers_changes_nothing(prepared):
    samples = Samples(prepared["patch"], PATCH, 0)
    torch.manual_seed(0)
    alone = batches(samples, 4, 0)
    assert [b[0].shape[0] for b in alone] == [4, 4]
    drawn = torch.rand(3)
    torch.manual_seed(0)
    assert all(equal(a, b) for a, b in zip(alone, batches(samples, 4, 2), strict=True))
    assert torch.equal(torch.rand(3), drawn)  # the loader leaves torch's global generator alone


@pytest.mark.slow
def test_workers_that_are_spawned_give_the_same(prepared):
    for policy in ("patch", "slices"):
        samples = Samples(prepared[policy], POLICIES[policy], 0)
        spawned = batches(samples, 4, 2, start_method="spawn")
        assert all(equal(a, b) for a, b in zip(batches(samples, 4, 0), spawned, strict=True))


# The cache


@pytest.fixture
def made(monkeypatch):
    """How often a study was preprocessed."""
    calls = []
    real = cases.preprocess
    monkeypatch.setattr(cases, "preprocess", lambda *a: calls.append(1) or real(*a))
    return calls


def files(folder):
    return sorted(folder.glob("*.safetensors"))


def arrays(case):
    return [case.image, case.labels, case.tumour]


def test_a_case_is_preprocessed_once_and_mapped_from_its_file(cohort, tmp_path, made):
    first = prepare(cohort[0], PATCH, DIVISOR, tmp_path)
    again = prepare(cohort[0], PATCH, DIVISOR, tmp_path)
    assert len(made) == 1
    assert equal(arrays(first), arrays(again))
    assert first.path == again.path == files(tmp_path)[0]
    assert first.hashes == again.hashes
    assert len(first.hashes) == 4
    again.image[:] = 0  # private memory: no reader can spoil the file
    assert equal(arrays(prepare(cohort[0], PATCH, DIVISOR, tmp_path)), arrays(first))


def test_two_at_once_keep_one_whole_file(cohort, tmp_path):
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: prepare(cohort[0], PATCH, DIVISOR, tmp_path), range(4)))
    assert all(equal(arrays(case), arrays(found[0])) for case in found)
    assert files(tmp_path) == [found[0].path]


def test_nothing_in_the_cache_tells_whose_it_is(cohort, tmp_path):
    (file,) = [prepare(cohort[1], PATCH, DIVISOR, tmp_path).path]
    assert set(file.stem) <= set("0123456789abcdef")
    assert b"Case_1" not in file.read_bytes()
    assert str(cohort[1].parent).encode() not in file.read_bytes()


def test_a_renamed_study_is_the_same_case(cohort, tmp_path, made):
    write_study(make_study(0, id="Renamed"), tmp_path / "data")
    one = prepare(cohort[0], PATCH, DIVISOR, tmp_path / "cache")
    other = prepare(tmp_path / "data" / "Renamed", PATCH, DIVISOR, tmp_path / "cache")
    assert len(made) == 1
    assert (one.id, other.id) == ("Case_0", "Renamed")
    assert one.path == other.path


@pytest.mark.parametrize("what", ["image", "labels", "spacing"])
def test_other_contents_are_another_case(what, tmp_path, made):
    study = make_study(0, id="Case")
    prepare(write_study(study, tmp_path), PATCH, DIVISOR, tmp_path / "cache")
    import shutil

    shutil.rmtree(tmp_path / "Case")
    if what == "image":
        study.reference.data[14, 16, 12] += 1
    elif what == "labels":
        study.segmentation.labels[14, 16, 12] ^= 1
    else:
        study = make_study(0, id="Case", affine=np.diag([-1.0, -1.0, 1.001, 1.0]))
    prepare(write_study(study, tmp_path), PATCH, DIVISOR, tmp_path / "cache")
    assert len(made) == 2
    assert len(files(tmp_path / "cache")) == 2


def test_other_settings_are_another_case_and_training_settings_are_not(cohort, tmp_path, made, monkeypatch):
    others = [
        recipe_with(window=PATCH.window, preprocess=Preprocess(normalise="minmax")),
        recipe_with(window=PATCH.window, preprocess=Preprocess(margin_voxels=3)),
        recipe_with(window=Window(policy="patch", size=(8, 12, 32))),
        recipe_with(window=PATCH.window, modalities=BASE.modalities[::-1]),
        SLICES,
    ]
    for recipe in (PATCH, *others):
        prepare(cohort[0], recipe, DIVISOR, tmp_path)
    prepare(cohort[0], SLICES, (4, 4, 1), tmp_path)
    assert len(made) == len(files(tmp_path)) == 7
    same = recipe_with(
        window=PATCH.window.model_copy(update={"foreground": 0.5, "samples_per_case": 9}), augmentation=PLAIN, name="x"
    )
    prepare(cohort[0], same, DIVISOR, tmp_path)
    assert len(made) == 7
    monkeypatch.setattr(cache, "FORMAT", "napari-brainseg-case/next")
    prepare(cohort[0], PATCH, DIVISOR, tmp_path)
    assert len(made) == 8


@pytest.mark.parametrize("damage", ["truncated", "empty", "other bytes", "other format"])
def test_a_damaged_file_is_made_again(damage, cohort, tmp_path, made, caplog):
    good = prepare(cohort[0], PATCH, DIVISOR, tmp_path)
    expected = [a.clone() for a in arrays(good)]
    data = good.path.read_bytes()
    good.path.unlink()  # not in place: the arrays above are mapped from it
    if damage == "other format":
        from safetensors.torch import save_file

        save_file({"image": torch.zeros(3)}, good.path, metadata={"format": "another"})
    else:
        good.path.write_bytes({"truncated": data[: len(data) // 2], "empty": b"", "other bytes": b"x" * 500}[damage])
    with caplog.at_level(logging.WARNING):
        again = prepare(cohort[0], PATCH, DIVISOR, tmp_path)
    assert len(made) == 2
    assert ("damaged" in caplog.text) == (damage != "other format")
    assert equal(arrays(again), expected)
    assert again.path.read_bytes() == data


def test_a_file_that_vanishes_is_reported_in_words(cohort, tmp_path):
    case = pickle.loads(pickle.dumps(prepare(cohort[0], PATCH, DIVISOR, tmp_path)))
    case.path.unlink()
    with pytest.raises(InputError, match=r"vanished.*Start again"):
        _ = case.image


def test_a_disk_that_takes_nothing_leaves_cases_in_memory(cohort, tmp_path, monkeypatch, caplog):
    expected = prepare(cohort[0], PATCH, DIVISOR, tmp_path / "a")

    def full(path, *_):
        raise OutputError(f"Cannot write {path}: No space left on device.")

    monkeypatch.setattr(cache, "write_tensors", full)
    with caplog.at_level(logging.WARNING):
        case = prepare(cohort[0], PATCH, DIVISOR, tmp_path / "b")
    assert "kept in memory" in caplog.text
    assert case.path is None
    assert equal(arrays(case), arrays(expected))
    assert equal(arrays(pickle.loads(pickle.dumps(case))), arrays(expected))
    (tmp_path / "file").write_text("")
    monkeypatch.undo()
    assert prepare(cohort[0], PATCH, DIVISOR, tmp_path / "file").path is None


def test_a_cache_that_cannot_be_written_is_read(cohort, tmp_path, monkeypatch, made):
    prepare(cohort[0], PATCH, DIVISOR, tmp_path)

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "utime", refuse)
    monkeypatch.setattr(cache, "write_tensors", refuse)
    assert prepare(cohort[0], PATCH, DIVISOR, tmp_path).path is not None
    assert len(made) == 1
    assert prepare(cohort[1], PATCH, DIVISOR, tmp_path).path is None


def test_the_default_folder_is_the_users(cohort, own_home):
    assert prepare(cohort[0], PATCH, DIVISOR).path.parent == own_home / "cache"


def test_the_longest_unused_leave_first(cohort, tmp_path, monkeypatch):
    day = 24 * 3600
    kept = [prepare(p, PATCH, DIVISOR, tmp_path).path for p in cohort]
    now = time.time()
    for file, days in zip(kept, (3, 5, 4), strict=True):
        os.utime(file, (now - days * day,) * 2)
    stale = tmp_path / ".part-x.safetensors"
    stale.write_bytes(b"x")
    os.utime(stale, (now - 2 * day,) * 2)
    prepare(cohort[0], PATCH, DIVISOR, tmp_path)  # used again, and so the youngest
    cache.prune(tmp_path, kept[0].stat().st_size * 2.5)
    assert files(tmp_path) == sorted([kept[0], kept[2]])
    cache.prune(tmp_path, 0)
    assert files(tmp_path) == [kept[0]]  # used within the day: perhaps by a running training


def test_the_bound_is_a_number_and_nought_switches_off(cohort, tmp_path, monkeypatch):
    monkeypatch.setenv("BRAINSEG_CACHE_GB", "0")
    assert prepare(cohort[0], PATCH, DIVISOR, tmp_path).path is None
    assert not files(tmp_path)
    monkeypatch.setenv("BRAINSEG_CACHE_GB", "0.5")
    assert cache.limit_bytes() == 5e8
    for bad in ("many", "-1", "nan"):
        monkeypatch.setenv("BRAINSEG_CACHE_GB", bad)
        with pytest.raises(InputError, match=f"BRAINSEG_CACHE_GB is '{bad}'"):
            cache.limit_bytes()


def test_raw_intensities_are_kept_exactly(tmp_path):
    study = make_study(0, id="Case")
    for v in study.volumes.values():
        v.data[:] = np.round(v.data * 100)
    recipe = recipe_with(preprocess=Preprocess(normalise="none", crop="none"), window=PATCH.window)
    case = prepare(write_study(study, tmp_path), recipe, (1, 1, 1), tmp_path / "cache")
    assert case.image.dtype == torch.float32
    expected = np.stack([study.volumes[m].data for m in recipe.modalities])
    assert expected.max() > 2**14
    start = [(n - m) // 2 for n, m in zip(case.shape[1:], expected.shape[1:], strict=True)]
    inner = (slice(None), *(slice(s, s + m) for s, m in zip(start, expected.shape[1:], strict=True)))
    flipped = expected[:, ::-1, ::-1]  # the files lie in LPS
    np.testing.assert_array_equal(case.image[inner].numpy(), flipped)


def test_tumour_places_are_tumour_bounded_and_drawn_once():
    labels = np.zeros((60, 60, 60), dtype=np.uint8)
    labels[:30] = 2
    labels[40:42, :10] = 3
    labels[50:] = 4  # a resection cavity is no tumour
    places = cases._tumour_voxels(labels)
    assert torch.equal(places, cases._tumour_voxels(labels))
    assert (places[:, 3] == 2).sum() == cases.PLACES_A_CLASS
    assert (places[:, 3] == 3).sum() == (labels == 3).sum()
    assert set(places[:, 3].tolist()) == {2, 3}
    assert all(labels[x, y, z] == k for x, y, z, k in places.tolist())
    assert len(places.unique(dim=0)) == len(places)
    assert cases._tumour_voxels(np.zeros((5, 5, 5), dtype=np.uint8)).shape == (0, 4)


def test_a_case_whose_truth_tells_too_little_is_refused(tmp_path):
    folder = write_study(make_study(0, id="Case"), tmp_path)
    next(folder.glob("*seg*")).unlink()
    with pytest.raises(InputError, match="no segmentation"):
        prepare(folder, recipe_with(output=Output()), DIVISOR, tmp_path / "cache")
