"""A series is what it is, not what it was registered to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainseg_engine.core.study import Modality
from brainseg_engine.io.naming import classify, entities

WRITTEN = {
    Modality.T1: ["T1", "t1", "T1w", "t1n", "T1_pre"],
    Modality.T1CE: ["T1ce", "t1c", "T1_GD", "T1_post_contrast", "ct1"],
    Modality.T2: ["T2", "t2w", "T2_TSE"],
    Modality.FLAIR: ["FLAIR", "t2f", "flair", "T2_FLAIR"],
}
FORMS = [
    "{a}_to_{b}", "{a}-to-{b}", "{a}_registered_to_{b}", "{a}_reg_{b}", "{a}_coreg_{b}", "{a}_reg2_{b}", "{a}_2_{b}",
    "{a}_in_{b}", "{a}_in_{b}_space", "{a}_aligned_to_{b}", "Patient7_{a}_to_{b}", "co__{b}__{a}",
]  # fmt: skip
words = st.sampled_from([(m, w) for m, names in WRITTEN.items() for w in names])


@given(words, words, st.sampled_from(FORMS))
def test_a_registered_series_is_the_moving_one(moving, target, form):
    name = form.format(a=moving[1], b=target[1])
    assert classify([f"{name}.nii.gz"]) == [moving[0]], name


@given(words, words, st.sampled_from(["to", "2", "To", "_to"]))
def test_also_where_the_words_are_joined(moving, target, to):
    a, b = (w[1].replace("_", "") for w in (moving, target))
    if (classify([a]), classify([b])) == ([moving[0]], [target[0]]):
        assert classify([f"{a}{to}{b}.nii.gz"]) == [moving[0]]


@given(st.sampled_from(["T1w", "T2w", "FLAIR"]), st.sampled_from(["T1w", "T2w", "FLAIR", "MNI152"]), st.booleans())
def test_a_bids_name_says_it_in_its_last_word(suffix, space, contrast):
    gd = "ce-gadolinium_" * (contrast and suffix == "T1w")
    expected = {"T1w": Modality.T1CE if gd else Modality.T1, "T2w": Modality.T2, "FLAIR": Modality.FLAIR}[suffix]
    for name in (f"sub-01_ses-2_{gd}space-{space}_{suffix}", f"sub-01_{gd}space-{space}_desc-preproc_{suffix}",
                 f"{gd}space-{space}_{suffix}"):  # fmt: skip
        assert classify([f"{name}.nii.gz"]) == [expected], name


@given(st.permutations(list(Modality)), st.sampled_from([*FORMS[:6], "co__{b}__{a}"]), words)
def test_a_whole_study_registered_to_one_of_its_series(order, form, target):
    names = [form.format(a=WRITTEN[m][0], b=target[1]) for m in order]
    assert classify(names) == order


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("T1_AX_SE_2_tse2d", Modality.T1), ("t1_in_phase", Modality.T1), ("t2_space_sag", Modality.T2),
        ("t1_space_post", Modality.T1CE), ("SPACE-T1", Modality.T1), ("T2_SPACE_FLAIR", Modality.FLAIR),
        ("T1_to_MNI", Modality.T1), ("x_reg_t1", Modality.T1), ("lesion_mask_to_T1", "mask"), ("brain_mask_to_T1", None),
        ("bold_to_T1", None), ("x_to_T1", None), ("sub-1_acq-T2prep_T1w", Modality.T1), ("sub-1_acq-ce_T1w", Modality.T1CE),
        ("FLAIR_T1space", Modality.FLAIR), ("T1space_FLAIR", Modality.FLAIR),
    ],
)  # fmt: skip
def test_what_looks_like_a_target_and_is_none(name, kind):
    assert classify([f"{name}.nii.gz"]) == [kind]


def test_entities_of_a_bids_name():
    assert entities("sub-01_ses-2_ce-gd_T1w.nii.gz") == {"sub": "01", "ses": "2", "ce": "gd", "suffix": "T1w"}
    assert entities("T1w.nii.gz") == entities("Patient-01_T1w.nii") == entities("sub-01_T1-x_T1w.nii") == {}


def test_a_session_of_bids_tells_no_contrast():
    names = [f"sub-01_ses-post_{s}.nii.gz" for s in ("T1w", "ce-gadolinium_T1w", "T2w", "FLAIR")]
    assert classify(names) == [Modality.T1, Modality.T1CE, Modality.T2, Modality.FLAIR]
    assert classify(["sub-post_acq-postcontrast_T1w.nii"]) == [Modality.T1CE]
