"""One whole recipe, and what in it would contradict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import Field, model_validator

from brainseg_engine.core.labels import Region
from brainseg_engine.core.study import Modality, SeriesNeeded
from brainseg_engine.recipe.augmentation import Augmentation
from brainseg_engine.recipe.networks import GraftConfig, MyronenkoConfig, NetworkConfig, SegResNetConfig
from brainseg_engine.recipe.networks_of_others import ExternalConfig
from brainseg_engine.recipe.schedules import Cosine, Optimiser, Schedule
from brainseg_engine.recipe.section import RecipeSection
from brainseg_engine.recipe.sections import Loss, Output, Plans, Postprocess, Preprocess, Training, Window

DEFAULT_NAMES = {"network": "segresnet", "schedule": "cosine"}
"""Sections that come in kinds → the kind meant when a file names none."""


class Recipe(RecipeSection):
    """One whole recipe: data, network, training and what becomes of the answer."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]*$")
    preset: str = ""
    """Which of its file's presets this is; "" where it has but one."""
    summary: str = ""
    source: str = ""
    modalities: tuple[Modality, ...] = (Modality.T1, Modality.T1CE, Modality.T2, Modality.FLAIR)
    may_lack: tuple[Modality, ...] = ()
    """These may be missing from a study; the network then sees 0 in their place."""
    lacks_at_most: int = Field(default=1, ge=1, le=3)
    """As many of ``may_lack`` at once."""
    needs_one_of: tuple[Modality, ...] = ()
    """At least one of these must be there."""
    preprocess: Preprocess = Preprocess()
    plans: Plans | None = None
    """Where images are prepared as nnU-Net does it; of ``preprocess`` the orientation alone counts then."""
    window: Window = Window()
    network: NetworkConfig = SegResNetConfig()
    output: Output = Output()
    loss: Loss = Loss()
    optimiser: Optimiser = Optimiser()
    schedule: Schedule = Cosine()
    augmentation: Augmentation = Augmentation()
    training: Training = Training()
    postprocess: Postprocess = Postprocess()

    @model_validator(mode="before")
    @classmethod
    def _kinds(cls, tree: Any) -> Any:
        """Name the kind of a section that does not, and read the zeros of TOML, which has no null, as "not at all"."""
        if not isinstance(tree, Mapping):
            return tree
        tree = dict(tree)
        for section, kind in DEFAULT_NAMES.items():
            if isinstance(tree.get(section), Mapping):
                tree[section] = {"name": kind, **tree[section]}
        for section, key in (("preprocess", "spacing_mm"), ("optimiser", "clip_norm")):
            given = tree.get(section)
            if isinstance(given, Mapping) and given.get(key, 1) == 0:
                tree[section] = {**given, key: None}
        return tree

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.modalities)) != len(self.modalities) or not self.modalities:
            raise ValueError(f"modalities must be distinct and not empty, not {[str(m) for m in self.modalities]}")
        if not set(self.may_lack) <= set(self.modalities) or (self.may_lack and len(self.modalities) == 1):
            raise ValueError(
                f"may_lack is {[str(m) for m in self.may_lack]}, and modalities {[str(m) for m in self.modalities]}"
            )
        for key in ("min_component_ml", "thresholds"):
            strange = set(getattr(self.postprocess, key)) - set(self.output.regions)
            if strange:
                raise ValueError(
                    f"postprocess.{key} names {sorted(strange)}, but output.regions is {list(self.output.regions)}"
                )
        if self.augmentation.dose and not {Modality.T1, Modality.T1CE} <= set(self.modalities):
            raise ValueError(
                f"augmentation.dose is {self.augmentation.dose} and needs t1 and t1ce, but modalities is "
                f"{[str(m) for m in self.modalities]}"
            )
        if (
            isinstance(self.network, SegResNetConfig)
            and self.network.norm_over == "brain"
            and self.output.kind != "regions"
        ):
            raise ValueError(f"network.norm_over 'brain' needs output.kind 'regions', not '{self.output.kind}'")
        own = self.network.own_weights_without if isinstance(self.network, SegResNetConfig) else ()
        if not set(own) <= set(self.may_lack):
            raise ValueError(
                f"network.own_weights_without is {[str(m) for m in own]}, which may_lack must name too, and it is "
                f"{[str(m) for m in self.may_lack]}"
            )
        if isinstance(self.network, SegResNetConfig) and self.network.second_stage is not None:
            regions = self.output.regions if self.output.kind == "regions" else ()
            if len(regions) < 2 or regions[0] != Region.WT:
                raise ValueError(
                    "network.second_stage needs output.kind 'regions' and output.regions that begin with WT and name another "
                    f"one, not '{self.output.kind}' and {list(self.output.regions)}"
                )
        if self.plans is not None and len(self.plans.normalise) != len(self.modalities):
            raise ValueError(
                f"plans.normalise has {len(self.plans.normalise)} entries, and modalities {len(self.modalities)}"
            )
        self._check_window()
        self._check_loss()
        return self

    @property
    def needed(self) -> SeriesNeeded:
        """The series that it works on."""
        return SeriesNeeded(self.modalities, self.may_lack, self.lacks_at_most, self.needs_one_of)

    def for_use(self) -> Self:
        """What travels in a model: without what only the start of a training read, which may be a path on its machine."""
        if not isinstance(self.network, GraftConfig):
            return self
        network = self.network.model_copy(update={"trunk_weights": None, "freeze_trunk": False})
        return self.model_copy(update={"network": network})

    def _check_window(self) -> None:
        net, window = self.network, self.window
        if (net.dimensions == 2) != (window.policy == "slice"):
            raise ValueError(
                f"network.name '{net.name}' works in {net.dimensions}D and window.policy is '{window.policy}': 2D networks "
                "see slices, and only they do"
            )
        if self.augmentation.transplant and window.policy != "brain":
            raise ValueError(
                f"augmentation.transplant {self.augmentation.transplant} needs window.policy 'brain', not '{window.policy}'"
            )
        divisor = net.training_divisor if isinstance(net, MyronenkoConfig) else net.divisor
        if isinstance(net, MyronenkoConfig) and net.autoencoder and window.policy != "patch":
            raise ValueError(f"network.autoencoder needs a fixed size: window.policy 'patch', not '{window.policy}'")
        if isinstance(net, GraftConfig) and window.policy != "patch":
            raise ValueError(
                f"network.name '{net.name}' has a fixed depth: window.policy 'patch', not '{window.policy}'"
            )
        if window.size is None:
            return
        for axis, side, multiple, least in zip("xyz", window.size, divisor, net.smallest, strict=False):
            fixed = isinstance(net, GraftConfig) and axis == "z"
            if side % multiple or side < least or (fixed and side != multiple):
                must = f"must be {multiple}" if fixed else f"must be a multiple of {multiple} and at least {least}"
                raise ValueError(
                    f"window.size {list(window.size)}: along {axis} it {must} for network.name '{net.name}'"
                )

    def _check_loss(self) -> None:
        loss, net = self.loss, self.network
        if isinstance(net, ExternalConfig) and self.training.parts != "all":
            raise ValueError(
                f"training.parts is '{self.training.parts}', and which weights of network.target '{net.target}' that means "
                "is not known: it can only be 'all'"
            )
        branch = isinstance(net, MyronenkoConfig) and net.autoencoder
        if not branch and (loss.reconstruction or loss.kl):
            raise ValueError(
                f"loss.reconstruction {loss.reconstruction} and loss.kl {loss.kl} need an autoencoder branch, which "
                f"network.name '{net.name}' does not have here"
            )
        if self.output.kind == "regions" and (loss.generalised_dice or loss.class_weights or loss.background):
            raise ValueError(
                "loss.generalised_dice, loss.class_weights and loss.background are for output.kind 'classes', not 'regions'"
            )
