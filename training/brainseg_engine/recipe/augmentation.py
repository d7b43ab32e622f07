"""What a recipe does to training cases: augmentation, and the artefacts and acquisitions it imitates."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from brainseg_engine.recipe.section import Fraction, Range, RecipeSection

Ghosts = Annotated[int, Field(ge=0, le=1000)]


class Artefacts(RecipeSection):
    """Exactly one of ``kinds``, at equal odds, in a share of the samples; the parameters are those of system fajan-py.

    Ghosting, spike, bias field and motion are drawn anew for each modality; the elastic field is one for all and the labels.
    """

    probability: Fraction = Field(default=0.0, ge=0, le=1)
    kinds: tuple[Literal["ghosting", "spike", "bias_field", "motion", "elastic"], ...] = (
        "ghosting", "spike", "bias_field", "motion", "elastic",
    )  # fmt: skip
    library: Literal["tensor", "torchio"] = "tensor"
    """Tensor operations, on the training's device; or TorchIO's own transforms, slower, where fidelity counts."""
    ghosts: tuple[Ghosts, Ghosts] = (4, 10)
    ghosting_intensity: Range = (0.5, 0.5)
    spike_intensity: Range = (-1.0, 1.0)
    bias_coefficient: float = Field(default=0.5, ge=0)
    bias_order: int = Field(default=3, ge=1, le=5)
    motion_rotation_deg: float = Field(default=10.0, ge=0)
    motion_translation_mm: float = Field(default=10.0, ge=0)
    motion_movements: int = Field(default=2, ge=1, le=100)
    elastic_points: int = Field(default=7, ge=5, le=50)
    elastic_mm: float = Field(default=7.5, ge=0)

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.probability and not self.kinds:
            raise ValueError(f"probability is {self.probability} and kinds is empty")
        return self


class Acquisition(RecipeSection):
    """What hospitals' series have and challenges' series have not, for each series on its own.

    Each is a probability: of each series for ``thick``, of the sample for the others.
    """

    thick: Fraction = Field(default=0.0, ge=0, le=1)
    """The series was acquired in slices of ``thick_mm`` along a random axis, and resampled."""
    thick_mm: Range = (3.0, 7.0)
    gap: Fraction = Field(default=0.3, ge=0, lt=1)
    """At most this part of a slice's distance is not excited."""
    cut: Fraction = Field(default=0.0, ge=0, le=1)
    """One series' field of view ends inside the head: at most ``cut_part`` of the brain is missing at one side."""
    cut_part: Fraction = Field(default=0.35, gt=0, lt=1)
    missing: Fraction = Field(default=0.0, ge=0, le=1)
    """One series, or two, are not there (0)."""
    moved: Fraction = Field(default=0.0, ge=0, le=1)
    """One series is misregistered by up to ``moved_mm`` along and ``moved_deg`` about each axis."""
    moved_mm: float = Field(default=3.0, ge=0)
    moved_deg: float = Field(default=3.0, ge=0)
    quantised: Fraction = Field(default=0.0, ge=0, le=1)
    """Intensities in 32 to 256 steps."""
    stripped: Fraction = Field(default=0.0, ge=0, le=1)
    """The skull was taken off together with up to ``stripped_mm`` of brain (what tumour lay there counts as background), or with
    as much of what is around the brain left, in all series alike."""
    stripped_mm: float = Field(default=4.0, gt=0)
    """Along the axes; up to 1.7 times as much where the surface lies obliquely."""


class Augmentation(RecipeSection):
    """Random changes of a training sample; probabilities per sample, intensity changes per modality."""

    flip: Fraction = Field(default=0.5, ge=0, le=1)
    flip_axes: tuple[Literal["x", "y", "z"], ...] = ("x", "y", "z")
    """Each mirrored on its own with the probability ``flip``; x is left–right. Slices have no z."""
    affine: Fraction = Field(default=0.5, ge=0, le=1)
    rotation_deg: float = Field(default=15.0, ge=0)
    scale: Range = (0.85, 1.15)
    intensity: Fraction = Field(default=0.8, ge=0, le=1)
    shift: float = Field(default=0.2, ge=0)
    contrast: Range = (0.75, 1.3)
    gamma: Fraction = Field(default=0.3, ge=0, le=1)
    gamma_range: Range = (0.7, 1.4)
    bias_field: Fraction = Field(default=0.25, ge=0, le=1)
    noise: Fraction = Field(default=0.2, ge=0, le=1)
    noise_sd: float = Field(default=0.15, ge=0)
    blur: Fraction = Field(default=0.15, ge=0, le=1)
    dose: Fraction = Field(default=0.0, ge=0, le=1)
    """Contrast agent: T1ce is moved along its difference from T1, as if less or more of it had been given."""
    dose_range: Range = (0.4, 1.25)
    transplant: Fraction = Field(default=0.0, ge=0, le=1)
    """Another training case's lesion is put into this one's brain (CarveMix, Zhang 2021, arXiv:2108.06883); whole brains
    only."""
    acquisition: Acquisition = Acquisition()
    artefacts: Artefacts = Artefacts()
    on: Literal["auto", "workers", "device"] = "auto"
    """Where it is done: by the loader's workers on the CPU, or by the training's device; auto: on a GPU where there is one."""

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        for key in ("scale", "contrast", "gamma_range", "dose_range"):
            low, high = getattr(self, key)
            if not 0 < low <= high:
                raise ValueError(f"{key} must be two positive numbers that rise, not {low}, {high}")
        return self
