"""The sections of a recipe besides the network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from brainseg_engine.core.labels import Region
from brainseg_engine.recipe.section import Fraction, RecipeSection

Range = tuple[float, float]
Side = Annotated[int, Field(ge=1, le=1024)]
"""Of an array of voxels."""
Ghosts = Annotated[int, Field(ge=0, le=1000)]
Sides = tuple[Side, Side, Side]
Margin = tuple[Annotated[int, Field(ge=0, le=1024)], Annotated[int, Field(ge=0, le=1024)]]


class Preprocess(RecipeSection):
    """What happens to the images before the network: axes, resampling, crop, normalisation; undone for the answer."""

    orientation: Literal["RAS", "LPS"] = "RAS"
    """Along which directions the axes of the network's array run. BraTS files lie in LPS."""
    spacing_mm: float | None = Field(default=1.0, ge=0.1, le=10)
    """Isotropic voxel side the network works at; 0 in a file, None here: the study's own."""
    resize_to: Sides | None = None
    """Squeeze or stretch to this shape (x, y, z), whatever that does to proportions, as some published systems do."""
    crop: Literal["brain", "margins", "centre", "none"] = "brain"
    """To the box of the voxels that are not 0; by fixed ``margins``; to ``centre_size`` about the centre; or not at all."""
    margins: tuple[Margin, Margin, Margin] = ((0, 0), (0, 0), (0, 0))
    """Voxels cut off before resampling at the low and the high end of x, y, z."""
    centre_size: Sides | None = None
    margin_voxels: int = Field(default=2, ge=0, le=256)
    """Kept around the brain's box."""
    normalise: Literal["zscore", "minmax", "percentiles", "slice_zscore", "none"] = "zscore"
    """``zscore``: clip to percentiles of the brain's voxels, then mean 0 and standard deviation 1 over them, 0 outside.
    ``minmax``: the whole volume's smallest and largest value to 0 and 1. ``percentiles``: the whole volume's percentiles
    to 0 and 1, clipped. ``slice_zscore``: per axial slice, clip to percentiles of all its pixels, standardise over those
    that are not 0, and ``background`` where the slice has its smallest value."""
    clip_percentiles: Range = (0.1, 99.9)
    background: float = 0.0

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        low, high = self.clip_percentiles
        if not 0 <= low < high <= 100:
            raise ValueError(f"clip_percentiles must rise within 0…100, not {low}, {high}")
        if self.resize_to is not None and self.spacing_mm not in (None, 1.0):
            raise ValueError(
                f"resize_to is {list(self.resize_to)} and spacing_mm is {self.spacing_mm}: give one of them"
            )
        if (self.crop == "centre") != (self.centre_size is not None):
            raise ValueError(
                f"crop is '{self.crop}' and centre_size is {self.centre_size}: 'centre' needs it, others do not"
            )
        if self.crop != "margins" and any(n for pair in self.margins for n in pair):
            raise ValueError(f"margins is {self.margins}, but crop is '{self.crop}'")
        return self


class Window(RecipeSection):
    """How large a piece the network sees at once.

    ``brain``: the whole box in one pass, in training and in use alike; a box beyond ``largest`` is cut into overlapping
    tiles. ``patch``: training on random pieces of ``size`` (x, y, z), use on overlapping tiles of that size. ``slice``:
    axial slices; training on random pieces of ``size`` (x, y) or, without a size, on whole ones; use on whole ones. A net
    with group or instance normalisation answers differently when the window changes, so the policy belongs to the model.
    """

    policy: Literal["brain", "patch", "slice"] = "brain"
    size: Sides | tuple[Side, Side] | None = None
    largest: Sides = (208, 240, 208)
    overlap: Fraction = Field(default=0.25, ge=0, le=0.9)
    samples_per_case: int = Field(default=1, ge=1, le=10_000)
    """Pieces drawn from a case in an epoch (``patch``, and ``slice`` with a size)."""
    foreground: Fraction = Field(default=0.0, ge=0, le=1)
    """Share of pieces, or of whole slices, that are centred on a tumour voxel."""
    mirror: bool = False
    """In use: the answer is averaged with that for the image mirrored left to right, where ``tta`` does not ask for more."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if min(self.largest) < 16:
            raise ValueError(f"largest must be at least 16 voxels along every axis, not {list(self.largest)}")
        n = 0 if self.size is None else len(self.size)
        if n not in {"brain": (0,), "patch": (3,), "slice": (0, 2)}[self.policy]:
            wants = {"brain": "no size", "patch": "a size of three numbers", "slice": "a size of two numbers or none"}
            raise ValueError(f"policy '{self.policy}' takes {wants[self.policy]}, not {self.size}")
        return self


class Output(RecipeSection):
    """What the channels mean: independent sigmoid ``regions``, nested when they become labels; or softmax ``classes``
    (background, NCR, ED, ET)."""

    kind: Literal["regions", "classes"] = "regions"
    regions: tuple[Region, ...] = (Region.WT, Region.TC, Region.ET)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len(set(self.regions)) != len(self.regions) or not self.regions:
            raise ValueError(f"regions must be distinct and not empty, not {[str(r) for r in self.regions]}")
        if self.kind == "classes" and self.regions != tuple(Region):
            raise ValueError(f"kind 'classes' tells all of WT, TC, ET, and regions is {[str(r) for r in self.regions]}")
        return self

    @property
    def channels(self) -> int:
        """Of the network's answer."""
        return 4 if self.kind == "classes" else len(self.regions)


class Loss(RecipeSection):
    """A weighted sum; a term of weight 0 is left out. Probabilities p, targets g, sums over voxels.

    ``dice``: 1 − (2 Σpg + s) / (Σp + Σg + s), the mean over what ``pooling`` keeps apart. ``cross_entropy``: binary for
    regions, categorical for classes. ``generalised_dice``: Sudre 2017 (arXiv:1707.03237). ``reconstruction`` and ``kl``:
    the autoencoder branch of Myronenko 2018.
    """

    dice: float = Field(default=1.0, ge=0)
    squared: bool = False
    """Squares in Dice's denominator (V-Net), or none."""
    smooth: float = Field(default=1e-5, ge=0)
    """s above."""
    pooling: Literal["case", "batch", "all"] = "case"
    """Sums per case and channel; per channel over the batch; or one over everything."""
    background: bool = False
    """Classes: whether the background's Dice counts as well."""
    cross_entropy: float = Field(default=1.0, ge=0)
    class_weights: tuple[float, float, float, float] | None = None
    """Of the cross-entropy: background, NCR, ED, ET."""
    generalised_dice: float = Field(default=0.0, ge=0)
    absent_classes: Literal["published", "dropped"] = "dropped"
    """Generalised Dice: a class that a batch lacks has the weight 1e7, which drowns all others; or none."""
    reconstruction: float = Field(default=0.0, ge=0)
    kl: float = Field(default=0.0, ge=0)
    kl_over: Literal["voxels", "latents"] = "voxels"
    """What the Kullback–Leibler sum is divided by: the image's voxels (paper) or the latent numbers."""

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.dice == 0 and self.cross_entropy == 0 and self.generalised_dice == 0:
            raise ValueError("dice, cross_entropy and generalised_dice are all 0: there is nothing to minimise")
        return self


class Optimiser(RecipeSection):
    """AdamW (Loshchilov & Hutter 2019), Adam, Nadam or stochastic gradient descent, as torch has them."""

    name: Literal["adamw", "adam", "nadam", "sgd"] = "adamw"
    learning_rate: float = Field(default=1e-3, gt=0)
    """At its peak; the schedule multiplies it."""
    weight_decay: float = Field(default=1e-4, ge=0)
    clip_norm: float | None = Field(default=1.0, gt=0)
    """Gradients are scaled down to this norm; 0 in a file, None here: not at all."""
    momentum: float | None = Field(default=None, ge=0, lt=1)
    nesterov: bool = False

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.name != "sgd" and (self.momentum is not None or self.nesterov):
            raise ValueError(f"momentum and nesterov belong to sgd, and name is '{self.name}'")
        if self.nesterov and not self.momentum:
            raise ValueError(f"nesterov needs a momentum above 0, not {self.momentum}")
        return self


class Cosine(RecipeSection):
    """Linear warm-up, then half a cosine down to ``floor`` times the peak, over steps."""

    name: Literal["cosine"] = "cosine"
    warmup_steps: int = Field(default=100, ge=0)
    floor: Fraction = Field(default=0.01, ge=0, le=1)


class Poly(RecipeSection):
    """(1 − epoch / epochs)^power (Myronenko 2018); over steps where the run is given in steps."""

    name: Literal["poly"] = "poly"
    power: float = Field(default=0.9, gt=0)
    warmup_steps: int = Field(default=0, ge=0)


class StepSchedule(RecipeSection):
    """× ``gamma`` at every ``every_epochs``-th epoch, or at each of ``milestones``."""

    name: Literal["step"] = "step"
    every_epochs: int | None = Field(default=None, ge=1)
    milestones: tuple[int, ...] = ()
    gamma: float = Field(default=0.1, gt=0, le=1)

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.every_epochs is None) == (not self.milestones):
            raise ValueError(f"give one of every_epochs ({self.every_epochs}) and milestones ({list(self.milestones)})")
        return self


class Plateau(RecipeSection):
    """× ``factor`` when the mean loss of ``patience_epochs`` epochs has brought no new minimum."""

    name: Literal["plateau"] = "plateau"
    patience_epochs: int = Field(default=50, ge=1)
    factor: float = Field(default=0.1, gt=0, lt=1)


class Halving(RecipeSection):
    """× ``factor``^(epoch // ``every_epochs``), applied anew to what is left at each epoch: far quicker than it looks (the
    repository AghdamAmir/… does this; its rate is frozen from about epoch 11 on)."""

    name: Literal["halving"] = "halving"
    factor: float = Field(default=0.5, gt=0, lt=1)
    every_epochs: int = Field(default=4, ge=1)


class TimeDecay(RecipeSection):
    """At the start of every epoch, the first included, the rate × ``epoch_factor`` and ``decay`` × ``decay_factor``;
    within it the rate is divided by 1 + decay · iteration, as Keras does (Issam28/Brain-tumor-segmentation)."""

    name: Literal["time_decay"] = "time_decay"
    decay: float = Field(default=5e-6, ge=0)
    epoch_factor: float = Field(default=0.1, gt=0, le=1)
    decay_factor: float = Field(default=10.0, ge=1)


class Constant(RecipeSection):
    """The peak, always."""

    name: Literal["constant"] = "constant"


Schedule = Annotated[
    Cosine | Poly | StepSchedule | Plateau | Halving | TimeDecay | Constant,
    Field(discriminator="name"),
]


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


class Training(RecipeSection):
    """The loop."""

    epochs: int = Field(default=100, ge=1)
    batch_size: int = Field(default=1, ge=1, le=4096)
    """Samples an optimiser step, over all devices together."""
    accumulate: int = Field(default=1, ge=1, le=4096)
    """In how many parts a device takes its share of the batch, one after the other: less memory, the same gradient (but for
    batch normalisation and losses pooled over the batch, which see a part). Whole brains always go one by one."""
    ema_decay: Fraction = Field(default=0.995, ge=0, lt=1)
    """Exponential moving average of the weights, which is what is validated and kept; 0 for none."""
    validate_every_steps: int = Field(default=250, ge=1)
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"
    parts: Literal["all", "decoder", "head"] = "all"
    """Which weights are trained, of a network that starts from a model: all; the decoder and the head; or the head and the
    normalisation layers."""
    pull: float = Field(default=0.0, ge=0)
    """L2-SP (Li 2018, arXiv:1802.01483): pull · ½ Σ (w − w₀)² is added to the loss, w₀ the weights it started from."""

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"batch_size {self.batch_size} cannot be taken in {self.accumulate} equal parts (accumulate)"
            )
        return self


class Postprocess(RecipeSection):
    """Probabilities → labels."""

    threshold: Fraction = Field(default=0.5, gt=0, lt=1)
    """Of a region's probability; classes take the largest instead."""
    thresholds: Mapping[Region, float] = Field(default_factory=dict)
    """Region → its own."""
    min_component_ml: Mapping[Region, float] = Field(default_factory=dict)
    """Region → connected components below that volume are removed."""
    min_et_ml: float = Field(default=0.0, ge=0)
    """An enhancing tumour of less than this in all becomes core (a rule of BraTS teams against false ones); 0: never."""

    @model_validator(mode="after")
    def _thresholds(self) -> Self:
        wrong = next((f"{r} = {t}" for r, t in self.thresholds.items() if not 0 < t < 1), None)
        if wrong:
            raise ValueError(f"thresholds must lie between 0 and 1, not {wrong}")
        return self
