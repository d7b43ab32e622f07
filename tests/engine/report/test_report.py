"""The report: the same numbers everywhere, text as text, nothing from outside, and no half of a file."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from helpers.small_study import make_study, write_cohort
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from brainseg_engine.cli import app
from brainseg_engine.core.errors import InputError, OutputError
from brainseg_engine.core.labels import Region
from brainseg_engine.core.study import Segmentation
from brainseg_engine.io import load_study, save_segmentation
from brainseg_engine.report import record as records
from brainseg_engine.report.html import Entry, index_page, report_page
from brainseg_engine.report.identity import examined_on, of_study
from brainseg_engine.report.pictures import key_images, view_3d
from brainseg_engine.report.sources import Result, find_results, study_with_mask
from brainseg_engine.report.writing import earlier_record, write_report
from brainseg_engine.scores.diameters import diameters, to_json
from brainseg_engine.scores.follow_up import CAVEAT, rano_range
from brainseg_engine.scores.volumes import volumes_ml
from brainseg_engine.studies.incoming import find_study

VOID = {"meta", "img", "br", "input"}


class Page(HTMLParser):
    """What a page holds: its tags with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


def test_intervals_stand_beside_volumes_of_the_model_s_own_answer_alone():
    study = make_study()
    ml = volumes_ml(study.segmentation.labels, study.segmentation.grid)[Region.WT]
    beside = {
        "model": "m",
        "volume_intervals_ml": {"WT": [0.8 * ml, 1.3 * ml]},
        "confidence": 0.84,
        "unlike": "These images look unlike.",
        "displaced": "FLAIR lies beside.",
        "uncovered": "T1 does not show all.",
    }
    made = records.build(study.segmentation, study, sidecar=beside)
    assert made["regions"]["WT"]["interval_ml"] == [0.8 * ml, 1.3 * ml]
    assert made["regions"]["TC"]["interval_ml"] is None
    page = Page(report_page(made, ())).text
    assert f"({0.8 * ml:.1f}–{1.3 * ml:.1f})" in page and "nine of ten" in page and "Dice 0.84" in page
    assert {"These images look unlike.", "FLAIR lies beside.", "T1 does not show all."} <= set(made["warnings"])
    rows = {(r["region"], r["quantity"]): r["value"] for r in records.quantities(made)}
    assert (rows["WT", "volume, low"], rows["WT", "volume, high"]) == (0.8 * ml, 1.3 * ml)
    assert rows["", "expected mean Dice"] == 0.84
    edited = records.build(study.segmentation, study, sidecar={**beside, "edited": True})
    assert edited["regions"]["WT"]["interval_ml"] is None and edited["confidence"] is None
    page = Page(report_page(edited, ())).text
    assert "nine of ten" not in page and "model expects" not in page
    nothing = replace(study.segmentation, labels=np.zeros_like(study.segmentation.labels))
    assert (
        records.build(nothing, study, sidecar=beside)["confidence"] is None
    )  # where nothing was found, nothing overlaps
    elsewhere = records.build(
        study.segmentation, study, sidecar={**beside, "volume_intervals_ml": {"WT": [2 * ml, 3 * ml]}}
    )
    assert elsewhere["regions"]["WT"]["interval_ml"] is None


def assert_self_contained(page: str) -> Page:
    parsed = Page(page)
    assert not {tag for tag, _ in parsed.tags} & {"script", "link", "iframe", "object", "embed", "base", "form"}
    for tag, attributes in parsed.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), tag
            if name in ("src", "href"):
                inside = (
                    value.startswith("data:image/png;base64,")
                    if name == "src"
                    else ":" not in value and "//" not in value
                )
                assert inside, value[:80]
    assert not re.search(r"url\(|@import|https?:", page)
    return parsed


def result_of(study, **sidecar) -> Result:
    return Result(study.id, replace(study.segmentation, made_by=sidecar.pop("made_by", "")), study, sidecar)


@pytest.fixture(scope="module")
def small():
    return make_study(shape=(40, 44, 36), affine=np.diag([-2.0, -2.0, 2.5, 1.0]))


@pytest.fixture(scope="module")
def built(small):
    return records.build(small.segmentation, small)


def test_a_record_holds_what_the_scores_say(small, built):
    seg = small.segmentation
    ml, lengths = volumes_ml(seg.labels, seg.grid), diameters(seg.labels, seg.grid)
    for region in Region:
        entry = built["regions"][region.value]
        assert entry["volume_ml"] == pytest.approx(ml[region], abs=5e-4)
        assert entry["diameters"]["lesions"][0]["longest"]["mm"] == round(lengths[region].lesions[0].longest.mm, 2)
    assert built["series"][1]["modality"] == "t1ce" == built["reference"]
    assert built["series"][0]["slice_distance_mm"] == 2.5
    assert built["identity"] is None
    assert json.loads(json.dumps(built)) == built


def test_page_json_and_csv_tell_the_same_numbers(tmp_path, small):
    write_report(result_of(small, model="m", model_version="3", edited=True, made_by="m 3 and a person"), tmp_path)
    record = records.read(tmp_path / "Case_1_report.json")
    with (tmp_path / "Case_1_report.csv").open(encoding="utf-8") as f:
        lines = list(csv.DictReader(f))
    rows = {(r["region"], r["lesion"], r["quantity"]): r["value"] for r in lines}
    assert len(rows) == len(lines)  # no number stands there twice
    text = assert_self_contained((tmp_path / "Case_1_report.html").read_text(encoding="utf-8")).text
    for name, region in record["regions"].items():
        lesion = region["diameters"]["lesions"][0]
        assert float(rows[name, "", "volume"]) == region["volume_ml"]
        assert float(rows[name, "1", "longest diameter"]) == lesion["longest"]["mm"]
        assert float(rows[name, "", "sum of products RANO"]) == region["diameters"]["sum_of_products_rano_mm2"]
        assert f"{region['volume_ml']:.1f}" in text
        assert f"{lesion['longest']['mm']:.1f}" in text
    assert "Corrected by hand" in text
    assert "model m 3" in text
    assert text.count("For research use only") == 2


def test_a_prior_gives_the_change(small, built):
    smaller = replace(small.segmentation, labels=np.where(small.segmentation.labels == 3, 0, small.segmentation.labels))
    now = records.build(smaller, small, prior=built)
    et = now["change"]["ET"]
    assert et["volume_ml"]["percent"] == -100
    assert (
        et["sum_of_products_rano_mm2"]["difference"] == -built["regions"]["ET"]["diameters"]["sum_of_products_rano_mm2"]
    )
    text = Page(report_page(now, [])).text
    assert "−100 %" in text
    same = records.build(small.segmentation, small, prior=built)
    assert same["change"]["WT"]["volume_ml"]["difference"] == 0
    total = built["regions"]["ET"]["diameters"]["sum_of_products_rano_mm2"]
    assert same["rano_range"] == (rano_range([total, total]) or None)
    assert CAVEAT not in text or now["rano_range"]
    shown = Page(report_page({**same, "rano_range": rano_range([100.0, 100.0])}, [])).text
    assert "stable disease" in shown and CAVEAT in shown
    assert built["rano_range"] is None


def test_what_a_model_does_not_measure_is_no_zero(small):
    seg = replace(small.segmentation, regions=(Region.WT,))
    record = records.build(seg, small)
    assert record["regions"]["ET"] is None
    assert record["classes"] == {}
    assert "not measured by this model" in Page(report_page(record, [])).text
    assert {r["value"] for r in records.quantities(record) if r["region"] == "ET"} == {None}


def test_no_identity_unless_asked(small, built):
    with_it = records.build(
        small.segmentation, small, identity={"name": "Müller^Jörg", "id": "77", "birth_date": "1960-02-03"}
    )
    assert "Müller^Jörg" in Page(report_page(with_it, [])).text
    assert "born" not in Page(report_page(built, [])).text


def test_unknown_voxel_sizes_give_voxels_and_no_diameters(small):
    grid = replace(small.segmentation.grid, calibrated=False)
    record = records.build(replace(small.segmentation, grid=grid))
    assert record["regions"]["WT"]["volume_ml"] is None
    assert record["regions"]["WT"]["diameters"] is None
    text = Page(report_page(record, [])).text
    assert "voxels" in text
    assert "mm²" not in text


hostile = st.text(max_size=40) | st.sampled_from(
    ["<script>alert(1)</script>", '"><img src=x onerror=y>', "a\x00\x1b[31m", "\u202egnp", "名前 İşğ", "{{ 7*7 }}", "\ud800"]
)  # fmt: skip


@pytest.fixture(scope="module")
def followed(small, built):
    """A record that is compared with two earlier ones."""
    made = records.build(small.segmentation, small, examined="2025-06-10", prior=built | {"examined": "2025-05-10"})
    return made | {"history": [p | {"date": d} for p in made["history"] for d in ("2025-01-10", "2025-05-10")]}


@given(name=hostile, other=hostile)
@settings(max_examples=60)
def test_names_are_shown_as_text_whatever_they_hold(followed, name, other):
    record = followed | {
        "id": name, "made_by": other, "corrected_by_hand": True, "warnings": [other], "model": {"name": name, "version": other},
        "identity": {"name": other, "id": name, "birth_date": other}, "preparation": {"brain": name, "quality": {
            other: {"moved_mm": 1.0, "turned_deg": None, "peak": 1.0, "cover": 1.0, "dice": 1.0, "good": True}}},
        "prior": {"id": other, "created": name, "examined": None, "model": {"name": other, "version": name}},
        "history": [p | {"id": other, "model": name} for p in followed["history"]],
    }  # fmt: skip
    plain = Page(report_page(followed | {"corrected_by_hand": True}, []))
    for page in (report_page(record, []), index_page([Entry(name, record, None)] * 2)):
        page.encode("utf-8")
        assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", page)
        assert_no_more_than(assert_self_contained(page), plain)
    shown = " ".join(
        re.sub(
            "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", "\ufffd", name
        ).split()
    )
    assert " ".join(shown.split()) in Page(report_page(record, [])).text


def assert_no_more_than(page: Page, plain: Page) -> None:
    """The page has no kind of tag or attribute that harmless names do not give."""
    known = {(tag, a) for tag, attributes in plain.tags for a in attributes}
    known |= {
        (t, a)
        for t in ("input", "label", "div", "a", "span")
        for a in ("type", "name", "id", "checked", "for", "style", "href", "class")
    }
    assert {(tag, a) for tag, attributes in page.tags for a in attributes} <= known


def test_pictures_show_the_tumour_and_its_diameters(small, built):
    pictures = key_images(small, small.segmentation, built)
    captions = [p.caption for p in pictures]
    lesion = built["regions"]["ET"]["diameters"]["lesions"][0]
    assert (
        captions[0]
        == f"T1ce, axial: ET lesion 1, {lesion['longest']['mm']:.1f} × {lesion['perpendicular']['mm']:.1f} mm"
    )
    assert {"T1ce, coronal", "T1ce, sagittal"} <= set(captions)
    assert captions[-1].startswith("FLAIR, axial: WT lesion 1")
    assert all(p.png.startswith(b"\x89PNG") for p in [*pictures, view_3d(small.segmentation, small)])
    empty = replace(small.segmentation, labels=np.zeros_like(small.segmentation.labels))
    assert view_3d(empty) is None
    assert len(key_images(small, empty, records.build(empty, small))) == 3


def test_the_command_reports_on_a_cohort(tmp_path):
    data, _ = write_cohort(tmp_path / "data", cases=2)
    done = CliRunner().invoke(app, ["report", str(data), "--out", str(tmp_path / "out"), "--json"])
    assert done.exit_code == 0, done.output
    assert [r["status"] for r in json.loads(done.stdout)["results"]] == ["done", "done"]
    index = assert_self_contained((tmp_path / "out/index.html").read_text(encoding="utf-8"))
    assert [a["href"] for t, a in index.tags if t == "a"] == ["Case_0_report.html", "Case_1_report.html"]
    again = ["report", str(data / "Case_0"), "--out", str(tmp_path / "two"), "--prior"]
    assert CliRunner().invoke(app, [*again, str(tmp_path / "out/Case_0_report.json")]).exit_code == 0
    assert records.read(tmp_path / "two/Case_0_report.json")["change"]["WT"]["volume_ml"]["difference"] == 0
    assert CliRunner().invoke(app, [*again, str(tmp_path / "out/measurements.csv")]).exit_code == 3


def test_masks_find_their_images(tmp_path):
    data, _ = write_cohort(tmp_path / "data", cases=2)
    masks = tmp_path / "masks"
    masks.mkdir()
    for folder in ("Case_0", "Case_1"):
        for path in (data / folder).glob("*seg*"):
            path.rename(masks / path.name)
    found = find_results([masks], data)
    assert [(s.id, s.study) for s in found] == [(n, data / n) for n in ("Case_0", "Case_1")]
    assert [s.study for s in find_results([masks])] == [None, None]
    with pytest.raises(InputError, match="There is no file"):
        find_results([tmp_path / "absent"])
    with pytest.raises(InputError, match="holds no study and no mask"):
        find_results([tmp_path / "data" / ".." / "none"]) if (tmp_path / "none").mkdir() is None else None
    with pytest.raises(InputError, match="Two results"):
        find_results([masks, masks])


def test_no_room_is_said_and_leaves_nothing(tmp_path, small, monkeypatch):
    import shutil

    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1 << 20))
    with pytest.raises(OutputError, match="MiB free"):
        write_report(result_of(small), tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_a_disk_that_fills_up_leaves_no_half_of_a_page(tmp_path, small, monkeypatch):
    import errno
    import os

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        write_report(result_of(small), tmp_path)
    assert not list(tmp_path.iterdir())


def test_identity_comes_from_dicom_files_and_only_when_asked(tmp_path):
    pytest.importorskip("pydicom")
    from helpers.dicom_series import grid_of_series, tumour_on, write_dicom_series

    write_dicom_series(tmp_path / "images", "thick", name="Müller^Jörg")
    save_segmentation(tumour_on(grid_of_series("thick")), tmp_path / "p1_seg.nii.gz", sidecar={})
    call = ["report", str(tmp_path / "p1_seg.nii.gz"), "--out"]
    assert CliRunner().invoke(app, [*call, str(tmp_path / "a")]).exit_code == 0
    assert "Müller" not in (tmp_path / "a/p1_report.html").read_text(encoding="utf-8")
    result = Result("p1", tumour_on(grid_of_series("thick")), None, {})
    write_report(result, tmp_path / "b", identity=of_study(tmp_path / "images", result.segmentation))
    text = Page((tmp_path / "b/p1_report.html").read_text(encoding="utf-8")).text
    assert "Müller Jörg · id P-77 · born 1960-02-03" in text
    write_dicom_series(tmp_path / "images" / "other", "thick", name="Other", number=9)
    with pytest.raises(InputError, match="several patients"):
        of_study(tmp_path / "images", result.segmentation)
    failed = CliRunner().invoke(app, [*call, str(tmp_path / "c"), "--identity"])
    assert failed.exit_code == 3
    assert "no DICOM images" in failed.output


@pytest.mark.parametrize(
    "spoil",
    [lambda t: t.pop("regions"), lambda t: t.update(regions=[1]), lambda t: t["regions"]["WT"].update(volume_ml="x"),
     lambda t: t.update(schema="other/9"), lambda t: t.update(model="m")],
)  # fmt: skip
def test_a_damaged_prior_is_refused_in_a_sentence(tmp_path, built, spoil):
    record = json.loads(json.dumps(built))
    spoil(record)
    (tmp_path / "a_report.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="report"):
        records.read(tmp_path / "a_report.json")


def test_odd_sidecars_do_no_harm(small):
    for sidecar in ({"prepared": 3, "warnings": "x"}, {"prepared": {"t1": {"peak": "high"}}}):
        record = records.build(small.segmentation, small, sidecar=sidecar)
        assert record["preparation"] is None
        report_page(record, [])
    good = {"prepared": {
        "t1": {"alignment": "registered", "moved_mm": 9.1, "turned_deg": 2, "peak": 2, "cover": 0.9, "dice": 0.95, "good": False},
        "brain": "HD-BET", "warnings": ["T1 does not match T1ce."],
    }}  # fmt: skip
    text = Page(report_page(records.build(small.segmentation, small, sidecar=good), [])).text
    for words in ("alignment", "9.1", "doubtful", "Brain: HD-BET", "T1 does not match T1ce."):
        assert words in text


def test_diameters_set_by_hand_count_and_say_so(small):
    seg = small.segmentation
    measured = diameters(seg.labels, seg.grid)
    et = measured[Region.ET]
    moved = replace(et.lesions[0], longest=replace(et.lesions[0].longest, end=(0.0, 0.0, 0.0)), edited=True)
    by_hand = to_json({Region.ET: replace(et, lesions=(moved, *et.lesions[1:]))})
    record = records.build(seg, small, sidecar={"diameters": by_hand})
    assert record["regions"]["ET"]["diameters"]["lesions"][0]["longest"]["mm"] == pytest.approx(
        moved.longest.mm, abs=0.01
    )
    assert record["regions"]["WT"]["diameters"] == to_json(measured)["WT"]
    assert "set by hand" in Page(report_page(record, [])).text
    assert (
        records.build(seg, small, sidecar={"diameters": {"ET": 3}})["regions"] == records.build(seg, small)["regions"]
    )


def test_the_day_of_the_examination_comes_from_dicom_or_from_the_call(tmp_path):
    from dicom_studies import new_person, write_clinical

    write_clinical(
        tmp_path / "p", make_study(shape=(48, 56, 24)), thickness_mm=None, person=new_person(study_date="20250314")
    )
    study = load_study(find_study(tmp_path / "p"))
    seg = replace(
        study, segmentation=Segmentation(np.zeros(study.reference.grid.shape, np.uint8), study.reference.grid)
    )
    result = result_of(seg)
    assert examined_on(study.reference) == "2025-03-14"
    write_report(result, tmp_path / "a")
    prior = records.read(tmp_path / "a" / f"{study.id}_report.json")
    assert prior["examined"] == "2025-03-14"
    write_report(result, tmp_path / "b", prior=prior, examined="2025-06-01")
    assert [p["date"] for p in records.read(tmp_path / "b" / f"{study.id}_report.json")["history"]] == ["2025-03-14"]
    said = CliRunner().invoke(app, ["report", str(tmp_path / "a"), "--out", str(tmp_path), "--date", "tomorrow"])
    assert said.exit_code == 3


@pytest.mark.slow
def test_an_earlier_study_in_dicom_brings_the_newest_mask_drawn_on_it(tmp_path):
    pytest.importorskip("highdicom")
    from dicom_studies import new_person, write_clinical

    from brainseg_engine.report.exporting import Onto, export

    images = tmp_path / "p"
    write_clinical(images, make_study(shape=(48, 56, 24)), thickness_mm=None, person=new_person(study_date="20250110"))
    study = study_with_mask(images)
    assert study.segmentation is None
    labels = np.zeros(study.reference.grid.shape, np.uint8)
    for n, reach in enumerate((8, 12)):
        labels[4:reach, 4:reach, 4:reach] = 3
        mask = replace(study, segmentation=Segmentation(labels.copy(), study.reference.grid))
        (file,) = export(result_of(mask), ["seg"], tmp_path / str(n), Onto(images))
        os.utime(file, (n, n))
        shutil.move(file, images / f"{n}.dcm")
    (images / "2.dcm").write_bytes((images / "1.dcm").read_bytes()[:4000])  # one that is damaged
    found = study_with_mask(images)
    assert np.array_equal(found.segmentation.labels, labels)
    record = earlier_record(found)
    assert record["examined"] == "2025-01-10"
    assert record["regions"]["ET"]["volume_voxels"] == 8**3


@pytest.mark.slow
def test_a_mask_or_a_seg_beside_a_folder_of_dicom(tmp_path):
    """The images are a DICOM folder: its series are found, its patient is text, and a SEG finds the series it refers to."""
    pytest.importorskip("highdicom")
    from dicom_studies import new_person, write_clinical

    from brainseg_engine.report.exporting import Onto, export

    study = make_study(id="p1", shape=(48, 52, 60), affine=np.diag([-3.5, -3.5, 2.5, 1.0]))
    name = "<script>alert(1)</script>^脳腫瘍"
    write_clinical(tmp_path / "dicom", study, thickness_mm=None, distractors=1, person=new_person(name=name))
    (seg,) = export(result_of(study, reference="t1ce"), ["seg"], tmp_path / "out", Onto(tmp_path / "dicom"))
    call = ["report", str(seg), "--images", str(tmp_path / "dicom"), "--out", str(tmp_path / "r"), "--identity"]
    done = CliRunner().invoke(app, call)
    assert done.exit_code == 0, done.output
    page = next((tmp_path / "r").glob("*_report.html")).read_text(encoding="utf-8")
    assert "<script>alert(1)</script> 脳腫瘍" in assert_self_contained(page).text
    record = records.read(next((tmp_path / "r").glob("*_report.json")))
    assert record["identity"]["name"] == "<script>alert(1)</script> 脳腫瘍"
    assert record["regions"]["WT"]["volume_ml"] == pytest.approx(
        records.build(study.segmentation)["regions"]["WT"]["volume_ml"]
    )
    assert {s["modality"] for s in record["series"]} == {"t1", "t1ce", "t2", "flair"}
