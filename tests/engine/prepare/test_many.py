"""`prepare` over many studies: rows, resuming, one bad study among good ones, and the folder read back."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from helpers.raw_study import raw_study
from helpers.secrets_of import leaks

from brainseg_engine.core.errors import Cancelled, InputError
from brainseg_engine.core.study import Modality, Segmentation, SeriesNeeded
from brainseg_engine.io import load_study, save_volume
from brainseg_engine.io.derived.pseudonyms import Pseudonyms, hidden
from brainseg_engine.prepare import PrepareOptions, files, many


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    for name in ("Raw_1", "Raw_2"):
        for modality, volume in raw_study(id=name).study.volumes.items():
            save_volume(volume.data, volume.grid, folder / name / f"{name}_{modality}.nii.gz")
    (folder / "Raw_2" / "Raw_2_t2.nii.gz").write_bytes(b"no image")
    return folder


SETTINGS = PrepareOptions(brain="rough", align="never", threads=1)


def test_one_failure_is_one_row_and_a_second_call_goes_on(data, tmp_path):
    settings = many.PrepareSettings(tmp_path / "out", SETTINGS)
    sources = [data / "Raw_1", data / "Raw_2"]
    rows = {r.id: r for r in many.prepare_many(sources, settings)}
    assert rows["Raw_1"].status == "doubtful"  # not aligned, and it says so
    assert rows["Raw_2"].status == "failed"
    assert "Raw_2_t2" in rows["Raw_2"].message
    many.write_summary(list(rows.values()), settings.out / many.SUMMARY)
    again = {r.id: r for r in many.prepare_many(sources, settings)}
    assert again["Raw_1"].status == "skipped"
    with (settings.out / many.SUMMARY).open(newline="") as f:
        assert [r["id"] for r in csv.DictReader(f)] == ["Raw_1", "Raw_2"]
    other = replace(settings, options=replace(SETTINGS, n4=True))
    refused = next(iter(many.prepare_many(sources[:1], other)))
    assert "--overwrite" in refused.message
    assert not list(settings.out.glob(".part-*"))


@pytest.mark.slow
def test_under_a_pseudonym_nothing_written_names_the_source(data, tmp_path):
    who = Pseudonyms(b"k" * 32)
    settings = many.PrepareSettings(tmp_path / "out", SETTINGS, pseudonyms=who)
    rows = list(many.prepare_many([data / "Raw_1", data / "Raw_2"], settings))
    for row in rows:
        many.write_summary([hidden(row, who)], settings.out / many.SUMMARY)
    assert (settings.out / who.patient("Raw_1") / "prepare.json").is_file()
    assert leaks(settings.out, {"raw_1", "raw_2", str(data).lower()}) == []
    assert next(iter(many.prepare_many([data / "Raw_1"], settings))).status == "skipped"


def test_the_folder_is_a_study_and_comes_back_whole(prepared, raw, tmp_path):
    folder = files.save(prepared, tmp_path)
    study = load_study(folder)
    assert study.id == "Raw_1"
    study.require(SeriesNeeded())
    back = files.load(folder)
    assert back.quality == {
        m: type(q)(**{k: round(v, 3) for k, v in vars(q).items()}) for m, q in prepared.quality.items()
    }
    np.testing.assert_array_equal(back.brain, prepared.brain)
    answer = Segmentation((prepared.brain * 2).astype(np.uint8), prepared.grid)
    for modality in Modality:
        np.testing.assert_allclose(back.rigids[modality].matrix, prepared.rigids[modality].matrix, atol=1e-6)
        np.testing.assert_array_equal(back.back(answer, modality).labels, prepared.back(answer, modality).labels)
    record = json.loads((folder / files.RECORD).read_text())
    assert record["series"]["t2"]["good"] is True
    assert record["choices"]["software"]["SimpleITK"]
    files.save(prepared, tmp_path)  # in place of the older one
    (folder / files.RECORD).write_text('{"format": 99}')
    with pytest.raises(InputError, match="again"):
        files.load(folder)


def test_cancelled_leaves_nothing(data, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(Cancelled):
        many.row_of(
            data / "Raw_1", many.PrepareSettings(out, PrepareOptions(brain="rough", threads=1)), cancelled=lambda: True
        )
    assert list(out.iterdir()) == []


@pytest.mark.slow
def test_two_processes(data, tmp_path):
    rows = {
        r.id: r.status
        for r in many.prepare_many(sorted(data.iterdir()), many.PrepareSettings(tmp_path, SETTINGS), jobs=2)
    }
    assert rows == {"Raw_1": "doubtful", "Raw_2": "failed"}
