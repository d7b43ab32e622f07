"""MONAI bundles: run as MONAI runs them, read as data, refused where they are of another task or hold code."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from helpers.peers import agreement, bundle, bundle_parser, fitted, stacked, targets

from brainseg_engine.core.errors import CheckpointError, OutputError
from brainseg_engine.core.paths import models_home
from brainseg_engine.core.study import Modality
from brainseg_engine.inference.predictor import Predictor
from brainseg_engine.models import checkpoint
from brainseg_engine.models.importers import ImportOptions, import_foreign
from brainseg_engine.phantom import phantom_study

SHAPE = (64, 72, 44)


@pytest.fixture(scope="module")
def case():
    return phantom_study(1_000_003, SHAPE)


@pytest.fixture(scope="module")
def made(tmp_path_factory, case):
    """(bundle, its own probabilities (TC, WT, ET) and label map for the case)."""
    from monai.transforms import NormalizeIntensity

    folder = bundle(tmp_path_factory.mktemp("bundle") / "brats_mri_segmentation")
    parser = bundle_parser(folder)
    torch.manual_seed(0)
    net = parser.get_parsed_content("network_def")
    image = torch.as_tensor(NormalizeIntensity(nonzero=True, channel_wise=True)(stacked(case, [
        Modality.T1CE, Modality.T1, Modality.T2, Modality.FLAIR])))  # fmt: skip
    fitted(net, image, targets(case))
    torch.save({"model": net.state_dict()}, folder / "models" / "model.pt")
    with torch.inference_mode():
        logits = parser.get_parsed_content("inferer")(image[None], net)[0]
    found = torch.sigmoid(logits)
    combine = bundle_parser(folder).get_parsed_content("postprocessing").transforms[-1]
    labels = combine({"pred": (found > 0.5).float()})["pred"]
    return folder, found.numpy(), np.asarray(labels)[0].astype(np.uint8)


def test_the_answers_are_those_of_monai(made, case):
    folder, probabilities, labels = made
    path = import_foreign(folder, ImportOptions("bundle"))
    predictor = Predictor(path, "cpu")
    found = predictor.predict(case, probabilities=True)
    ours = np.stack([found.probabilities[r] for r in ("TC", "WT", "ET")]).astype(np.float32)
    assert np.abs(ours - probabilities).max() < 1e-3
    theirs = np.select([labels == 4, labels == 2, labels == 1], [3, 2, 1], 0)
    assert (labels > 0).sum() > 500
    assert agreement(found.segmentation.labels, theirs) >= 0.999


CLASSES = {0: "background", 1: "edema", 2: "non-enhancing tumor", 3: "enhancing tumour"}  # as the Decathlon has them
OF_CLASSES = {
    "network_def": {"_target_": "SegResNet", "blocks_down": [1, 2], "blocks_up": [1], "init_filters": 8, "in_channels": 4,
                    "out_channels": 4},
    "network_data_format": {
        "inputs": {"image": {"num_channels": 4, "channel_def": {"0": "T1c", "1": "T1", "2": "T2", "3": "FLAIR"}}},
        "outputs": {"pred": {"num_channels": 4, "channel_def": {str(n): name for n, name in CLASSES.items()}}}},
    "postprocessing": {"transforms": [{"_target_": "Activationsd", "keys": "pred", "softmax": True},
                                      {"_target_": "AsDiscreted", "keys": "pred", "argmax": True}]},
}  # fmt: skip


def test_classes_are_those_of_monai_in_our_order(case, tmp_path):
    from monai.transforms import Activations, AsDiscrete, NormalizeIntensity

    folder = bundle(tmp_path / "b", **OF_CLASSES)
    parser = bundle_parser(folder)
    torch.manual_seed(0)
    net = parser.get_parsed_content("network_def")
    order = [Modality.T1CE, Modality.T1, Modality.T2, Modality.FLAIR]
    image = torch.as_tensor(NormalizeIntensity(nonzero=True, channel_wise=True)(stacked(case, order)))
    value = np.array([0, 2, 1, 3])  # canonical → theirs, and back
    truth = torch.from_numpy(np.stack([value[case.segmentation.labels] == n for n in range(4)]).astype(np.float32))
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3)
    for _ in range(12):
        optimiser.zero_grad()
        weight = torch.tensor([1.0, 8.0, 8.0, 8.0])
        torch.nn.functional.cross_entropy(net(image[None]), truth.argmax(0)[None], weight=weight).backward()
        optimiser.step()
    torch.save(net.eval().state_dict(), folder / "models" / "model.pt")
    with torch.inference_mode():
        logits = parser.get_parsed_content("inferer")(image[None], net)[0]
    theirs, labels = Activations(softmax=True)(logits).numpy(), AsDiscrete(argmax=True)(logits)[0].numpy().astype(int)

    found = Predictor(import_foreign(folder, ImportOptions("classes")), "cpu").predict(case, probabilities=True)
    assert len(np.unique(labels)) > 2
    assert agreement(found.segmentation.labels, value[labels]) >= 0.999
    ours = np.stack([found.probabilities[r] for r in ("WT", "TC", "ET")]).astype(np.float32)
    assert np.abs(ours - np.stack([theirs[1:].sum(0), theirs[2:].sum(0), theirs[3]])).max() < 1e-3


def named(**changes):
    """The bundle of classes with other names of channels."""
    channels = {str(n): changes.get(f"c{n}", name) for n, name in CLASSES.items()}
    inputs = OF_CLASSES["network_data_format"]["inputs"]
    return {**OF_CLASSES, "network_data_format": {"inputs": inputs, "outputs": {"pred": {"channel_def": channels}}}}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (named(c1="liver", c2="vessel", c3="cyst"), "another task.*liver"),
        (named(c1="necrosis"), "not clearly.*--coding"),
        (named(c1="label 1", c2="label 2", c3="label 3"), "--coding"),
        ({**OF_CLASSES, "postprocessing": {"transforms": [{"_target_": "Activationsd", "sigmoid": True}]}}, "sigmoid"),
    ],
)
def test_classes_that_are_not_clear_are_refused(change, words, tmp_path):
    with pytest.raises(CheckpointError, match=words):
        import_foreign(bundle(tmp_path / "b", **change), ImportOptions("m"))


def test_classes_that_the_user_names_settle_it(tmp_path):
    from monai.networks.nets import SegResNet

    folder = bundle(tmp_path / "b", **named(c1="label 1", c2="label 2", c3="label 3"))
    net = SegResNet(blocks_down=[1, 2], blocks_up=[1], init_filters=8, in_channels=4, out_channels=4)
    torch.save(net.state_dict(), folder / "models" / "model.pt")
    loaded = checkpoint.load(import_foreign(folder, ImportOptions("m", coding="1=ET,2=ED,3=NCR")))
    given = net.state_dict()["conv_final.2.conv.weight"]
    assert torch.equal(loaded.state["body.conv_final.2.conv.weight"], given[[0, 3, 2, 1]])


def test_what_its_files_tell_is_on_the_card(made):
    card, recipe = checkpoint.read_metadata(import_foreign(made[0], ImportOptions("bundle")))
    assert [m.value for m in card.modalities] == ["t1ce", "t1", "t2", "flair"]
    assert list(card.regions) == ["TC", "WT", "ET"]
    assert card.licence == "Apache-2.0" and "1810.11654" in card.citation and card.version == "0.5.3"
    assert "sha256" in card.source and "BraTS 2018" in card.data
    assert recipe.window.size == (48, 56, 32) and recipe.preprocess.orientation == "LPS"


def test_a_zip_with_the_folder_in_it_is_the_same(made, tmp_path):
    packed = shutil.make_archive(str(tmp_path / "b"), "zip", made[0].parent, made[0].name)
    import_foreign(tmp_path / "b.zip", ImportOptions("zipped"))
    import_foreign(made[0], ImportOptions("folder"))
    one, other = (checkpoint.load(models_home() / f"{n}.safetensors") for n in ("zipped", "folder"))
    assert packed and one.recipe == other.recipe
    assert all(torch.equal(v, other.state[k]) for k, v in one.state.items())


def test_two_models_of_one_name_are_refused(made):
    import_foreign(made[0], ImportOptions("b"))
    with pytest.raises(OutputError, match="already"):
        import_foreign(made[0], ImportOptions("b"))
    import_foreign(made[0], ImportOptions("b", force=True))


SPLEEN = {"inputs": {"image": {"num_channels": 1, "channel_def": {"0": "image"}}},
          "outputs": {"pred": {"num_channels": 2, "channel_def": {"0": "background", "1": "spleen"}}}}  # fmt: skip
ONE = {"inputs": {"image": {"num_channels": 1, "channel_def": {"0": "T1c"}}},
       "outputs": {"pred": {"channel_def": {"0": "Tumor core", "1": "Whole tumor", "2": "Enhancing tumor"}}}}  # fmt: skip
UNKNOWN = {"inputs": {"image": {"num_channels": 4}}, "outputs": ONE["outputs"]}
CODE = {
    "_target_": "SegResNet",
    "in_channels": 4,
    "out_channels": 3,
    "init_filters": "$__import__('os').system('touch ran')",
}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"network_data_format": SPLEEN}, "another task.*spleen"),
        ({"network_data_format": ONE}, "in_channels is 4"),
        ({"network_data_format": UNKNOWN}, "--series"),
        ({"network_def": CODE}, "program code"),
        ({"network_def": {"_target_": "os.system", "command": "touch ran"}}, "not known here"),
        ({"network_def": {"_target_": "SegResNet", "in_channels": 4, "out_channels": 3, "act": "MISH"}}, "act"),
        ({"preprocessing": {"transforms": [{"_target_": "RandFlipd"}]}}, "RandFlipd"),
        ({"postprocessing": {"transforms": [{"_target_": "AsDiscreted", "argmax": True}]}}, "argmax"),
        ({"preprocessing": {"transforms": [{"_target_": "CropForegroundd", "margin": [4, 4, 0]}]}}, "one number"),
        ({"inferer": {"_target_": "SlidingWindowInferer", "roi_size": "@loop"}, "loop": "@loop"}, "refers to itself"),
    ],
)
def test_what_it_is_not_is_said_in_words(change, words, made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = bundle(tmp_path / "b", **change)
    shutil.copy(made[0] / "models" / "model.pt", folder / "models" / "model.pt")
    with pytest.raises(CheckpointError, match=words):
        import_foreign(folder, ImportOptions("m"))
    assert not (tmp_path / "ran").exists() and not models_home().exists()


def test_series_that_the_user_tells_settle_it(made, tmp_path):
    folder = bundle(tmp_path / "b", network_data_format=UNKNOWN)
    shutil.copy(made[0] / "models" / "model.pt", folder / "models" / "model.pt")
    order = (Modality.FLAIR, Modality.T1, Modality.T1CE, Modality.T2)
    card, _ = checkpoint.read_metadata(import_foreign(folder, ImportOptions("m", series=order)))
    assert card.modalities == order


def test_weights_of_another_network_do_not_fit(made, tmp_path):
    folder = bundle(tmp_path / "b", filters=16)
    shutil.copy(made[0] / "models" / "model.pt", folder / "models" / "model.pt")
    with pytest.raises(CheckpointError, match="do not fit"):
        import_foreign(folder, ImportOptions("m"))


def test_a_bundle_without_its_large_files_is_incomplete(tmp_path):
    with pytest.raises(CheckpointError, match="Fetch it whole"):
        import_foreign(bundle(tmp_path / "b"), ImportOptions("m"))


def test_constants_and_references_are_data(made, tmp_path):
    network = json.loads((made[0] / "configs" / "inference.json").read_text())["network_def"]
    folder = bundle(tmp_path / "b", filters=8, width=8, network_def={**network, "init_filters": "$@width"})
    shutil.copy(made[0] / "models" / "model.pt", folder / "models" / "model.pt")
    import_foreign(folder, ImportOptions("m"))
