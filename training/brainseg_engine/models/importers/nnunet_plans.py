"""nnU-Net's plans → the preparation and the network of a recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from brainseg_engine.core.errors import CheckpointError

KNOWN = "Known are the plans of nnU-Net 2.0 to 2.8 in 3D and 2D, plain or with residual encoders; this may be a newer version."
NORMALISATION = {"ZScoreNormalization": "zscore", "RescaleTo01Normalization": "unit", "NoNormalization": "none"}
_PREPROCESSOR = "DefaultPreprocessor"
_RESAMPLED = "resample_data_or_seg_to_shape"
_NOT_RESAMPLED = "no_resampling_data_or_seg_to_shape"
ENCODERS = {"PlainConvUNet": "plain", "ResidualEncoderUNet": "residual"}


def plans(
    planned: Mapping[str, Any], configuration: Mapping[str, Any], channels: int, where: str
) -> tuple[list[int], dict[str, Any]]:
    """(for each of x, y, z: which axis of nnU-Net's arrays it is; the recipe's ``plans``)."""
    forward = planned.get("transpose_forward", [0, 1, 2])
    spacing = configuration.get("spacing", [])
    if sorted(forward) != [0, 1, 2] or len(spacing) not in (2, 3) or len(spacing) != len(configuration["patch_size"]):
        raise CheckpointError(f"{where} has plans that are not understood. {KNOWN}")
    axes = [list(forward).index(2 - x) for x in range(3)]
    preprocessor = configuration.get("preprocessor_name", _PREPROCESSOR)
    if preprocessor != _PREPROCESSOR:
        raise CheckpointError(f"{where} prepares images by '{preprocessor}', which is not known here. {KNOWN}")
    data = _resampling(configuration, "data", where)
    back = _resampling(configuration, "probabilities", where)
    if (data is None) != (back is None):
        raise CheckpointError(f"{where} resamples images or answers only, which is not known here. {KNOWN}")
    if data is not None and back is not None and data.get("force_separate_z") != back.get("force_separate_z"):
        raise CheckpointError(
            f"{where} resamples thick slices of images and answers in different ways (force_separate_z), which is not known "
            f"here. {KNOWN}"
        )
    found: dict[str, Any] = {
        "spacing_mm": along(axes, spacing, across=None),
        "normalise": _normalisations(configuration, channels, where),
        "resample": data is not None,
    }
    if data is not None and back is not None:
        found |= {
            "order": data.get("order", 3), "order_across": data.get("order_z", 0), "order_back": back.get("order", 1),
            "order_back_across": back.get("order_z", 0), "apart": data.get("force_separate_z"),
        }  # fmt: skip
    return axes, found


def along(axes: Sequence[int], values: Sequence[Any], across: Any) -> list[Any]:
    """Values along nnU-Net's axes → along x, y, z. Two values are those within slices, which run along its first axis: there it
    is ``across``."""
    three = [across, *values] if len(values) == 2 else list(values)
    return [three[a] for a in axes]


def _resampling(configuration: Mapping[str, Any], what: str, where: str) -> dict[str, Any] | None:
    """How it resamples, None for not at all."""
    name = configuration.get(f"resampling_fn_{what}", _RESAMPLED)
    if name == _NOT_RESAMPLED:
        return None
    if name != _RESAMPLED:
        raise CheckpointError(f"{where} resamples by '{name}', which is not known here. {KNOWN}")
    given = configuration.get(f"resampling_fn_{what}_kwargs", {})
    if not isinstance(given, Mapping):
        raise CheckpointError(
            f"{where} resamples with '{given}' (resampling_fn_{what}_kwargs), which is not known here. {KNOWN}"
        )
    return dict(given)


def _normalisations(configuration: Mapping[str, Any], channels: int, where: str) -> list[str]:
    schemes = configuration.get("normalization_schemes", [])
    masked = configuration.get("use_mask_for_norm", [False] * channels)
    if len(schemes) != channels or len(masked) != channels:
        raise CheckpointError(
            f"{where} normalises {len(schemes)} channels, and its dataset.json names {channels}: it takes other series."
        )
    strange = [s for s in schemes if s not in NORMALISATION]
    if strange:
        ct = " (it is made for CT)" if "CTNormalization" in strange else ""
        raise CheckpointError(f"{where} normalises by '{strange[0]}'{ct}, which is not known here. {KNOWN}")
    return [
        "zscore_brain" if scheme == "ZScoreNormalization" and mask else NORMALISATION[scheme]
        for scheme, mask in zip(schemes, masked, strict=True)
    ]


def network(configuration: Mapping[str, Any], axes: Sequence[int], where: str) -> dict[str, Any]:
    """The recipe's ``network`` section."""
    try:
        found = _newer(configuration, where) if "architecture" in configuration else _older(configuration, where)
    except (KeyError, TypeError, IndexError) as e:
        raise CheckpointError(f"{where}: its plans do not say what network it is ({e!r}). {KNOWN}") from e
    return {
        **found,
        "kernels": [along(axes, kernel, across=1) for kernel in found["kernels"]],
        "strides": [along(axes, stride, across=1) for stride in found["strides"]],
    }


def _newer(configuration: Mapping[str, Any], where: str) -> dict[str, Any]:
    """From nnU-Net 2.4 on: the class of the network and its arguments."""
    architecture = configuration["architecture"]
    encoder = _encoder(str(architecture["network_class_name"]).rsplit(".", 1)[-1], where)
    given = dict(architecture["arch_kwargs"])
    stages, dimensions = given.pop("n_stages"), len(configuration["patch_size"])
    _require_usual(given, dimensions, where)
    blocks = given["n_blocks_per_stage" if encoder == "residual" else "n_conv_per_stage"]
    return {
        "name": "nnunet",
        "encoder": encoder,
        "features": _each(given["features_per_stage"], stages),
        "kernels": [_sides(k, dimensions) for k in _each(given["kernel_sizes"], stages)],
        "strides": [_sides(s, dimensions) for s in _each(given["strides"], stages)],
        "blocks": _each(blocks, stages),
        "blocks_up": _each(given["n_conv_per_stage_decoder"], stages - 1),
        "bias": bool(given.get("conv_bias", False)),
    }


def _require_usual(given: Mapping[str, Any], dimensions: int, where: str) -> None:
    """Raise CheckpointError for layers other than nnU-Net's usual ones."""
    usual: Mapping[str, tuple[Any, ...]] = {
        "conv_op": (f"torch.nn.modules.conv.Conv{dimensions}d",),
        "norm_op": (f"torch.nn.modules.instancenorm.InstanceNorm{dimensions}d",),
        "norm_op_kwargs": ({"eps": 1e-05, "affine": True},),
        "dropout_op": (None,),
        "nonlin": ("torch.nn.LeakyReLU", "torch.nn.modules.activation.LeakyReLU"),
        "nonlin_kwargs": (None, {}, {"inplace": True}),
        "nonlin_first": (False,),
        "stem_channels": (None,),
        "bottleneck_channels": (None,),
        "block": ("dynamic_network_architectures.building_blocks.residual.BasicBlockD",),
    }
    sizes = {
        "features_per_stage", "kernel_sizes", "strides", "n_conv_per_stage", "n_blocks_per_stage", "n_conv_per_stage_decoder",
        "conv_bias", "dropout_op_kwargs",
    }  # fmt: skip
    for key, value in given.items():
        if key not in sizes and value not in usual.get(key, ()):
            raise CheckpointError(f"{where}: its network has {key} = {value!r}, which is not known here. {KNOWN}")


def _older(configuration: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Up to nnU-Net 2.3: widths by a rule."""
    encoder = _encoder(str(configuration["UNet_class_name"]), where)
    kernels, strides = configuration["conv_kernel_sizes"], configuration["pool_op_kernel_sizes"]
    base, most = configuration["UNet_base_num_features"], configuration["unet_max_num_features"]
    blocks, dimensions = configuration["n_conv_per_stage_encoder"], len(configuration["patch_size"])
    return {
        "name": "nnunet",
        "encoder": encoder,
        "features": [min(base * 2**n, most) for n in range(len(kernels))],
        "kernels": [_sides(k, dimensions) for k in kernels],
        "strides": [_sides(s, dimensions) for s in strides],
        "blocks": _each(blocks, len(kernels)),
        "blocks_up": _each(configuration["n_conv_per_stage_decoder"], len(kernels) - 1),
        "bias": True,
    }


def _encoder(name: str, where: str) -> str:
    if name not in ENCODERS:
        raise CheckpointError(f"{where} is of the network '{name}', which is not known here. {KNOWN}")
    return ENCODERS[name]


def _each(value: Any, n: int) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value] * n


def _sides(value: Any, dimensions: int) -> list[int]:
    return [value] * dimensions if isinstance(value, int) else list(value)
