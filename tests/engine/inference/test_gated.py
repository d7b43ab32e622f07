"""A model that keeps its base: each study is answered by the network whose studies it resembles, and it is said which."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.small_study import make_study
from helpers.small_world import thick

from brainseg_engine import nets
from brainseg_engine.core.errors import CheckpointError
from brainseg_engine.inference import gated
from brainseg_engine.inference.appearance import OF_A_SERIES, features, gate
from brainseg_engine.inference.predictor import Predictor, infer
from brainseg_engine.inference.preprocess import preprocess
from brainseg_engine.models import checkpoint


def _looks(studies, recipe):
    return [features(preprocess(s, recipe, nets.divisor(recipe))[0]) for s in studies]


@pytest.fixture(scope="module")
def two(tiny_model, tiny_recipe, tmp_path_factory):
    """(a model for thick slices that keeps another for all else, its own part alone, the other part alone)."""
    loaded = checkpoint.load(tiny_model)
    torch.manual_seed(7)
    base = nets.build(tiny_recipe).state_dict()
    found = gate(
        _looks([thick(make_study(n)) for n in range(3)], tiny_recipe),
        _looks([make_study(n) for n in range(5, 9)], tiny_recipe),
    )
    assert found is not None
    card = loaded.card.model_copy(update={"tuned": checkpoint.Tuned(parent="tiny", parent_sha256="0", keeps_base=True)})
    folder = tmp_path_factory.mktemp("gated")
    paths = [folder / f"{name}.safetensors" for name in ("two", "tuned", "base")]
    checkpoint.save(paths[0], loaded.state, card, tiny_recipe, kept=checkpoint.Kept(base, found.to_dict()))
    checkpoint.save(paths[1], loaded.state, loaded.card, tiny_recipe)
    checkpoint.save(paths[2], base, loaded.card, tiny_recipe)
    return paths


@pytest.mark.parametrize(
    ("like", "by", "said"), [("corrected", 1, "fine-tuned weights"), ("others", 2, "base model's weights")]
)
def test_each_study_is_answered_by_the_weights_whose_studies_it_resembles(two, like, by, said):
    study = make_study(20)
    study = thick(study) if like == "corrected" else study
    whole, alone = Predictor(two[0], "cpu"), Predictor(two[by], "cpu")
    answer, of_it = (p.predict(study, probabilities=True) for p in (whole, alone))
    for region, found in answer.probabilities.items():
        assert np.array_equal(found, of_it.probabilities[region])
    assert f"answered by the {said}" in answer.plan
    assert "answered by" not in of_it.plan
    loaded = checkpoint.load(two[0])
    scored, _ = infer(gated.of_model(loaded), study, loaded.recipe, "cpu")
    assert torch.allclose(scored, infer(checkpoint.load(two[by]).network(), study, loaded.recipe, "cpu")[0])


def test_the_network_to_be_looked_at_is_the_fine_tuned_one(two):
    whole = Predictor(two[0], "cpu")
    assert all(torch.equal(v, checkpoint.load(two[1]).state[k]) for k, v in whole.network.state_dict().items())


def test_a_gate_of_another_version_is_refused_in_words(two):
    loaded = checkpoint.load(two[0])
    short = {k: list(v)[:OF_A_SERIES] for k, v in loaded.kept.gate.items()}
    with pytest.raises(CheckpointError, match="fine-tune anew"):
        gated.of_model(replace(loaded, kept=replace(loaded.kept, gate=short)))
