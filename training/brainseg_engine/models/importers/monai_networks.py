"""The networks of MONAI's configurations that are known here: their arguments → a recipe's network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from brainseg_engine.core.errors import CheckpointError
from brainseg_engine.models.importers.monai_config import Config

Known = tuple[str, Mapping[str, str], Mapping[str, tuple[Any, ...]]]
"""(recipe's network, argument → its key there, argument → the values that are the network's own here)."""
_RELU = ("relu", "RELU", ["RELU", {"inplace": True}], ["relu", {"inplace": True}])
_GROUP = ("group", "GROUP", ["GROUP", {"num_groups": 8}], ["group", {"num_groups": 8}])

NETWORKS: Mapping[str, Known] = {
    "SegResNet": (
        "segresnet",
        {"init_filters": "init_filters", "blocks_down": "blocks_down", "blocks_up": "blocks_up", "dropout_prob": "dropout"},
        {"act": _RELU, "norm": _GROUP, "norm_name": ("",), "num_groups": (8,), "use_conv_final": (True,),
         "upsample_mode": ("nontrainable",)},
    ),
    "SegResNetDS": (
        "segresnet_ds",
        {"init_filters": "init_filters", "blocks_down": "blocks_down", "norm": "norm", "dsdepth": "depth",
         "upsample_mode": "upsample"},
        {"act": _RELU, "blocks_up": (None,), "preprocess": (None,), "resolution": (None,)},
    ),
    "SwinUNETR": (
        "swin_unetr",
        {"feature_size": "feature_size", "depths": "depths", "num_heads": "heads", "use_v2": "second_version"},
        {"norm_name": ("instance",), "normalize": (True,), "downsample": ("merging",), "img_size": (), "use_checkpoint": (),
         "drop_rate": (), "attn_drop_rate": (), "dropout_path_rate": ()},
    ),
    "AttentionUnet": (
        "attention_unet",
        {"channels": "channels", "dropout": "dropout"},
        {"kernel_size": (3,), "up_kernel_size": (3,), "strides": ((2, 2, 2, 2), [2, 2, 2, 2])},
    ),
}  # fmt: skip
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "SegResNet": {"init_filters": 8, "fold": 1},
    "SegResNetDS": {"blocks_down": [1, 2, 2, 4], "depth": 1},
    "SwinUNETR": {"feature_size": 24},
    "AttentionUnet": {},
}
"""MONAI's own where its configuration says nothing and the recipe's differ."""


def of(config: Config, *keys: str, inputs: int, outputs: int) -> tuple[dict[str, Any], Callable[[str], str]]:
    """(the recipe's network section, name of a tensor there → here). Raises CheckpointError for another network, or settings
    of one that are not known here."""
    value = next((config.tree[k] for k in keys if isinstance(config.tree.get(k), Mapping)), None)
    name, given = config.component(value, keys[0], NETWORKS, "network")
    arguments = config.plain(given, keys[0])
    return section(name, arguments, str(config.path), inputs, outputs), lambda key: f"body.{key}"


def section(name: str, arguments: Mapping[str, Any], where: str, inputs: int, outputs: int) -> dict[str, Any]:
    """The recipe's network section for one of :data:`NETWORKS`. Raises CheckpointError."""
    kind, keys, fixed = NETWORKS[name]
    found: dict[str, Any] = {"name": kind, **DEFAULTS[name]}
    expected = {"in_channels": inputs, "out_channels": outputs, "spatial_dims": 3}
    for argument, value in arguments.items():
        if argument in keys:
            if value is not None:
                found[keys[argument]] = value
        elif argument in expected:
            if value != expected[argument]:
                raise CheckpointError(
                    f"{where}: the network's {argument} is {value}, and {expected[argument]} would fit its channels. It is a "
                    "model of other series or regions."
                )
        elif argument not in fixed or (fixed[argument] and value not in fixed[argument]):
            raise CheckpointError(f"{where}: {name} with {argument} = {value!r} is not known here.")
    if kind == "segresnet_ds":
        _norm(found, where)
    return found


def _norm(found: dict[str, Any], where: str) -> None:
    """``norm`` as MONAI writes it, a name or a name and its settings → the recipe's."""
    given = found.get("norm", "batch")
    kind, settings = (given[0], given[1]) if isinstance(given, list) and len(given) == 2 else (given, {})
    found["norm"] = str(kind).lower()
    if (
        not isinstance(settings, Mapping)
        or set(settings) - {"affine", "num_groups"}
        or settings.get("num_groups", 8) != 8
    ):
        raise CheckpointError(f"{where}: the normalisation {given} is not known here.")
    found["norm_affine"] = bool(settings.get("affine", True))
