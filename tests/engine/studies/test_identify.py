"""The four series of a study among its others, by tags, words, time and quality; and what a user assigns stands above it."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainseg_engine.core.errors import InputError
from brainseg_engine.core.series import SeriesFacts
from brainseg_engine.core.study import Modality
from brainseg_engine.studies.assignment import assign, read_assignment
from brainseg_engine.studies.identify import identify
from brainseg_engine.studies.remembered import forget, remember, remembered

T1, T1CE, T2, FLAIR = Modality
START = datetime(2001, 2, 3, 9)
THICK = {"shape": (256, 256, 26), "spacing": (0.9, 0.9, 5.5), "plane": "axial", "coverage_mm": (230.0, 230.0, 143.0)}
CORONAL = THICK | {"plane": "coronal", "coverage_mm": (230.0, 143.0, 230.0)}
THIN = {"shape": (256, 256, 176), "spacing": (1.0, 1.0, 1.0), "plane": "sagittal", "coverage_mm": (176.0, 256.0, 256.0)}


def made(name, te=None, tr=None, ti=None, sequence="SE", minute=0, grid=THICK, **more) -> SeriesFacts:
    given = {**grid, "te_ms": te, "tr_ms": tr, "ti_ms": ti, "scanning_sequence": tuple(sequence.split("\\")),
             "acquired": START + timedelta(minutes=minute), "number": minute, "description": name, "label": name}  # fmt: skip
    return SeriesFacts(f"{name} at {minute}", **(given | more))


SIEMENS = [
    made("AAHead_Scout", 1.4, 3.2, None, "GR", 1, orientations=3), made("t1_se_tra", 12, 550, None, "SE", 2),
    made("t2_tse_tra", 101, 5000, None, "SE", 4), made("t2_tirm_tra_dark-fluid", 86, 9000, 2500, "SE\\IR", 6),
    made("ep2d_diff_3scan", 89, 3400, None, "EP", 8), made("ep2d_diff_ADC", 89, 3400, None, "EP", 9),
    made("SWI_Images", 20, 28, None, "GR", 10), made("ep2d_perf", 30, 1500, None, "EP", 12, time_points=50),
    made("t1_se_tra", 12, 550, None, "SE", 14), made("t1_mprage_sag_iso", 3, 2300, 900, "GR\\IR", 16, THIN),
    made("t1_mprage_MPR_tra", 3, 2300, 900, "GR\\IR", 17, image_type=("DERIVED", "SECONDARY", "MPR")),
]  # fmt: skip
GE = [
    made("3-Plane Loc", 5, 20, None, "GR", 1, orientations=3), made("AX T1", 9, 467, 0, "SE", 2),
    made("AX FLAIR", 125, 10002, 2250, "SE\\IR", 4), made("AX T2 FSE", 102, 4500, 0, "SE", 6),
    made("AX DWI", 75, 8000, None, "EP", 7, b_value=1000.0), made("Apparent Diffusion Coefficient", 75, 8000, None, "EP", 7),
    made("AX GRE", 20, 600, None, "GR", 9), made("AX T1 +C", 9, 467, 0, "SE", 12, contrast="GADAVIST"),
    made("COR T1 +C", 9, 500, 0, "SE", 14, CORONAL, contrast="GADAVIST"),
    made("Processed Images", modality="SC", minute=20, sequence=""),
]  # fmt: skip
PHILIPS = [
    made("Survey_SHC", 4, 11, None, "GR", 1, orientations=3, b_value=0.0),
    made("sT1W_3D_TFE", 3.8, 8.2, 0, "GR", 3, THIN, b_value=0.0),
    made("T2W_TSE", 80, 3000, 0, "SE", 6, b_value=0.0), made("FLAIR_longTR", 125, 11000, 2800, "IR", 9, b_value=0.0),
    made("DWI_3b", 70, 3000, None, "SE", 10, b_value=1000.0), made("T2W_FFE", 18, 700, None, "GR", 11, b_value=0.0),
    made("STIR_longTE", 60, 4000, 190, "IR", 13, b_value=0.0), made("PDW_TSE", 15, 2500, 0, "SE", 14, b_value=0.0),
    made("sT1W_3D_TFE", 3.8, 8.2, 0, "GR", 16, THIN, b_value=0.0),
]  # fmt: skip
STUDIES = {
    "Siemens": (
        SIEMENS,
        ("t1_se_tra at 2", "t1_mprage_sag_iso at 16", "t2_tse_tra at 4", "t2_tirm_tra_dark-fluid at 6"),
    ),
    "GE": (GE, ("AX T1 at 2", "AX T1 +C at 12", "AX T2 FSE at 6", "AX FLAIR at 4")),
    "Philips": (PHILIPS, ("sT1W_3D_TFE at 3", "sT1W_3D_TFE at 16", "T2W_TSE at 6", "FLAIR_longTR at 9")),
}
SIEMENS[8] = replace(SIEMENS[8], contrast="Gadovist")
SIEMENS[9] = replace(SIEMENS[9], contrast="Gadovist")
SIEMENS[10] = replace(SIEMENS[10], contrast="Gadovist")


@pytest.mark.parametrize("maker", STUDIES)
@given(st.randoms())
@settings(max_examples=10)
def test_the_four_are_found_in_any_order(maker: str, order: random.Random):
    series, expected = STUDIES[maker]
    shuffled = list(series)
    order.shuffle(shuffled)
    found = identify(shuffled)
    assert tuple(found.chosen[m] for m in Modality) == expected and found.missing == ()
    assert [p.series for p in found.proposals] == shuffled
    assert all(p.reason.endswith(".") for p in found.proposals)


def test_thick_and_thin_candidates_the_better_is_taken_and_the_others_offered():
    found = identify(SIEMENS)
    assert found.alternatives[T1CE] == ("t1_se_tra at 14", "t1_mprage_MPR_tra at 17")
    taken = found.of("t1_mprage_sag_iso at 16")
    assert taken.reason == ("T1ce: T1-weighted (TE 3 ms, TR 2300 ms, TI 900 ms), contrast agent named in the tags, chosen for "
                            "its thin slices (1 mm) among 3 candidates.")  # fmt: skip
    other = found.of("t1_se_tra at 14")
    assert other.use is None and other.could_be == (T1CE,) and other.reason.startswith("Second choice for T1ce")


def test_twins_without_a_word_of_contrast_are_told_by_time():
    found = identify(PHILIPS)
    assert "measured after contrast was given" in found.of("sT1W_3D_TFE at 16").reason
    timeless = [replace(f, acquired=None) for f in PHILIPS]
    assert T1CE in identify(timeless).missing  # nothing tells: a person decides
    assert identify(timeless).alternatives[T1]


def test_contrast_that_is_named_counts_more_than_the_time_alone():
    study = [made("T1 ax", 12, 550, None, "SE", 1), made("T1 ax KM", 12, 550, None, "SE", 5),
             made("T2 ax", 100, 5000, None, "SE", 2), made("FLAIR ax", 120, 9000, 2500, "SE\\IR", 3)]  # fmt: skip
    late = made("T1 cor", 12, 550, None, "SE", 9, CORONAL)
    assert identify([*study, late]).chosen[T1CE] == "T1 ax KM at 5"
    thin = made("Sag 3D T1", 3, 8, 450, "GR", 9, THIN)
    assert identify([*study, late, thin]).alternatives[T1CE][0] == "Sag 3D T1 at 9"
    coarse = made("Head", 0.6, 4, None, "GR", 9, THICK | {"spacing": (5.0, 5.0, 6.0)})
    assert identify([*study, late, coarse]).chosen[T1CE] == "T1 ax KM at 5"


def test_of_a_thin_slab_too_the_t1_that_time_tells_is_taken():
    slab = THICK | {"spacing": (1.0, 1.0, 1.0), "coverage_mm": (48.0, 56.0, 24.0)}
    study = [made("t1", 9, 550, None, "SE", 1, slab), made("t1 km", 9, 550, None, "SE", 5, slab, contrast="Gadovist"),
             made("t2", 95, 4500, None, "SE", 2, slab), made("flair", 110, 9000, 2500, "SE\\IR", 3, slab)]  # fmt: skip
    assert set(identify(study).chosen) == set(Modality)


@pytest.mark.parametrize("gone", list(Modality))
def test_a_missing_series_is_missing_and_nothing_else_takes_its_place(gone):
    labels = {T1: ["AX T1"], T1CE: ["AX T1 +C", "COR T1 +C"], T2: ["AX T2 FSE"], FLAIR: ["AX FLAIR"]}[gone]
    left = [f for f in GE if f.label not in labels]
    assert identify(left).missing == (gone,)


def test_what_nothing_is_reported_of_is_left_to_a_person():
    unknown = [made(f"image{i}", minute=i) for i in range(4)]
    assert identify(unknown).missing == tuple(Modality)


def test_a_user_stands_above_every_proposal():
    found = assign(SIEMENS, {T1CE: "#14", T2: None})
    assert found.chosen == {T1: "t1_se_tra at 2", T1CE: "t1_se_tra at 14", FLAIR: "t2_tirm_tra_dark-fluid at 6"}
    assert found.of("t1_se_tra at 14").reason == "T1ce: assigned by hand."
    assert found.alternatives[T1CE][0] == "t1_mprage_sag_iso at 16" and found.missing == (T2,)
    taken = assign(SIEMENS, {T1: "*mprage_sag*"})  # the T1ce goes to the next candidate
    assert taken.chosen[T1] == "t1_mprage_sag_iso at 16" and taken.chosen[T1CE] == "t1_se_tra at 14"
    distractor = assign(SIEMENS, {FLAIR: "SWI_Images"})
    assert distractor.chosen[FLAIR] == "SWI_Images at 10"


@given(st.dictionaries(st.sampled_from(list(Modality)), st.one_of(st.none(), st.integers(0, 10)), max_size=4))
def test_whatever_is_assigned_no_series_has_two_uses(wanted):
    given = {m: None if i is None else SIEMENS[i].id for m, i in wanted.items()}
    named = [i for i in given.values() if i is not None]
    if len(set(named)) < len(named):
        with pytest.raises(InputError, match="Give each its own series"):
            assign(SIEMENS, given)
        return
    found = assign(SIEMENS, given)
    assert len(set(found.chosen.values())) == len(found.chosen)
    assert {m: found.chosen.get(m) for m in given} == given
    assert {p.use: p.series.id for p in found.proposals if p.use is not None} == dict(found.chosen)


@pytest.mark.parametrize(
    ("what", "expected"), [("nothing", "fits no series; there are"), ("t1_se*", "fits several series")]
)
def test_a_name_that_fits_none_or_many_is_refused(what, expected):
    with pytest.raises(InputError, match=expected):
        assign(SIEMENS, {T1: what})


def test_an_assignment_file(tmp_path):
    path = tmp_path / "uses.toml"
    path.write_text('t1 = "AX T1"\nT1c = "*+C*"\nt2 = ""\n', encoding="utf-8")
    assert read_assignment(path) == {T1: "AX T1", T1CE: "*+C*", T2: None}
    (tmp_path / "uses.json").write_text('{"flair": "AX FLAIR", "t2": false}', encoding="utf-8")
    assert read_assignment(tmp_path / "uses.json") == {FLAIR: "AX FLAIR", T2: None}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("t3 = 'x'", "'t3' is no use of a series"),
        ("t1 = 3", "as text"),
        ("t1 =", "cannot be understood"),
        ("\x00", "cannot be"),
    ],
)
def test_a_wrong_assignment_file_is_said(text, expected, tmp_path):
    path = tmp_path / "uses.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=expected):
        read_assignment(path)
    with pytest.raises(InputError, match="There is no file"):
        read_assignment(tmp_path / "absent.toml")


def test_a_labs_naming_is_remembered_without_anything_of_the_patient(own_home):
    lab = [made("KMserie", minute=5), made("Nativ Block 3", minute=1)]
    assert remembered(lab) == {}
    remember(lab, {lab[0].id: T1CE, lab[1].id: None})
    again = [replace(f, id=f"other {i}") for i, f in enumerate(lab)]
    assert remembered(again) == {"other 0": T1CE, "other 1": None}
    assert identify(again, known=remembered(again)).chosen == {T1CE: "other 0"}
    text = (own_home / "series_names.json").read_text()
    assert not any(word in text.lower() for word in ("kmserie", "nativ", "block"))
    forget()
    assert remembered(again) == {}


def test_files_are_remembered_by_what_their_names_do_not_share(own_home):
    def files(patient):
        return [
            SeriesFacts(f"/d/{patient}_{e}.nii", file_name=f"{patient}_{e}.nii")
            for e in ("kmx", "natx", "zwei", "drei")
        ]

    remember(files("Mueller_1960"), {"/d/Mueller_1960_kmx.nii": T1CE})
    assert remembered(files("Schmidt_77")) == {"/d/Schmidt_77_kmx.nii": T1CE}
    (own_home / "series_names.json").write_text("{broken", encoding="utf-8")
    assert remembered(files("Schmidt_77")) == {}
