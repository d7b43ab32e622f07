"""What the channels of a bundle's answer are: regions, each for itself, or classes of which the most probable one counts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from brainseg_engine.core import labels as codings
from brainseg_engine.core.errors import CheckpointError
from brainseg_engine.core.labels import Label
from brainseg_engine.models.importers.meaning import class_of, classes_of, regions_of
from brainseg_engine.models.importers.monai_config import Config

_BACKGROUND = re.compile(r"background|bg|normal( brain)?", re.IGNORECASE)
_NUMBER = re.compile(r"\D{0,10}\d{1,2}")
"""A name that says nothing, like "label 1"."""
_HEAD = re.compile(r"conv_final\.2\.conv\.|\.head\.|out\.conv\.conv\.|model\.2\.conv\.")
"""The layers of MONAI's networks that answer."""


@dataclass(frozen=True)
class AnswerChannels:
    """Sections of the recipe, and for classes which of the bundle's channels stands for each of ours."""

    output: Mapping[str, Any]
    loss: Mapping[str, Any]
    postprocess: Mapping[str, Any] = field(default_factory=dict)
    order: tuple[int, ...] = ()

    @property
    def channels(self) -> int:
        """How many the network gives."""
        return len(self.order) or len(self.output["regions"])

    def in_order(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor of that name, its channels in our order where it is one that answers."""
        if not self.order or not _HEAD.search(name) or not tensor.ndim or tensor.shape[0] != len(self.order):
            return tensor
        return tensor[list(self.order)].contiguous()


def answers(names: Sequence[str], config: Config, coding: str, where: str) -> AnswerChannels:
    """What channels of these names are. Raises CheckpointError for another task, or an answer that is made in another way."""
    way, threshold = _way(config)
    backgrounds = [n for n, name in enumerate(names) if _BACKGROUND.fullmatch(name.strip())]
    tumour = coding or any(class_of(name) is not None or _NUMBER.fullmatch(name) for name in names)
    if backgrounds == [0] and len(names) > 2 and tumour:
        if way == "each for itself":
            raise CheckpointError(
                f"{config.path}: its channels are classes beside a background, made by a sigmoid each, which is not known here."
            )
        return _of_classes(names, coding, where)
    regions = regions_of(names, where)
    if way == "the most probable":
        raise CheckpointError(
            f"{config.path}: its answers are no independent regions (softmax in Activationsd, or argmax in AsDiscreted), and no "
            "classes with a background first either."
        )
    return AnswerChannels(
        {"kind": "regions", "regions": [r.value for r in regions]}, {"dice": 1.0, "squared": True, "cross_entropy": 0.0},
        {"threshold": threshold},
    )  # fmt: skip


def _of_classes(names: Sequence[str], coding: str, where: str) -> AnswerChannels:
    if coding:
        values = codings.coding(coding).values
        found = {label: value for value, label in values.items() if label}
    else:
        found = classes_of({name: n for n, name in enumerate(names)}, where)
    wanted = [Label.NCR, Label.ED, Label.ET, *([Label.RC] if Label.RC in found else [])]
    if set(found) != set(wanted) or sorted(found.values()) != list(range(1, len(names))):
        raise CheckpointError(
            f"{where} gives {', '.join(names)}: background, necrotic core, oedema and enhancing tumour are needed, and no others "
            "but a resection cavity. If it gives them under other names, say which: --coding 1=ED,2=NCR,3=ET."
        )
    return AnswerChannels(
        {"kind": "classes", "cavity": Label.RC in found}, {"dice": 1.0, "cross_entropy": 1.0},
        order=(0, *(found[label] for label in wanted)),
    )  # fmt: skip


def _way(config: Config) -> tuple[str, float]:
    """("each for itself", "the most probable" or "" where it does not say; the threshold of probabilities)."""
    pipeline = config.tree.get("postprocessing")
    transforms = pipeline.get("transforms") if isinstance(pipeline, Mapping) else None
    way, threshold = "", 0.5
    for transform in transforms if isinstance(transforms, list) else []:
        if not isinstance(transform, Mapping):
            continue
        name = str(transform.get("_target_", "")).rsplit(".", 1)[-1]
        if name == "Activationsd":
            way = "each for itself" if config.plain(transform.get("sigmoid", False), name) else "the most probable"
        if name == "AsDiscreted" and config.plain(transform.get("argmax", False), name):
            way = "the most probable"
        if name == "AsDiscreted" and "threshold" in transform:
            threshold = config.plain(transform["threshold"], name)
    return way, threshold
