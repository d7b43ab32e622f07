"""MONAI bundles of brain tumour networks (``brats_mri_segmentation`` and its like): folder or unpacked ``.zip``.

Read are ``configs/metadata.json`` (channels, licence), ``configs/inference.json`` (network, preparation, window) and
``models/model.pt``. BraTS bundles name neither axes nor spacing: they mean BraTS' own, LPS at 1 mm, and get it here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from brainseg_engine.core.errors import CheckpointError
from brainseg_engine.models.importers import monai_config, monai_networks
from brainseg_engine.models.importers.bundle_answers import answers
from brainseg_engine.models.importers.meaning import series_of
from brainseg_engine.models.importers.monai_config import Config
from brainseg_engine.models.importers.writing import Foreign, ImportOptions
from brainseg_engine.nets.foreign import read_weights
from brainseg_engine.recipe import Recipe, parse_recipe

CONFIGS = ("inference.json", "inference.yaml", "inference.yml", "evaluate.json")
Set = Callable[[dict[str, Any], dict[str, Any]], None]
"""(arguments of a transform, recipe's preprocess section so far): notes what it means."""


def found_in(folder: Path) -> Path | None:
    """The bundle in that folder, or in its only subfolder."""
    for at in (folder, *sorted(p for p in folder.iterdir() if p.is_dir())):
        if (at / "configs" / "metadata.json").is_file():
            return at
    return None


def read(folder: Path, source: Path, options: ImportOptions) -> Foreign:
    """The bundle as a recipe and weights. Raises CheckpointError for one of another task, or that cannot be understood."""
    metadata = monai_config.read(folder / "configs" / "metadata.json")
    where = f"The bundle {source.name}"
    inputs, outputs = _channels(metadata, "inputs"), _channels(metadata, "outputs")
    path = next((p for name in CONFIGS if (p := folder / "configs" / name).is_file()), None)
    if path is None:
        raise CheckpointError(f"{where} has no configs/inference.json, which says how it is run. Fetch it again.")
    config = Config(path)
    given = answers(outputs, config, options.coding, where)
    series = series_of(inputs, where, options.series)
    network, keys = monai_networks.of(
        config, "network_def", "network", "net", inputs=len(series), outputs=given.channels
    )
    prepare = _preparation(config)
    tree = {
        "name": "monai_bundle",
        "summary": str(metadata.get("description") or metadata.get("task") or "")[:400],
        "source": "; ".join(_texts(metadata.get("references")))[:2000],
        "modalities": [m.value for m in series],
        "preprocess": prepare,
        "window": _window(config),
        "network": network,
        "output": given.output,
        "loss": given.loss,
        "postprocess": given.postprocess,
    }
    recipe: Recipe = parse_recipe(tree, where)
    weights = _weights(folder, where)
    return Foreign(
        recipe,
        {keys(k): given.in_order(k, v) for k, v in read_weights(weights).items()},
        f"MONAI bundle {metadata.get('name', source.name)} {metadata.get('version', '')}".strip(),
        licence=_licence(folder, metadata),
        citation="; ".join(_texts(metadata.get("references")))[:4000],
        data=str(metadata.get("data_source") or "")[:1000],
        version=str(metadata.get("version") or "1")[:40],
        failures=_failures(prepare, metadata),
        bytes_of=(weights,),
    )


def _channels(metadata: Mapping[str, Any], side: str) -> list[str]:
    """The names of the channels of the only input, or of the only answer, in order."""
    found = metadata.get("network_data_format", {}) if isinstance(metadata, Mapping) else {}
    found = found.get(side, {}) if isinstance(found, Mapping) else {}
    one: Any = next(iter(found.values()), {}) if isinstance(found, Mapping) else {}
    names = one.get("channel_def", {}) if isinstance(one, Mapping) else {}
    if isinstance(names, Mapping) and names and all(str(k).isdigit() for k in names):
        return [str(names[k]) for k in sorted(names, key=lambda k: int(str(k)))]
    count = one.get("num_channels", 0) if isinstance(one, Mapping) else 0
    return ["" for _ in range(count)] if isinstance(count, int) and 0 < count < 20 else []


def _preparation(config: Config) -> dict[str, Any]:
    """The recipe's ``preprocess`` section."""
    section: dict[str, Any] = {
        "orientation": "LPS", "spacing_mm": 1.0, "crop": "none", "normalise": "none", "clip_percentiles": [0, 100],
    }  # fmt: skip
    pipeline = config.tree.get("preprocessing")
    transforms = pipeline.get("transforms") if isinstance(pipeline, Mapping) else None
    if not isinstance(transforms, list):
        raise CheckpointError(f"{config.path}: there is no list 'preprocessing', which says how images are prepared.")
    for n, transform in enumerate(transforms):
        name, arguments = config.component(transform, f"preprocessing.{n}", TRANSFORMS, "transform")
        if name:
            TRANSFORMS[name](config.plain(arguments, name), section)
    return section


def _normalised(arguments: dict[str, Any], section: dict[str, Any]) -> None:
    if not arguments.get("nonzero") or not arguments.get("channel_wise"):
        raise CheckpointError(
            "The bundle normalises over whole images or all series at once (NormalizeIntensityd without nonzero and "
            "channel_wise), which is not known here."
        )
    if arguments.get("subtrahend") is not None or arguments.get("divisor") is not None:
        raise CheckpointError("The bundle normalises by fixed numbers (NormalizeIntensityd), which is not known here.")
    section["normalise"] = "zscore"


def _oriented(arguments: dict[str, Any], section: dict[str, Any]) -> None:
    codes = arguments.get("axcodes")
    if codes not in ("RAS", "LPS"):
        raise CheckpointError(f"The bundle turns images to '{codes}' (Orientationd); RAS and LPS are known here.")
    section["orientation"] = codes


def _spaced(arguments: dict[str, Any], section: dict[str, Any]) -> None:
    given = arguments.get("pixdim")
    sides = given if isinstance(given, list) else [given]
    if len(set(map(str, sides))) != 1 or not isinstance(sides[0], int | float):
        raise CheckpointError(f"The bundle resamples to {given} mm (Spacingd); one side for all axes is known here.")
    if section["normalise"] != "none":
        raise CheckpointError("The bundle resamples after it normalises (Spacingd), which is not known here.")
    section["spacing_mm"] = float(sides[0])


def _cropped(arguments: dict[str, Any], section: dict[str, Any]) -> None:
    margin = arguments.get("margin", 0)
    if not isinstance(margin, int):
        raise CheckpointError(
            f"The bundle leaves a margin of {margin} (CropForegroundd); one number for all sides is known here."
        )
    section["crop"], section["margin_voxels"] = "nonzero", margin


def _by_percentiles(arguments: dict[str, Any], section: dict[str, Any]) -> None:
    to = (arguments.get("b_min"), arguments.get("b_max"))
    if to != (0, 1) or not arguments.get("clip", False) or not arguments.get("channel_wise", False):
        raise CheckpointError(
            "The bundle scales intensities (ScaleIntensityRangePercentilesd) to other values than 0 and 1, unclipped, or all "
            "series at once, which is not known here."
        )
    section["normalise"] = "percentiles"
    section["clip_percentiles"] = [arguments.get("lower", 0), arguments.get("upper", 100)]


def _nothing(arguments: dict[str, Any], section: dict[str, Any]) -> None:
    """Reading, typing and padding are this program's own affair."""


TRANSFORMS: Mapping[str, Set] = {
    **{f"{name}d": _nothing for name in (
        "LoadImage", "EnsureChannelFirst", "EnsureType", "CastToType", "ToTensor", "ConcatItems", "DivisiblePad", "AddChannel",
        "AsChannelFirst", "SelectItems", "ToDevice",
    )},
    "NormalizeIntensityd": _normalised,
    "Orientationd": _oriented,
    "Spacingd": _spaced,
    "CropForegroundd": _cropped,
    "ScaleIntensityRangePercentilesd": _by_percentiles,
}  # fmt: skip


def _window(config: Config) -> dict[str, Any]:
    """The recipe's ``window`` section."""
    name, arguments = config.component(
        config.tree.get("inferer"), "inferer", {"SlidingWindowInferer": 0, "SimpleInferer": 0}, "inferer"
    )
    arguments = config.plain(arguments, "inferer")
    if name == "SimpleInferer":
        return {"policy": "brain", "largest": [512, 512, 512], "average": "logits"}
    return sliding(arguments.get("roi_size"), arguments, config.path)


def sliding(roi: Any, arguments: Mapping[str, Any], where: Path | str) -> dict[str, Any]:
    """The ``window`` section for MONAI's sliding window of that size."""
    sides = [roi] * 3 if isinstance(roi, int) else roi
    if not isinstance(sides, Sequence) or len(sides) != 3 or not all(isinstance(s, int) and s > 0 for s in sides):
        raise CheckpointError(f"{where}: roi_size is {roi}; three positive numbers are expected.")
    mode, overlap = str(arguments.get("mode", "constant")).lower(), arguments.get("overlap", 0.25)
    if mode not in ("constant", "gaussian") or not isinstance(overlap, int | float):
        raise CheckpointError(f"{where}: the window's mode '{mode}' or overlap '{overlap}' is not known here.")
    if mode == "gaussian" and arguments.get("sigma_scale", 0.125) != 0.125:
        raise CheckpointError(f"{where}: sigma_scale {arguments['sigma_scale']} is not known here; 0.125 is.")
    return {
        "policy": "patch", "size": list(sides), "overlap": float(overlap), "steps": "fixed", "weights": mode, "average": "logits",
    }  # fmt: skip


def _weights(folder: Path, where: str) -> Path:
    found = [p for name in ("model.pt", "model.safetensors", "model.pth") if (p := folder / "models" / name).is_file()]
    if not found:
        raise CheckpointError(
            f"{where} has no models/model.pt, as it is when a bundle was fetched without its large files. Fetch it whole."
        )
    return found[0]


def _licence(folder: Path, metadata: Mapping[str, Any]) -> str:
    """The licence in words: by its name where the file is a known one, else its first lines."""
    said = str(metadata.get("license") or metadata.get("licence") or "")
    path = next((p for name in ("LICENSE", "LICENSE.txt", "docs/license.txt") if (p := folder / name).is_file()), None)
    try:
        text = path.read_text(encoding="utf-8", errors="replace")[:100_000] if path is not None else ""
    except OSError:
        text = ""
    if not said and "Apache License" in text and "Version 2.0" in text:
        said = "Apache-2.0"
    said = said or " ".join(text.split())[:200] or str(metadata.get("copyright") or "")[:200]
    of_data = (folder / "docs" / "data_license.txt").is_file()
    return f"{said}; its data have terms of their own (docs/data_license.txt of the bundle)" if of_data else said


def _failures(prepare: Mapping[str, Any], metadata: Mapping[str, Any]) -> tuple[str, ...]:
    use = str(metadata.get("intended_use") or "")[:300]
    needs = "It was made for skull-stripped, co-registered series at 1 mm: others are prepared so first."
    return (*((use,) if use else ()), *((needs,) if prepare["spacing_mm"] == 1.0 else ()))


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [str(v) for v in value] if isinstance(value, list) else []
