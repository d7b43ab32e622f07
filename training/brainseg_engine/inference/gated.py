"""A fine-tuned model that keeps the base model beside it: each study is answered by the one whose studies it resembles."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from brainseg_engine import nets
from brainseg_engine.core.errors import CheckpointError
from brainseg_engine.inference.appearance import OF_A_SERIES, Gate, features
from brainseg_engine.models.checkpoint import Checkpoint
from brainseg_engine.recipe import Recipe


class Gated(torch.nn.Module):
    """Two networks of one recipe: ``tuned`` for studies like the corrected ones (the gate's own), ``base`` for all others.

    After the expert gate of Aljundi 2017 (arXiv:1611.06194). A study's whole image decides, before it is cut into tiles.
    """

    def __init__(self, tuned: torch.nn.Module, base: torch.nn.Module, gate: Gate) -> None:
        super().__init__()
        self.tuned, self.base, self.gate = tuned, base, gate
        self.asked = ""
        """Which of the two was to answer last: "tuned" or "base"."""

    def answering(self, image: torch.Tensor) -> torch.nn.Module:
        """The network that is to answer for a preprocessed image (C, X, Y, Z)."""
        own = self.gate.is_own(features(image))
        self.asked = "tuned" if own else "base"
        return self.tuned if own else self.base


def of_states(recipe: Recipe, tuned: Mapping[str, torch.Tensor], base: Mapping[str, torch.Tensor], gate: Gate) -> Gated:
    """Both networks, with these weights."""
    built = []
    for state in (tuned, base):
        net = nets.build(recipe)
        net.load_state_dict(dict(state))
        built.append(net)
    return Gated(built[0], built[1], gate)


def of_model(loaded: Checkpoint) -> torch.nn.Module:
    """A model's network, gated where the file keeps two; in evaluation mode. Raises CheckpointError."""
    if loaded.kept is None:
        return loaded.network()
    gate = Gate.from_dict(loaded.kept.gate)
    if len(gate.own) != OF_A_SERIES * len(loaded.recipe.modalities):
        raise CheckpointError(
            f"The model '{loaded.card.name}' tells its studies apart by other features than this version reads. Update "
            "napari-brainseg, or fine-tune anew."
        )
    return of_states(loaded.recipe, loaded.state, loaded.kept.state, gate).eval()


def main(net: torch.nn.Module) -> torch.nn.Module:
    """The network itself, of a gated one the tuned one."""
    return net.tuned if isinstance(net, Gated) else net


def answering(net: torch.nn.Module, image: torch.Tensor) -> torch.nn.Module:
    """The network that is to answer for a preprocessed image (C, X, Y, Z): ``net`` itself where it is not gated."""
    return net.answering(image) if isinstance(net, Gated) else net


def words(net: torch.nn.Module, answered: torch.nn.Module) -> str:
    """Which of two networks answered, in words; "" where there is one alone."""
    if not isinstance(net, Gated):
        return ""
    if answered is net.tuned:
        return "answered by the fine-tuned weights (it looks like the corrected studies)"
    return "answered by the base model's weights (it does not look like the corrected studies)"
