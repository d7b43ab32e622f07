"""Recipes: everything that decides what a model is and how it is trained, in one frozen, checked record.

A recipe is read from TOML, travels inside every checkpoint, and refuses what it does not know: an unknown key is named
together with the nearest right one, and a contradiction with both of its values.
"""

from __future__ import annotations

from brainseg_engine.recipe.augmentation import Acquisition, Artefacts, Augmentation
from brainseg_engine.recipe.networks import (
    AttentionUNetConfig,
    GraftConfig,
    MyronenkoConfig,
    NetworkConfig,
    ResidualUNet2dConfig,
    SecondStageConfig,
    SegResNetConfig,
    UNet2dConfig,
)
from brainseg_engine.recipe.networks_of_others import (
    ExternalConfig,
    NnUNetConfig,
    OnnxConfig,
    SegResNetDsConfig,
    SwinUnetrConfig,
)
from brainseg_engine.recipe.reading import load_recipe, overridden, parse_recipe, presets, recipe_names, recipe_text
from brainseg_engine.recipe.schedules import (
    Constant,
    Cosine,
    Halving,
    Optimiser,
    Plateau,
    Poly,
    Schedule,
    StepSchedule,
    TimeDecay,
)
from brainseg_engine.recipe.sections import Loss, Output, Plans, Postprocess, Preprocess, Training, Window
from brainseg_engine.recipe.whole import Recipe

__all__ = [
    "Acquisition", "Artefacts", "AttentionUNetConfig", "Augmentation", "Constant", "Cosine", "ExternalConfig",
    "GraftConfig", "Halving", "Loss", "MyronenkoConfig", "NetworkConfig", "NnUNetConfig", "OnnxConfig",
    "Optimiser", "Output", "Plans", "Plateau", "Poly", "Postprocess", "Preprocess", "Recipe",
    "ResidualUNet2dConfig", "Schedule", "SecondStageConfig", "SegResNetConfig", "SegResNetDsConfig",
    "StepSchedule", "SwinUnetrConfig", "TimeDecay", "Training", "UNet2dConfig", "Window", "load_recipe",
    "overridden", "parse_recipe", "presets", "recipe_names", "recipe_text",
]  # fmt: skip
