"""Which case is whose, and where it goes: a split divides the cases, and never a patient."""

import pytest
from helpers.layouts_on_disk import write_decathlon, write_slices
from hypothesis import given
from hypothesis import strategies as st

from brainseg_engine.core.errors import InputError, TrainingError
from brainseg_engine.io import load_study
from brainseg_engine.phantom import write_study
from brainseg_engine.studies import cohort

PATIENTS = {
    "BraTS-GLI-00001-001": "BraTS-GLI-00001",
    "BraTS-MET-00123-000": "BraTS-MET-00123",
    "Brats18_CBICA_AQR_1": "Brats18_CBICA_AQR",
    "Brats17_2013_10_1": "Brats17_2013_10",
    "BraTS19_TCIA13_623_1": "BraTS19_TCIA13_623",
    "TCGA_CS_4942_19970222": "TCGA_CS_4942",
    "BraTS20_Training_001": "BraTS20_Training_001",
    "BraTS2021_00001": "BraTS2021_00001",
    "BRATS_001": "BRATS_001",
    "my patient 1": "my patient 1",
}

# names of up to 30 patients with one to three cases each
NAMES = st.dictionaries(st.integers(0, 99999), st.integers(1, 3), min_size=8, max_size=30).map(
    lambda d: [f"BraTS-GLI-{p:05}-{c:03}" for p, n in d.items() for c in range(n)]
)
SEEDS = st.integers(0, 2**31)


@pytest.mark.parametrize("case", PATIENTS)
def test_the_patient_by_the_name(case):
    assert cohort.patient_of(case) == PATIENTS[case]


def whole(split):
    return len({(cohort.patient_of(c), s) for c, s in split.items()}) == len({cohort.patient_of(c) for c in split})


@given(NAMES, SEEDS, st.sampled_from([0.1, 0.2, 0.3]), st.sampled_from([0.0, 0.1, 0.2]))
def test_a_split_is_a_partition_of_whole_patients(names, seed, validation, test):
    split = cohort.make_split(names, validation, test, seed)
    assert set(split) == set(names)
    assert whole(split)
    sizes = {s: list(split.values()).count(s) for s in cohort.SUBSETS}
    assert sizes["train"] and sizes["validation"] and bool(sizes["test"]) == (test > 0)
    for subset, share in (("validation", validation), ("test", test)):
        assert abs(sizes[subset] - share * len(names)) <= 3  # the size of a patient


@given(NAMES, SEEDS, st.integers(2, 6))
def test_folds_cover_every_case_once_and_are_even(names, seed, folds):
    found = cohort.make_folds(names, folds, seed=seed)
    assert set(found) == set(names)
    assert whole(found)
    assert set(found.values()) == {str(k) for k in range(folds)}
    sizes = [list(found.values()).count(str(k)) for k in range(folds)]
    assert max(sizes) - min(sizes) <= 3


@given(NAMES, SEEDS, st.randoms())
def test_the_order_of_the_names_does_not_matter_and_the_seed_does(names, seed, random):
    mixed = random.sample(names, len(names))
    assert cohort.make_split(names, 0.2, 0.1, seed) == cohort.make_split(mixed, 0.2, 0.1, seed)
    many = {str(sorted(cohort.make_folds(names, 3, seed=s).items())) for s in range(5)}
    assert len(many) > 1


def test_a_split_is_the_same_on_every_machine():
    split = cohort.make_split("abcdefgh", 0.25, 0.125, seed=1)
    assert {c for c, s in split.items() if s != "train"} == {"a", "d", "g"}
    assert split["d"] == "test"


@given(NAMES, SEEDS, st.integers(2, 5))
def test_what_is_written_is_read_again_fold_by_fold(tmp_path_factory, names, seed, folds):
    path = tmp_path_factory.mktemp("split") / "folds.csv"
    made = cohort.make_folds(names, folds, 0.1, seed)
    path.write_text(cohort.split_text("fold", made))
    validated = []
    for k in range(folds):
        split = cohort.read_split(path, k)
        assert {c for c, s in split.items() if s == "test"} == {c for c, f in made.items() if f == "test"}
        validated += [c for c, s in split.items() if s == "validation"]
        assert [c for c, s in split.items() if s == "validation"] == [c for c, f in made.items() if f == str(k)]
    everything = cohort.read_split(path, "all")
    assert sorted(validated) == sorted(c for c, s in everything.items() if s == "train")
    assert "validation" not in everything.values()


@pytest.mark.parametrize(
    ("text", "fold", "words"),
    [
        ("case,split\nBraTS-GLI-00001-000,train\nBraTS-GLI-00001-001,validation\n", None,
         r"patient BraTS-GLI-00001 both in train \(BraTS-GLI-00001-000\) and in validation \(BraTS-GLI-00001-001\)"),
        ("case,patient,split\na,P,train\nb,P,test\n", None, r"patient P both in train \(a\) and in test \(b\)"),
        ("case,patient,fold\na,P,0\nb,P,1\n", 0, "patient P both"),
        ("case,fold\na,0\nb,1\n", None, r"validation \(0, 1\), or all"),
        ("case,fold\na,0\nb,1\n", 2, "no fold 2; it has 0, 1"),
        ("case,fold\na,0\nb,x\n", 0, "line 3: the fold is 'x'"),
        ("case,split\na,train\n", 0, "no column 'fold'"),
        ("case,split\na,trian\n", "all", "is 'trian'"),
        ("case,split\na,train\na,train\n", None, "stands there twice"),
        ("case,split\n,train\n", None, "names no case"),
        ("case\na\n", None, "needs the columns"),
        ("case,split\n", None, "at least one row"),
    ],
)  # fmt: skip
def test_a_bad_split_is_refused_in_words(text, fold, words, tmp_path):
    path = tmp_path / "split.csv"
    path.write_text(text)
    with pytest.raises(TrainingError, match=words):
        cohort.read_split(path, fold)


def test_all_trains_on_what_is_not_kept_for_the_test(tmp_path):
    path = tmp_path / "split.csv"
    path.write_text("patient,split\na,train\nb,validation\nc,test\n")
    assert cohort.read_split(path) == {"a": "train", "b": "validation", "c": "test"}
    assert cohort.read_split(path, "all") == {"a": "train", "b": "train", "c": "test"}


def test_too_few_patients_are_reported(tmp_path):
    with pytest.raises(TrainingError, match="2 patients cannot be divided into 3 folds"):
        cohort.make_folds(["a", "b"], 3)
    with pytest.raises(TrainingError, match="too few"):
        cohort.make_split(["a"], 0.2)


def test_cases_of_every_layout_are_listed_and_each_can_be_loaded(study, tmp_path):
    for group, name in (("HGG", "Brats18_A_1"), ("LGG", "Brats18_B_1")):
        write_study(_named(study, name), tmp_path / "brats" / group)
    write_decathlon(tmp_path / "decathlon")
    for name in ("TCGA_AB_1234_19990101", "TCGA_AB_1234_20000101"):
        write_slices(tmp_path / "lgg" / name)
    expected = {
        "brats": ["Brats18_A_1", "Brats18_B_1"],
        "decathlon": ["BRATS_001", "BRATS_002"],
        "lgg": ["TCGA_AB_1234_19990101", "TCGA_AB_1234_20000101"],
    }
    for folder, names in expected.items():
        found = cohort.list_cases(tmp_path / folder)
        assert [c.name for c in found] == names
        assert all(load_study(c.source).segmentation is not None for c in found)
        split = {names[0]: "train", names[1]: "validation"}
        assert cohort.cases(tmp_path / folder, split, "validation") == [found[1].source]
        assert cohort.name(found[1].source) == names[1]


def _named(study, name):
    from dataclasses import replace

    return replace(study, id=name)


def test_a_folder_without_cases_and_a_name_twice_are_refused(study, tmp_path):
    with pytest.raises(InputError, match="holds no case"):
        cohort.list_cases(tmp_path)
    for group in ("HGG", "LGG"):
        write_study(study, tmp_path / group)
    cases = cohort.list_cases(tmp_path)
    assert [(c.name, c.patient) for c in cases] == [("HGG_Case_1", "Case_1"), ("LGG_Case_1", "Case_1")]
    with pytest.raises(
        TrainingError, match="'Case_1', and there are 2 of that name: call them HGG_Case_1 and LGG_Case_1"
    ):
        cohort.cases(tmp_path, {"Case_1": "train"}, "train")
    with pytest.raises(TrainingError, match=r"not in .*: Case_2"):
        cohort.cases(tmp_path, {"Case_2": "train"}, "train")
