"""What scanners write for the sequences of a brain tumour protocol and for all that lies beside them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainseg_engine.core.series import SeriesFacts
from brainseg_engine.core.study import Modality
from brainseg_engine.studies.tag_rules import judge

T1, T1CE, T2, FLAIR = Modality
GRID = {"shape": (256, 256, 26), "spacing": (0.9, 0.9, 5.5), "plane": "axial", "orientation": "LPS",
        "coverage_mm": (230.0, 230.0, 143.0)}  # fmt: skip


def facts(description="", te=None, tr=None, ti=None, sequence="", **more) -> SeriesFacts:
    given = GRID | {
        "te_ms": te,
        "tr_ms": tr,
        "ti_ms": ti,
        "scanning_sequence": tuple(sequence.split("\\")) if sequence else (),
    }
    return SeriesFacts("1", description=description, label=description, **(given | more))


# vendor's habits: description, TE, TR, TI, ScanningSequence, what more → what it is, whether contrast is told
SEQUENCES = {
    "Siemens MPRAGE": (facts("t1_mprage_sag_p2_iso", 2.98, 2300, 900, "GR\\IR"), T1, None),
    "Siemens MPRAGE with Gd": (facts("t1_mprage_sag_p2_iso", 2.98, 2300, 900, "GR\\IR", contrast="Gadovist"), T1, True),
    "Siemens SE": (facts("t1_se_tra", 12, 550, None, "SE"), T1, None),
    "Siemens SE, km": (facts("t1_se_tra_KM", 12, 550, None, "SE"), T1, True),
    "Siemens TSE": (facts("t2_tse_tra", 101, 5000, None, "SE"), T2, None),
    "Siemens SPACE": (facts("t2_space_sag", 408, 3200, None, "SE"), T2, None),
    "Siemens TIRM": (facts("t2_tirm_tra_dark-fluid", 86, 9000, 2500, "SE\\IR"), FLAIR, None),
    "Siemens SPACE FLAIR": (facts("t2_space_dark-fluid_sag", 388, 5000, 1800, "SE\\IR"), FLAIR, None),
    "Siemens VIBE": (facts("t1_vibe_tra_fs", 1.9, 4.6, None, "GR"), T1, None),
    "GE BRAVO": (facts("Ax 3D T1 BRAVO +C", 3.1, 8.2, 450, "GR"), T1, True),
    "GE SE": (facts("AX T1 PRE", 9, 467, 0, "SE"), T1, False),
    "GE T1 FLAIR": (facts("Ax T1 FLAIR", 24, 2200, 860, "SE\\IR"), T1, None),
    "GE FSE": (facts("Ax T2 FSE", 102, 4500, 0, "SE"), T2, None),
    "GE CUBE FLAIR": (facts("Sag T2 FLAIR CUBE", 128, 6000, 1850, "SE\\IR"), FLAIR, None),
    "GE FLAIR": (facts("AX FLAIR", 125, 10002, 2250, "SE\\IR"), FLAIR, None),
    "Philips TFE": (facts("sT1W_3D_TFE", 3.8, 8.2, 0, "GR", b_value=0.0), T1, None),
    "Philips TFE with Gd": (facts("sT1W_3D_TFE", 3.8, 8.2, 0, "GR", b_value=0.0, contrast="YES"), T1, True),
    "Philips TFE without": (facts("sT1W_3D_TFE", 3.8, 8.2, 0, "GR", b_value=0.0, contrast="NO"), T1, False),
    "Philips T2": (facts("T2W_TSE", 80, 3000, 0, "SE", b_value=0.0), T2, None),
    "Philips FLAIR": (facts("FLAIR_longTR", 125, 11000, 2800, "IR", b_value=0.0), FLAIR, None),
    "Philips 3D FLAIR without TI": (facts("3D_Brain_VIEW_FLAIR", 300, 4800, None, "SE", b_value=0.0), FLAIR, None),
    "words only": (facts("T2 FLAIR AX"), FLAIR, None),
    "words only, T1 with Gd": (facts("T1 AX POST GAD"), T1, True),
}  # fmt: skip
OTHERS = {
    "CT": (facts("Head", modality="CT"), "CT"),
    "localiser": (facts("3-Plane Loc", 5, 20, None, "GR", orientations=3), "localiser"),
    "survey": (facts("Survey_SHC", 4, 11, None, "GR"), "localiser"),
    "b-value": (facts("ep2d", 80, 4000, None, "EP", b_value=1000.0), "diffusion"),
    "EPI": (facts("", 80, 4000, None, "EP\\SE"), "echo-planar"),
    "ADC": (facts("Apparent Diffusion Coefficient", 80, 4000, None, "EP"), "echo-planar"),
    "ADC by type": (facts("ep2d_diff_ADC", image_type=("DERIVED", "PRIMARY", "DIFFUSION", "ADC", "ND")), "diffusion"),
    "DWI by name": (facts("DWI b-1000"), "diffusion"),
    "SWI": (facts("SWI_Images", 20, 28, None, "GR"), "susceptibility"),
    "T2* GRE": (facts("Ax GRE", 20, 600, None, "GR"), "susceptibility"),
    "T2 star by name": (facts("T2_STAR_AX"), "susceptibility"),
    "hemo": (facts("t2_fl2d_tra_hemo", 25, 800, None, "GR"), "susceptibility"),
    "DSC": (facts("perfusion", 30, 1500, None, "GR", time_points=60), "time series"),
    "STIR": (facts("t2_tirm_cor", 34, 4000, 160, "SE\\IR"), "STIR"),
    "proton density": (facts("double echo", 14, 3000, None, "SE", echo=1, echoes=2), "proton-density"),
    "TOF": (facts("TOF_3D_multi-slab", 7, 22, None, "GR"), "angiogram"),
    "CISS": (facts("t2_ci3d_CISS", 3.5, 7, None, "GR"), "steady-state"),
    "MIP": (facts("TOF MIP", image_type=("DERIVED", "SECONDARY", "PROJECTION IMAGE")), "angiogram"),
    "MIP by type": (facts("SAG", image_type=("DERIVED", "SECONDARY", "MIP")), "projection"),
    "few slices": (facts("T1 ax", 12, 500, None, "SE", shape=(256, 256, 5)), "too few slices (5)"),
    "phase": (facts("SWI_Pha", 20, 28, None, "GR", image_type=("ORIGINAL", "PRIMARY", "P", "ND")), "phase"),
    "subtraction": (facts("T1 SUB", 12, 500, None, "SE"), "subtraction"),
    "spine": (facts("T2 C-SPINE", 100, 4000, None, "SE"), "spine"),
    "spine by tag": (facts("T2 sag", 100, 4000, None, "SE", body_part="C-SPINE"), "another part"),
    "calibration, GE": (facts("Asset calibration", 1.3, 100, None, "GR"), "calibration"),
    "calibration, GE plain": (facts("Calibration Scan", 1, 4, None, "GR"), "calibration"),
    "calibration, GE coil": (facts("Cal Head 32", 1, 4, None, "GR"), "calibration"),
    "calibration, Philips": (facts("SENSE Ref scan", 0.6, 4, None, "GR"), "calibration"),
    "calibration, Philips new": (facts("Ref_Head_32", 0.6, 4, None, "GR"), "calibration"),
    "calibration, Philips coil": (facts("CoilSurveyScan", 0.6, 4, None, "GR"), "calibration"),
    "blood flow": (facts("Cerebral Blood Flow", 10, 4800, 1500), "perfusion"),
    "T1 map of an MP2RAGE": (facts("mp2rage_T1_Images", 3, 5000, 700, "GR\\IR"), "a map"),
    "screen save": (facts("Screen Save", image_type=("DERIVED", "SECONDARY", "SCREEN SAVE")), "no scan"),
}  # fmt: skip


@pytest.mark.parametrize("name", SEQUENCES)
def test_sequences_of_the_protocol(name):
    given, family, contrast = SEQUENCES[name]
    verdict = judge(given)
    assert (verdict.family, verdict.other, verdict.contrast) == (family, "", contrast), verdict


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_none_of_the_four_is_named(name):
    given, word = OTHERS[name]
    verdict = judge(given)
    assert verdict.family is None and word in verdict.other, verdict


def test_the_second_echo_of_a_double_echo_is_a_t2():
    assert judge(facts("double echo", 90, 3000, None, "SE", echo=2, echoes=2)).family is T2


def test_a_reformat_is_known_as_one_and_keeps_its_weighting():
    verdict = judge(
        facts("T1 MPR TRA", 3, 2300, 900, "GR\\IR", image_type=("DERIVED", "SECONDARY", "PROJECTION IMAGE"))
    )
    assert verdict.family is T1 and verdict.reformatted


def test_times_stand_above_the_name_and_the_contradiction_is_said():
    verdict = judge(facts("T1 AX", 100, 5000, None, "SE"))
    assert verdict.family is T2 and verdict.doubt == "its name says T1" and "TE 100 ms, TR 5000 ms" in verdict.reason


def test_the_reason_names_the_times_and_the_agent():
    verdict = judge(facts("x", 3, 8, None, "GR", contrast="Dotarem"))
    assert verdict.reason == "T1-weighted (TE 3 ms, TR 8 ms), contrast agent named in the tags"


@given(
    st.sampled_from(list(SEQUENCES)),
    st.sampled_from([None, "", 0.0]),
    st.sampled_from(["", "SIEMENS", "GE", "Philips"]),
)
def test_a_b_value_of_zero_and_the_maker_change_nothing(name, b_value, maker):
    given = SEQUENCES[name][0]
    assert judge(replace(given, b_value=b_value or None, manufacturer=maker)) == judge(given)
    assert judge(replace(given, b_value=0.0)) == judge(given)


@given(
    st.floats(0, 600),
    st.floats(0, 15000),
    st.one_of(st.none(), st.floats(0, 4000)),
    st.sampled_from(["", "SE", "GR", "SE\\IR", "GR\\IR"]),
)
def test_any_times_give_a_verdict_with_a_reason(te, tr, ti, sequence):
    verdict = judge(facts("", te, tr, ti, sequence))
    assert verdict.reason and not (verdict.family and verdict.other)
    assert not (verdict.family is T2 and te < 60) and not (verdict.family is T1 and te > 35)
