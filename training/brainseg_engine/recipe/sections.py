"""The sections of a recipe besides the network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from brainseg_engine.core.labels import Region
from brainseg_engine.recipe.section import Fraction, Range, RecipeSection

Side = Annotated[int, Field(ge=1, le=1024)]
"""Of an array of voxels."""
Sides = tuple[Side, Side, Side]
Margin = tuple[Annotated[int, Field(ge=0, le=1024)], Annotated[int, Field(ge=0, le=1024)]]


class Preprocess(RecipeSection):
    """What happens to the images before the network: axes, resampling, crop, normalisation; undone for the answer."""

    orientation: Literal["RAS", "LPS", "own"] = "RAS"
    """Along which directions the axes of the network's array run: BraTS files lie in LPS; ``own``: as each file lies."""
    spacing_mm: float | None = Field(default=1.0, ge=0.1, le=10)
    """Isotropic voxel side the network works at; 0 in a file, None here: the study's own."""
    resize_to: Sides | None = None
    """Squeeze or stretch to this shape (x, y, z), whatever that does to proportions, as some published systems do."""
    crop: Literal["brain", "nonzero", "margins", "centre", "none"] = "brain"
    """To the box of the voxels that are not 0, strays and air left out (``brain``) or just as the files are (``nonzero``); by
    fixed ``margins``; to ``centre_size`` about the centre; or not at all."""
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
    mirror_axes: Annotated[tuple[Literal["x", "y", "z"], ...], Field(max_length=3)] = ()
    """In use: each tile's answer is averaged over all its mirror images along these axes, as nnU-Net does."""
    steps: Literal["even", "fixed"] = "even"
    """How tiles lie: evenly spaced (as nnU-Net's), or in steps of one size, the last one pushed back to fit (as MONAI's)."""
    weights: Literal["bell", "constant", "gaussian", "nnunet"] = "bell"
    """Of the voxels of a tile where tiles overlap; ``gaussian`` as MONAI's, ``nnunet`` as nnU-Net's."""
    average: Literal["probabilities", "logits"] = "probabilities"
    """What overlapping tiles, and ``mirror_axes``, are averaged as."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if min(self.largest) < 16:
            raise ValueError(f"largest must be at least 16 voxels along every axis, not {list(self.largest)}")
        n = 0 if self.size is None else len(self.size)
        if n not in {"brain": (0,), "patch": (3,), "slice": (0, 2)}[self.policy]:
            wants = {"brain": "no size", "patch": "a size of three numbers", "slice": "a size of two numbers or none"}
            raise ValueError(f"policy '{self.policy}' takes {wants[self.policy]}, not {self.size}")
        return self


Normalisation = Literal["zscore", "zscore_brain", "unit", "none"]


class Plans(RecipeSection):
    """Preparation as nnU-Net v2 does it (Isensee 2021, doi:10.1038/s41592-020-01008-z): the box of what is not 0, each channel
    normalised, then resampled by splines; the answer's logits come back by splines too. Axes are x, y, z."""

    spacing_mm: tuple[Annotated[float, Field(ge=0.05, le=20)] | None, ...] = Field(min_length=3, max_length=3)
    """None for an axis that stays as it is: that of the slices, of a network that works in two dimensions."""
    normalise: tuple[Normalisation, ...]
    """Of each channel: standardised over the box, or over the voxels of the brain alone; to 0…1; or as it is."""
    order: int = Field(default=3, ge=0, le=5)
    order_across: int = Field(default=0, ge=0, le=5)
    """Of the splines across thick slices, which are resampled apart from the others."""
    order_back: int = Field(default=1, ge=0, le=5)
    order_back_across: int = Field(default=0, ge=0, le=5)
    apart: bool | None = None
    """Whether the axis of thick slices is resampled apart; None: where its voxels are more than 3 times as long."""
    resample: bool = True


class Output(RecipeSection):
    """What the channels mean: independent sigmoid ``regions``, nested when they become labels; or softmax ``classes``
    (background, NCR, ED, ET, and the resection cavity where there is a ``cavity``)."""

    kind: Literal["regions", "classes"] = "regions"
    regions: tuple[Region, ...] = (Region.WT, Region.TC, Region.ET)
    cavity: bool = False

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len(set(self.regions)) != len(self.regions) or not self.regions:
            raise ValueError(f"regions must be distinct and not empty, not {[str(r) for r in self.regions]}")
        if self.kind == "classes" and self.regions != tuple(Region):
            raise ValueError(f"kind 'classes' tells all of WT, TC, ET, and regions is {[str(r) for r in self.regions]}")
        if self.cavity and self.kind != "classes":
            raise ValueError(f"cavity is a class, and kind is '{self.kind}'")
        return self

    @property
    def channels(self) -> int:
        """How many channels the network's answer has."""
        return 4 + self.cavity if self.kind == "classes" else len(self.regions)


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
    target: str = Field(default="", max_length=200)
    """A term of one's own: ``module:name`` or an entry point of the group ``brainseg.losses``, a function of logits and targets,
    both (N, K, *spatial) float32, that gives a scalar; "" for none."""
    target_weight: float = Field(default=1.0, ge=0)

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.dice == 0 and self.cross_entropy == 0 and self.generalised_dice == 0 and not self.target:
            raise ValueError("dice, cross_entropy and generalised_dice are all 0: there is nothing to minimise")
        return self


class Training(RecipeSection):
    """How long the training loop runs, on what batches, and which of the weights it changes."""

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
    """Where the hardware would only imitate the shorter numbers, 32-true is used instead."""
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
    """How probabilities become labels: from which threshold on, and what is too small to stay."""

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
