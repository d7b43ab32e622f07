"""Checkpoints of MONAI's Auto3DSeg (``SegResNetDS``, as SlicerMONAIAuto3DSeg distributes them for BraTS 2023).

The checkpoint holds weights and its configuration; the latter is read as data (the program it is from would run it).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brainseg_engine.core.errors import CheckpointError
from brainseg_engine.models.importers import monai_networks
from brainseg_engine.models.importers.bundle import sliding
from brainseg_engine.models.importers.meaning import regions_of, series_of
from brainseg_engine.models.importers.writing import Foreign, ImportOptions
from brainseg_engine.nets.foreign import read_tree, state_dict
from brainseg_engine.recipe import parse_recipe

ORDER = ("T2F", "T1C", "T1N", "T2W")
OVERLAP = 0.625


def found_in(folder: Path) -> Path | None:
    """The checkpoint in that folder, where it is the only one."""
    files = sorted(p for pattern in ("*.pt", "*.pth", "*/*.pt", "*/*/*.pt") for p in folder.glob(pattern))
    return files[0] if len(files) == 1 and knows(files[0]) else None


def knows(file: Path) -> bool:
    """Whether the checkpoint brings its own configuration. Raises CheckpointError for a file that is damaged or unsafe."""
    return _configuration(read_tree(file)) is not None


def read(file: Path, source: Path, options: ImportOptions) -> Foreign:
    """The checkpoint as a recipe and weights. Raises CheckpointError for another task, or settings that are not known here."""
    where = f"The checkpoint {source.name}"
    tree = read_tree(file)
    config, state = _configuration(tree), state_dict(tree)
    if config is None or state is None:
        raise CheckpointError(f"{where} holds no configuration or no weights of Auto3DSeg. Fetch it again.")
    regions = _regions(config, where)
    series = series_of(ORDER, where, options.series)
    network = config["network"]
    name = str(network.get("_target_", "")).rsplit(".", 1)[-1]
    if name != "SegResNetDS":
        raise CheckpointError(f"{where} is of the network '{name}', and of Auto3DSeg SegResNetDS is known here.")
    given = {k: v for k, v in network.items() if not k.startswith("_") and not _reference(v)}
    recipe = {
        "name": "auto3dseg",
        "summary": "SegResNet with deep supervision, trained by MONAI's Auto3DSeg.",
        "source": "MONAI Auto3DSeg; Myronenko et al. 2023",
        "modalities": [m.value for m in series],
        "preprocess": _preparation(config, where),
        "window": sliding(config.get("roi_size"), {"overlap": OVERLAP, "mode": "gaussian"}, where),
        "network": monai_networks.section(name, given, where, len(series), len(regions)),
        "output": {"kind": "regions", "regions": regions},
        "loss": {"dice": 1.0, "squared": True, "cross_entropy": 1.0},
    }
    return Foreign(
        parse_recipe(recipe, where),
        {f"body.{k}": v for k, v in state.items()},
        f"MONAI Auto3DSeg, {source.name}",
        citation="Myronenko et al. 2023, Auto3DSeg for Brain Tumor Segmentation from 3D MRI in BraTS 2023 Challenge",
        data="BraTS, of which part and year its file name tells",
        failures=("It was made for skull-stripped, co-registered series at 1 mm: others are prepared so first.",),
        bytes_of=(file,),
    )


def _configuration(tree: Any) -> dict[str, Any] | None:
    config = tree.get("config") if isinstance(tree, Mapping) else None
    return dict(config) if isinstance(config, Mapping) and isinstance(config.get("network"), Mapping) else None


def _reference(value: Any) -> bool:
    """Whether it names another value: channels, which the weights tell too."""
    return isinstance(value, str) and value.startswith(("@", "$@"))


def _regions(config: Mapping[str, Any], where: str) -> list[str]:
    """The regions in the order of its answers."""
    if not config.get("sigmoid", False):
        raise CheckpointError(f"{where} gives classes and no independent regions (sigmoid), which is not known here.")
    names = config.get("class_names")
    if not isinstance(names, list):
        raise CheckpointError(f"{where} does not name its answers (class_names): which region each is cannot be known.")
    return [
        r.value for r in regions_of([str(n.get("name", "") if isinstance(n, Mapping) else n) for n in names], where)
    ]


def _preparation(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The recipe's ``preprocess`` section."""
    spacing = config.get("resample_resolution") if config.get("resample") else [1.0, 1.0, 1.0]
    if not isinstance(spacing, list | tuple) or len(set(spacing)) != 1:
        raise CheckpointError(f"{where} works at {spacing} mm; one side for all axes is known here.")
    if config.get("normalize_mode") != "meanstd" or config.get("intensity_bounds"):
        raise CheckpointError(
            f"{where} normalises by '{config.get('normalize_mode')}', within {config.get('intensity_bounds')}; 'meanstd' without "
            "bounds is known here."
        )
    crop = {"crop": "nonzero", "margin_voxels": 10} if config.get("crop_foreground", True) else {"crop": "none"}
    return {
        "orientation": "RAS", "spacing_mm": float(spacing[0]), "normalise": "zscore", "clip_percentiles": [0, 100], **crop,
    }  # fmt: skip
