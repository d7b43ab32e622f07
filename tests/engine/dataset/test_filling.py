"""The cache filled beforehand, and found again without reading."""

from __future__ import annotations

import os
import shutil

import pytest
from helpers.small_study import write_cohort
from typer.testing import CliRunner

from brainseg_engine import dataset, nets
from brainseg_engine.cli import app
from brainseg_engine.dataset import cases
from brainseg_engine.io import find_studies


@pytest.fixture
def reads(monkeypatch):
    seen: list[str] = []
    real = cases.load_study
    monkeypatch.setattr(cases, "load_study", lambda path, **k: seen.append(path.name) or real(path, **k))
    return seen


def test_a_case_whose_files_are_as_they_were_is_not_read(tmp_path, tiny_recipe, reads):
    data, _ = write_cohort(tmp_path / "data")
    folder = find_studies(data)[0]
    divisor, cache = nets.divisor(tiny_recipe), tmp_path / "cache"
    first = dataset.prepare(folder, tiny_recipe, divisor, cache)
    again = dataset.prepare(folder, tiny_recipe, divisor, cache)
    assert reads == [folder.name] and (again.hashes, again.path, again.id) == (first.hashes, first.path, first.id)
    mask = next(folder.glob("*seg.nii.gz"))
    other = next(find_studies(data)[1].glob("*seg.nii.gz"))
    times = mask.stat().st_mtime_ns
    shutil.copyfile(other, mask)
    os.utime(mask, ns=(times, times))  # another mask with the old one's time
    assert dataset.prepare(folder, tiny_recipe, divisor, cache).path != first.path and len(reads) == 2
    coarser = tiny_recipe.model_copy(
        update={"preprocess": tiny_recipe.preprocess.model_copy(update={"spacing_mm": (2.0, 2.0, 2.0)})}
    )
    dataset.prepare(folder, coarser, divisor, cache)
    assert len(reads) == 3
    for file in cache.glob("*.safetensors"):
        file.unlink()
    dataset.prepare(folder, tiny_recipe, divisor, cache)
    assert len(reads) == 4


def call(*words, code=0):
    done = CliRunner().invoke(app, ["data", "prepare", "baseline", *map(str, words)])
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    return done


@pytest.mark.slow
def test_several_processes_and_shards_fill_one_cache(tmp_path, reads):
    data, split = write_cohort(tmp_path / "data")
    common = ("--data", data, "--split", split, "--cache", tmp_path / "cache")
    for n in (1, 2):
        call(*common, "--shard", f"{n}/2")
    done = call(*common, "--jobs", 2)
    assert "3 of 3 cases are ready" in done.stdout and "MiB" in done.stderr
    assert len(list((tmp_path / "cache").glob("*.safetensors"))) == 3 and len(reads) == 3
    broken = next(find_studies(data)[0].glob("*t2f*"))
    broken.write_bytes(broken.read_bytes()[:300])
    failed = call(*common, code=3)
    assert "2 of 3 cases are ready" in failed.stdout and broken.name in failed.stderr
    assert "no shard '3/2'" in call(*common, "--shard", "3/2", code=3).stderr
