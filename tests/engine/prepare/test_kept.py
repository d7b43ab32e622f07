"""Prepared studies that are kept for one user: found again, private, never replaced, and removed when nothing rests on them."""

from __future__ import annotations

import os
import time
from dataclasses import replace

import numpy as np
import pytest
from helpers.raw_study import raw_study

from brainseg_engine.core.study import Modality
from brainseg_engine.prepare import PrepareOptions, files, kept, prepare


@pytest.fixture(scope="module")
def small():
    raw = raw_study(3)
    return raw.study, prepare(raw.study, PrepareOptions(brain="rough", align="never", threads=1))


def made(prepared, name="one"):
    place = kept.root() / f".part-{name}"
    place.mkdir()
    return files.save(replace(prepared, study=replace(prepared.study, id="study")), place)


def test_what_is_kept_is_found_and_comes_back_whole(small):
    study, prepared = small
    key = kept.key_of(study, PrepareOptions(brain="rough"))
    assert kept.find(key) is None
    folder = kept.keep(made(prepared), study, key)
    assert kept.find(key) == folder and kept.is_kept(folder) and study.id not in kept.label(folder)
    back = files.load(folder)
    volumes = kept.acquired(folder, back)
    for m, volume in study.volumes.items():
        np.testing.assert_allclose(volumes[m].data, volume.data, rtol=1e-6)
        assert volumes[m].grid.same_as(volume.grid)
    assert all(p.stat().st_mode & 0o077 == 0 for p in kept.root().rglob("*"))


def test_the_key_follows_series_uses_and_choices(small):
    study, _ = small
    swapped = {Modality.T1: study.volumes[Modality.T2], Modality.T2: study.volumes[Modality.T1]}
    other = replace(study, volumes={**study.volumes, **{m: replace(v, modality=m) for m, v in swapped.items()}})
    keys = {
        kept.key_of(study, PrepareOptions(brain="rough")),
        kept.key_of(study, PrepareOptions(brain="deepbet")),
        kept.key_of(other, PrepareOptions(brain="rough")),
    }
    assert len(keys) == 3 and kept.key_of(replace(study, id="other"), PrepareOptions(brain="rough")) in keys


def test_prepared_anew_it_lies_beside_the_former(small):
    study, prepared = small
    first, second = (kept.keep(made(prepared, n), study, "k") for n in "ab")
    assert first != second and kept.find("k") == second and first.is_dir()


def test_only_what_is_old_and_rested_on_by_nothing_is_removed(small):
    study, prepared = small
    folders = [kept.keep(made(prepared, n), study, n) for n in ("old", "used", "new")]
    long_ago = time.time() - 40 * 24 * 3600
    for folder in folders[:2]:
        os.utime(folder.parent, (long_ago, long_ago))
    assert kept.tidy({folders[1]}) == 1
    assert [f.is_dir() for f in folders] == [False, True, True]
