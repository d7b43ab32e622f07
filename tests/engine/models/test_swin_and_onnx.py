"""Swin UNETR, Auto3DSeg and ONNX: the answers are those of the peer's own library."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import peers
from monai.inferers import SlidingWindowInferer
from monai.networks.nets import SegResNetDS, SwinUNETR
from monai.transforms import NormalizeIntensity

from brainseg_engine import nets
from brainseg_engine.core.errors import CheckpointError
from brainseg_engine.core.study import Modality
from brainseg_engine.inference.predictor import Predictor
from brainseg_engine.models import checkpoint
from brainseg_engine.models.importers import ImportOptions, import_foreign, import_model
from brainseg_engine.models.onnx_export import export_onnx
from brainseg_engine.nets.onnx import session
from brainseg_engine.phantom import phantom_study
from brainseg_engine.recipe import load_recipe, overridden


@pytest.fixture(scope="module")
def case():
    return phantom_study(1_000_003, (64, 72, 44))


def normalised(case, order):
    return torch.as_tensor(NormalizeIntensity(nonzero=True, channel_wise=True)(peers.stacked(case, order)))


def same(found, probabilities, regions):
    ours = np.stack([found.probabilities[r] for r in regions]).astype(np.float32)
    assert np.abs(ours - probabilities).max() < 1e-3
    by = dict(zip(regions, probabilities > 0.5, strict=True))
    labels = np.select([by["ET"], by["TC"], by["WT"]], [3, 1, 2], 0)
    assert (labels > 0).sum() > 100
    assert peers.agreement(found.segmentation.labels, labels) >= 0.999


@pytest.mark.slow
def test_swin_unetr_answers_as_monai_runs_it(case, tmp_path):
    torch.manual_seed(0)
    net = SwinUNETR(in_channels=4, out_channels=3, feature_size=12)
    image = normalised(case, peers.SWIN_ORDER)
    peers.fitted(net, image[:, :64, :64, :32], peers.targets(case)[:, :64, :64, :32], steps=3)
    torch.save({"epoch": 1, "best_acc": 0.9, "state_dict": net.state_dict()}, tmp_path / "model.pt")
    inferer = SlidingWindowInferer([128, 128, 128], overlap=0.6)
    with torch.inference_mode():
        theirs = torch.sigmoid(inferer(image[None], net))[0].numpy()
    path = import_foreign(tmp_path / "model.pt", ImportOptions("swin"))
    same(Predictor(path, "cpu").predict(case, probabilities=True), theirs, ("TC", "WT", "ET"))
    assert [m.value for m in checkpoint.read_metadata(path)[0].modalities] == ["flair", "t1ce", "t1", "t2"]


def test_a_swin_unetr_of_another_task_is_refused(tmp_path):
    torch.save(
        {"state_dict": SwinUNETR(in_channels=1, out_channels=14, feature_size=12).state_dict()}, tmp_path / "btcv.pt"
    )
    with pytest.raises(CheckpointError, match=r"another task.*1 channels and gives 14"):
        import_foreign(tmp_path / "btcv.pt", ImportOptions("m"))


AUTO = {
    "network": {"_target_": "SegResNetDS", "init_filters": 8, "blocks_down": [1, 1, 1], "norm": "INSTANCE", "in_channels": 4,
                "out_channels": 3, "dsdepth": 2},
    "sigmoid": True, "class_names": [{"name": "whole_tumor", "index": [1, 2, 3]}, {"name": "tumor_core", "index": [1, 3]},
                                     {"name": "enhancing_tumor", "index": [3]}],
    "roi_size": [32, 40, 24], "resample": False, "normalize_mode": "meanstd", "crop_foreground": False,
}  # fmt: skip


@pytest.mark.slow
def test_auto3dseg_answers_as_monai_runs_it(case, tmp_path):
    torch.manual_seed(0)
    order = (Modality.FLAIR, Modality.T1CE, Modality.T1, Modality.T2)
    net = SegResNetDS(in_channels=4, out_channels=3, init_filters=8, blocks_down=(1, 1, 1), norm="INSTANCE", dsdepth=2)
    image = normalised(case, order)
    # its images run RAS, those of the phantom LPS
    turned = image.flip(1, 2)
    peers.fitted(net, turned, peers.targets(case)[[1, 0, 2]].flip(1, 2), steps=14)
    torch.save({"config": AUTO, "state_dict": net.state_dict(), "epoch": 9}, tmp_path / "model.pt")
    inferer = SlidingWindowInferer([32, 40, 24], overlap=0.625, mode="gaussian")
    with torch.inference_mode():
        theirs = torch.sigmoid(inferer(turned[None], net))[0].flip(1, 2).numpy()
    path = import_foreign(tmp_path / "model.pt", ImportOptions("auto"))
    same(Predictor(path, "cpu").predict(case, probabilities=True), theirs, ("WT", "TC", "ET"))


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [("sigmoid", False, "independent regions"), ("normalize_mode", "range", "range"), ("class_names", ["spleen"], "another task"),
     ("class_names", ["acc_0", "acc_1", "acc_2"], "answers 'acc_0', 'acc_1', 'acc_2'"), ("class_names", None, "does not name"),
     ("roi_size", None, "roi_size"),
     ("network", {"_target_": "DiNTS"}, "DiNTS")],
)  # fmt: skip
def test_another_auto3dseg_is_refused(key, value, words, tmp_path):
    torch.save({"config": {**AUTO, key: value}, "state_dict": {"w": torch.zeros(1)}}, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=words):
        import_foreign(tmp_path / "model.pt", ImportOptions("m"))


@pytest.fixture(scope="module")
def small(tmp_path_factory, case):
    """A small model of this program, briefly trained."""
    recipe = load_recipe("baseline", ["network.init_filters=8", "network.blocks_down=[1, 1]", "network.blocks_up=[1]",
                                      "network.norm_over='image'", "postprocess.min_component_ml={}"])  # fmt: skip
    torch.manual_seed(0)
    net = nets.build(recipe)
    order = recipe.modalities
    peers.fitted(net, normalised(case, order)[..., :44], peers.targets(case)[[1, 0, 2]], steps=8)
    weights = tmp_path_factory.mktemp("weights") / "w.pt"
    torch.save(net.state_dict(), weights)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BRAINSEG_HOME", str(tmp_path_factory.mktemp("home")))
        return import_model(weights, recipe, "small")


@pytest.fixture(scope="module")
def exported(small, tmp_path_factory):
    """That model as ONNX."""
    pytest.importorskip("onnxscript")
    return export_onnx(small, tmp_path_factory.mktemp("onnx") / "small.onnx")


@pytest.mark.slow
def test_onnx_out_and_in_again_gives_the_answers_of_torch(small, exported, case):
    pytest.importorskip("onnxruntime")
    path = import_foreign(exported, ImportOptions("back"))
    one, other = (Predictor(p, "cpu").predict(case, probabilities=True) for p in (small, path))
    assert np.array_equal(one.segmentation.labels, other.segmentation.labels)
    for region, p in one.probabilities.items():
        assert np.abs(p.astype(np.float32) - other.probabilities[region].astype(np.float32)).max() < 1e-3
    assert "trained" in " ".join(checkpoint.read_metadata(path)[0].known_failures)


@pytest.mark.slow
@pytest.mark.parametrize("whole_tumour", ["false", "true"])
def test_a_second_stage_is_written_too(tmp_path, whole_tumour):
    """Over the whole image: there is no box in a graph. What is written is compared with torch before it is kept."""
    pytest.importorskip("onnxscript")
    recipe = load_recipe("baseline", ["network.init_filters=8", "network.blocks_down=[1, 1]", "network.blocks_up=[1]",
                                      "network.second_stage.filters=[8, 8]",
                                      f"network.second_stage.whole_tumour={whole_tumour}"])  # fmt: skip
    net = nets.build(recipe)
    net.body.conv_final[2].conv.bias.data[:8] = 3.0  # tumour everywhere
    card = checkpoint.Card(name="two", recipe="baseline", modalities=recipe.modalities, regions=recipe.output.regions,
                           parameters=1)  # fmt: skip
    checkpoint.save(tmp_path / "two.safetensors", net.state_dict(), card, recipe)
    written = export_onnx(tmp_path / "two.safetensors", tmp_path / "two.onnx")
    image = np.random.default_rng(1).normal(size=(1, 4, 24, 16, 32)).astype(np.float32)
    logits = session(written.read_bytes()).run(None, {"images": image})[0]
    net.eval().second_stage.everywhere = True
    with torch.no_grad():
        assert np.abs(logits - net(torch.from_numpy(image)).numpy()).max() < 1e-3
        assert (net(torch.from_numpy(image))[:, 0] > 0).float().mean() > 0.9


@pytest.mark.slow
def test_weights_of_its_own_for_a_missing_series_are_left_out(tmp_path, caplog):
    pytest.importorskip("onnxscript")
    recipe = load_recipe("baseline", ["network.init_filters=8", "network.blocks_down=[1, 1]", "network.blocks_up=[1]",
                                      'network.own_weights_without=["flair"]'])  # fmt: skip
    net = nets.build(recipe).eval()
    card = checkpoint.Card(name="own", recipe="baseline", modalities=recipe.modalities, regions=recipe.output.regions,
                           parameters=1)  # fmt: skip
    checkpoint.save(tmp_path / "own.safetensors", net.state_dict(), card, recipe)
    written = export_onnx(tmp_path / "own.safetensors", tmp_path / "own.onnx")
    assert "for studies without FLAIR, which ONNX leaves out" in caplog.text
    image = torch.randn(1, 4, 24, 16, 32, generator=torch.Generator().manual_seed(1))
    for lacks in (False, True):
        image[:, 3] *= not lacks
        logits = session(written.read_bytes()).run(None, {"images": image.numpy()})[0]
        with torch.no_grad():
            assert (np.abs(logits - net(image).numpy()).max() < 1e-3) is not lacks
            net.of_all = True
            assert np.abs(logits - net(image).numpy()).max() < 1e-3
            net.of_all = False


@pytest.mark.slow
def test_onnx_that_tells_nothing_needs_a_recipe(small, exported, tmp_path):
    onnx = pytest.importorskip("onnx")
    bare = onnx.load(str(exported))
    del bare.metadata_props[:]
    onnx.save(bare, str(tmp_path / "bare.onnx"))
    with pytest.raises(CheckpointError, match="--recipe"):
        import_foreign(tmp_path / "bare.onnx", ImportOptions("m"))
    recipe = checkpoint.read_metadata(small)[1]
    import_foreign(tmp_path / "bare.onnx", ImportOptions("m", recipe=recipe))
    wrong = overridden(recipe, ["output.regions=['WT']", "postprocess.thresholds={}"])
    with pytest.raises(CheckpointError, match="answers"):
        import_foreign(tmp_path / "bare.onnx", ImportOptions("n", recipe=wrong))


@pytest.mark.slow
def test_onnx_that_is_damaged_or_keeps_weights_elsewhere_is_refused(exported, tmp_path):
    onnx = pytest.importorskip("onnx")
    (tmp_path / "cut.onnx").write_bytes(exported.read_bytes()[:2000])
    with pytest.raises(CheckpointError, match="refuses"):
        import_foreign(tmp_path / "cut.onnx", ImportOptions("m"))
    graph = onnx.load(str(exported))
    onnx.save(graph, str(tmp_path / "split.onnx"), save_as_external_data=True, size_threshold=0, location="beside")
    with pytest.raises(CheckpointError, match="other files"):
        import_foreign(tmp_path / "split.onnx", ImportOptions("m"))
