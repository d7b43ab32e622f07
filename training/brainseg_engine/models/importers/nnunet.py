"""Trained folders of nnU-Net v2: ``plans.json``, ``dataset.json``, ``fold_X/checkpoint_final.pth``.

Its arrays run z, y, x and may be transposed; here all runs x, y, z, and the kernels are turned once instead. Its answers are
put into the order of the classes here. One that works in two dimensions becomes one in three whose pieces are one slice thick.
Known are the plans of nnU-Net 2.0 to 2.8, plain and residual.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from brainseg_engine.core import labels as codings
from brainseg_engine.core.errors import CheckpointError
from brainseg_engine.core.labels import Label, Region
from brainseg_engine.models.importers import monai_config
from brainseg_engine.models.importers.meaning import classes_of, region_of, series_of
from brainseg_engine.models.importers.nnunet_plans import KNOWN, along, network, plans
from brainseg_engine.models.importers.writing import Foreign, ImportOptions
from brainseg_engine.nets.foreign import read_tree, state_dict
from brainseg_engine.recipe import parse_recipe

CHECKPOINTS = ("checkpoint_final.pth", "checkpoint_best.pth")
_FOLD = re.compile(r"fold_(\d{1,2}|all)")
_FLOATS = [np.dtype, np.float64, np.float32, *(type(np.dtype(t)) for t in (np.float64, np.float32, np.int64))]
_SCALAR: Any = np.float64(0).__reduce__()[0]
ALLOWED: list[Any] = [*_FLOATS, (_SCALAR, "numpy.core.multiarray.scalar"), (_SCALAR, "numpy._core.multiarray.scalar")]
"""Numbers of numpy, in its training log: nothing else besides torch's own plain data."""


def found_in(folder: Path) -> Path | None:
    """The trained folder: here, or the only one below (``TASK/TRAINER__PLANS__CONFIGURATION``)."""
    hits = [
        p.parent for depth in ("", "*/", "*/*/") for p in folder.glob(f"{depth}plans.json") if any(_folds(p.parent))
    ]
    if len(hits) > 1:
        names = ", ".join(str(h.relative_to(folder)) for h in hits)
        raise CheckpointError(f"{folder} holds several trained models of nnU-Net ({names}). Name the folder of one.")
    return hits[0] if hits else None


def read(folder: Path, source: Path, options: ImportOptions) -> Foreign:
    """The folds asked for as one model. Raises CheckpointError for one of another task, or that cannot be understood."""
    where = f"The nnU-Net model {folder.name if source.is_dir() else source.name}"
    planned, dataset = (_json(folder / name, where) for name in ("plans.json", "dataset.json"))
    files = [_checkpoint(at, where) for at in _wanted(folder, options.folds, where)]
    trees = [read_tree(file, ALLOWED) for file in files]
    first = trees[0] if isinstance(trees[0], Mapping) else {}
    configuration = _configuration(first, folder, planned, where)
    channels = dataset.get("channel_names", dataset.get("modality", {}))
    names = [str(channels[k]) for k in sorted(channels, key=lambda k: int(k))] if isinstance(channels, Mapping) else []
    series = series_of(names, where, options.series)
    order, output = _outputs(dataset, options.coding, where)
    axes, prepare = plans(planned, configuration, len(series), where)
    net = network(configuration, axes, where)
    tree = {
        "name": "nnunet",
        "summary": str(dataset.get("description") or dataset.get("name") or planned.get("dataset_name") or "")[:400],
        "source": "Isensee et al. 2021, doi:10.1038/s41592-020-01008-z",
        "modalities": [m.value for m in series],
        "preprocess": {"orientation": "RAS" if "Reorient" in str(planned.get("image_reader_writer")) else "own",
                       "crop": "nonzero"},
        "plans": prepare,
        "window": {
            "policy": "patch", "size": along(axes, configuration["patch_size"], across=1), "overlap": 0.5, "weights": "nnunet",
            "average": "logits", "mirror_axes": _mirrored(first, axes, len(configuration["patch_size"])),
        },
        "network": {**net, "members": len(files)},
        "output": output,
    }  # fmt: skip
    return Foreign(
        parse_recipe(tree, where),
        _state(trees, axes, order, files),
        f"nnU-Net v2 {planned.get('dataset_name', '')} {planned.get('plans_name', '')}, "
        f"{'folds' if len(files) > 1 else 'fold'} {', '.join(f.parent.name.removeprefix('fold_') for f in files)}",
        licence=str(dataset.get("licence") or dataset.get("license") or "")[:400],
        citation="; ".join(str(dataset[k])[:2000] for k in ("reference", "citation") if dataset.get(k))
        or "nnU-Net: Isensee et al. 2021, doi:10.1038/s41592-020-01008-z",
        data=f"{dataset.get('numTraining', 'an unknown number of')} cases of {planned.get('dataset_name', 'its data set')}",
        failures=("It takes axes, brain and background as its training images had them: give it images like these.",),
        bytes_of=tuple(files),
    )


def _json(path: Path, where: str) -> dict[str, Any]:
    if not path.is_file():
        raise CheckpointError(f"{where} has no {path.name}, which says how it is run. Fetch the whole folder.")
    return monai_config.read(path)


def _folds(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if _FOLD.fullmatch(p.name) and p.is_dir())


def _wanted(folder: Path, folds: Sequence[str], where: str) -> list[Path]:
    there = [p for p in _folds(folder) if any((p / name).is_file() for name in CHECKPOINTS)]
    if not folds:
        several = [p for p in there if p.name != "fold_all"]
        found = several or there
    else:
        found = [p for p in there if p.name.removeprefix("fold_") in folds]
    if not found or (folds and len(found) != len(set(folds))):
        names = ", ".join(p.name.removeprefix("fold_") for p in there) or "none with a checkpoint"
        raise CheckpointError(f"{where} has not the folds {', '.join(folds) or 'that are needed'}; there are: {names}.")
    return found


def _checkpoint(fold: Path, where: str) -> Path:
    return next(fold / name for name in CHECKPOINTS if (fold / name).is_file())


def _configuration(tree: Mapping[str, Any], folder: Path, planned: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The configuration it was trained with, what it inherits filled in."""
    given = tree.get("init_args")
    name = given.get("configuration") if isinstance(given, Mapping) else None
    name = name or folder.name.rpartition("__")[2]
    found: Any = planned.get("configurations")
    if not isinstance(found, Mapping) or not isinstance(found.get(name), Mapping):
        raise CheckpointError(f"{where}: its plans have no configuration '{name}'. {KNOWN}")
    chain, seen = dict(found[name]), {name}
    while (parent := chain.pop("inherits_from", None)) is not None:
        if parent in seen or not isinstance(found.get(parent), Mapping):
            raise CheckpointError(f"{where}: its configuration '{name}' inherits from '{parent}', which is not there.")
        seen.add(parent)
        chain = {**found[parent], **chain}
    if chain.get("previous_stage"):
        raise CheckpointError(
            f"{where} is the second stage of a cascade ('{name}'): it takes the answer of '{chain['previous_stage']}' besides "
            f"the images, which is not known here. Give the folder of a configuration that answers alone{_alone(found)}."
        )
    return chain


def _alone(configurations: Mapping[str, Any]) -> str:
    names = [k for k, v in configurations.items() if isinstance(v, Mapping) and not v.get("previous_stage")]
    return f": {' or '.join(names)}" if names else ""


def _mirrored(tree: Mapping[str, Any], axes: Sequence[int], dimensions: int) -> list[str]:
    """The axes x, y, z along which its answers are averaged over mirror images."""
    given = tree.get("inference_allowed_mirroring_axes")
    allowed = [a + 3 - dimensions for a in given] if isinstance(given, tuple | list) else []
    return [name for name, a in zip("xyz", axes, strict=True) if a in allowed]


def _outputs(dataset: Mapping[str, Any], coding: str, where: str) -> tuple[list[int], dict[str, Any]]:
    """(which of its channels stand for each of ours, the recipe's ``output``)."""
    found = dataset.get("labels")
    if not isinstance(found, Mapping) or not found:
        raise CheckpointError(f"{where}: its dataset.json names no labels. Fetch it again.")
    if any(isinstance(v, list) and len(v) > 1 for v in found.values()):
        names = [str(k) for k, v in found.items() if k != "ignore" and v not in (0, [0])]
        regions = [region_of(name) for name in names]
        kept = [(n, r) for n, r in enumerate(regions) if r is not None]
        if {r for _, r in kept} != set(Region) or len(kept) != len(Region):
            raise CheckpointError(
                f"{where} is a model of another task: it answers {', '.join(names)}, and not whole tumour, tumour core and "
                "enhancing tumour, each once."
            )
        return [n for n, _ in kept], {"kind": "regions", "regions": [r.value for _, r in kept]}
    values = {str(k): int(v[0] if isinstance(v, list) else v) for k, v in found.items() if k != "ignore"}
    if coding:
        by_value = {v: label for v, label in codings.coding(coding).values.items() if label}
        classes = {label: v for v, label in by_value.items()}
    else:
        classes = classes_of(values, where)
    wanted = [Label.NCR, Label.ED, Label.ET, *([Label.RC] if Label.RC in classes else [])]
    if set(classes) != set(wanted) or set(classes.values()) != set(values.values()) - {0}:
        raise CheckpointError(
            f"{where} labels {', '.join(f'{v} {k}' for k, v in values.items())}: necrotic core, oedema and enhancing tumour are "
            "needed, and no others but a resection cavity."
        )
    channel = {value: n for n, value in enumerate(sorted(set(values.values()) | {0}))}
    output = {"kind": "classes", "cavity": Label.RC in classes}
    return [0, *(channel[classes[label]] for label in wanted)], output


def _state(
    trees: Sequence[Any], axes: Sequence[int], order: Sequence[int], files: Sequence[Path]
) -> dict[str, torch.Tensor]:
    """Weights under the names here: once each, kernels along x, y, z, answers in our order."""
    out: dict[str, torch.Tensor] = {}
    for member, (tree, file) in enumerate(zip(trees, files, strict=True)):
        state = state_dict(tree)
        if state is None:
            raise CheckpointError(f"{file} holds no weights of nnU-Net ('network_weights'). Fetch it again.")
        for key, tensor in state.items():
            if ".all_modules." in key or key.startswith("decoder.encoder."):
                continue  # the same tensors under second names
            if tensor.ndim == 4:
                tensor = tensor.unsqueeze(2)
            if tensor.ndim == 5:
                tensor = tensor.permute(0, 1, *(2 + a for a in axes))
            if ".seg_layers." in key:
                if max(order) >= tensor.shape[0]:
                    raise CheckpointError(f"{file} gives {tensor.shape[0]} answers, fewer than its dataset.json names.")
                tensor = tensor[list(order)]
            out[f"members.{member}.{key}"] = tensor.contiguous()
    return out
