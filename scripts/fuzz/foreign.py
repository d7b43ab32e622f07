"""The doors of other programs' models: their configurations are changed, their weights are sound."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from changes import door, json_changed, value_changed

Case = Callable[[random.Random], None]


def _brought(source: Path) -> None:
    from brainseg_engine.models.importers import ImportOptions, import_foreign

    door(import_foreign, source, ImportOptions("m", force=True))


def _changed(files: list[Path], source: Path) -> Case:
    """Most cases have one file changed."""
    sound = {file: file.read_bytes() for file in files}

    def one(r: random.Random) -> None:
        file = r.choice(files)
        file.write_bytes(json_changed(sound[file], r))
        _brought(source)
        file.write_bytes(sound[file])

    return one


def bundles(folder: Path) -> Case:
    """A bundle of MONAI."""
    import torch
    from helpers import peers
    from monai.networks.nets import SegResNet

    at = peers.bundle(folder / "b")
    net = SegResNet(in_channels=4, out_channels=3, blocks_down=[1, 2], blocks_up=[1], init_filters=8)
    torch.save(net.state_dict(), at / "models" / "model.pt")
    return _changed([at / "configs" / name for name in ("metadata.json", "inference.json")], at)


def bundle_classes(folder: Path) -> Case:
    """A bundle of MONAI that answers in classes."""
    import torch
    from helpers import peers
    from monai.networks.nets import SegResNet

    given = {"in_channels": 4, "out_channels": 4, "blocks_down": [1, 2], "blocks_up": [1], "init_filters": 8}
    names = ("background", "edema", "non-enhancing tumor", "enhancing tumour")
    series = {str(n): name for n, name in enumerate(("T1c", "T1", "T2", "FLAIR"))}
    at = peers.bundle(
        folder / "b", network_def={"_target_": "SegResNet", **given},
        network_data_format={"inputs": {"image": {"channel_def": series}},
                             "outputs": {"pred": {"channel_def": {str(n): name for n, name in enumerate(names)}}}},
        postprocessing={"transforms": [{"_target_": "Activationsd", "softmax": True},
                                       {"_target_": "AsDiscreted", "argmax": True}]},
    )  # fmt: skip
    torch.save(SegResNet(**given).state_dict(), at / "models" / "model.pt")
    return _changed([at / "configs" / name for name in ("metadata.json", "inference.json")], at)


def nnunet(folder: Path) -> Case:
    """A trained folder of nnU-Net."""
    return _nnunet(folder / "T__P__3d_fullres", (24, 40, 32), (1.0, 1.0, 1.0))


def nnunet_2d(folder: Path) -> Case:
    """A trained folder of nnU-Net that works in two dimensions."""
    return _nnunet(folder / "T__P__2d", (40, 32), (1.0, 1.0))


def _nnunet(at: Path, patch: tuple[int, ...], spacing: tuple[float, ...]) -> Case:
    import torch
    from helpers import peers

    from brainseg_engine.nets.nnunet import UNet
    from brainseg_engine.recipe import NnUNetConfig

    (at / "fold_0").mkdir(parents=True)
    (at / "plans.json").write_text(json.dumps(peers.nnunet_plans(patch=patch, spacing=spacing)))
    (at / "dataset.json").write_text(json.dumps(peers.nnunet_dataset()))
    config = NnUNetConfig(
        features=(8, 16, 24), kernels=((3, 3, 1), (3, 3, 3), (3, 3, 3)), strides=((1, 1, 1), (2, 2, 1), (2, 2, 2)),
        blocks=(1, 1, 1), blocks_up=(1, 1),
    )  # fmt: skip
    weights = {k: v.permute(0, 1, 4, 3, 2) if v.ndim == 5 else v for k, v in UNet(4, 3, config).state_dict().items()}
    if len(patch) == 2:
        weights = {k: v[:, :, v.shape[2] // 2] if v.ndim == 5 else v for k, v in weights.items()}
    tree = {"network_weights": weights, "init_args": {"configuration": at.name.rpartition("__")[2]}}
    torch.save(tree, at / "fold_0" / "checkpoint_final.pth")
    return _changed([at / "plans.json", at / "dataset.json"], at)


def auto3dseg(folder: Path) -> Case:
    """A checkpoint of Auto3DSeg, which holds its configuration."""
    import torch
    from monai.networks.nets import SegResNetDS

    network = {"_target_": "SegResNetDS", "init_filters": 8, "blocks_down": [1, 1], "norm": "INSTANCE", "in_channels": 4,
               "out_channels": 3, "dsdepth": 2}  # fmt: skip
    config: dict[str, Any] = {
        "network": network, "sigmoid": True, "class_names": [{"name": n} for n in ("whole_tumor", "tumor_core", "et")],
        "roi_size": [32, 40, 24], "resample": True, "resample_resolution": [1.0, 1.0, 1.0], "normalize_mode": "meanstd",
    }  # fmt: skip
    net = SegResNetDS(in_channels=4, out_channels=3, init_filters=8, blocks_down=(1, 1), norm="INSTANCE", dsdepth=2)
    state = net.state_dict()

    def one(r: random.Random) -> None:
        torch.save({"config": value_changed(config, r), "state_dict": state}, folder / "model.pt")
        _brought(folder / "model.pt")

    return one


def onnx_metadata(folder: Path) -> Case:
    """An ONNX file whose metadata hold recipe and card."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    from brainseg_engine.models.importers.onnx import CARD, RECIPE
    from brainseg_engine.recipe import load_recipe

    sides = ["x", "y", "z"]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["images", "w"], ["logits"])],
        "g",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 4, *sides])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 3, *sides])],
        [numpy_helper.from_array(np.zeros((3, 4, 1, 1, 1), np.float32), "w")],
    )
    recipe = load_recipe("baseline").model_dump_json().encode()
    card = json.dumps({"licence": "MIT", "terms": "", "citation": "x", "data": "y"}).encode()

    def one(r: random.Random) -> None:
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        texts = {RECIPE: recipe, CARD: card}
        which = r.choice(list(texts))
        texts[which] = json_changed(texts[which], r)
        for key, text in texts.items():
            entry = model.metadata_props.add()
            entry.key, entry.value = key, text.decode("utf-8", "replace")
        shutil.rmtree(folder / "o", ignore_errors=True)
        (folder / "o").mkdir()
        onnx.save(model, str(folder / "o" / "m.onnx"))
        _brought(folder / "o" / "m.onnx")

    return one


FOREIGN = (bundles, bundle_classes, nnunet, nnunet_2d, auto3dseg, onnx_metadata)
