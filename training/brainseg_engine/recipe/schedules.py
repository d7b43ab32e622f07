"""The optimiser of a recipe, and how its learning rate changes."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from brainseg_engine.recipe.section import Fraction, RecipeSection


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
    """The peak learning rate from the first step to the last."""

    name: Literal["constant"] = "constant"


Schedule = Annotated[
    Cosine | Poly | StepSchedule | Plateau | Halving | TimeDecay | Constant,
    Field(discriminator="name"),
]
