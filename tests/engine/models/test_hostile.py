"""Models of anybody's: weights that are numbers, recipes whose numbers have bounds and that name no files."""

from __future__ import annotations

import json
import zipfile

import pytest
import torch

from brainseg_engine import nets
from brainseg_engine.core.errors import CheckpointError, OutputError, RecipeError
from brainseg_engine.inference.predictor import Predictor, infer
from brainseg_engine.models import add, checkpoint
from brainseg_engine.nets.foreign import read_weights
from brainseg_engine.recipe import load_recipe, parse_recipe, recipe_names


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers_are_refused(value, tiny_model, tmp_path):
    loaded = checkpoint.load(tiny_model)
    state = dict(loaded.state)
    key = next(k for k, v in state.items() if v.is_floating_point())
    state[key] = state[key].clone()
    state[key].view(-1)[0] = value
    checkpoint.save(tmp_path / "m.safetensors", state, loaded.card, loaded.recipe)
    with pytest.raises(CheckpointError, match="no numbers"):
        Predictor(tmp_path / "m.safetensors", "cpu")


def test_an_answer_that_is_no_number_is_no_answer(study, tiny_recipe):
    with pytest.raises(CheckpointError, match="no numbers"):
        infer(lambda x: torch.full((1, 3, *x.shape[2:]), float("nan")), study, tiny_recipe, "cpu")


def wicked(tree, *path_and_value):
    *path, key, value = path_and_value
    for part in path:
        tree = tree[part]
    tree[key] = value


BOUNDS = [
    ("window", "overlap", 0.99999), ("window", "largest", [10**6] * 3), ("window", "samples_per_case", 10**9),
    ("network", "blocks_down", [10**6, 1]), ("network", "blocks_down", [1] * 1000), ("network", "init_filters", 8 * 10**6),
    ("preprocess", "spacing_mm", 1e-9), ("preprocess", "resize_to", [10**5] * 3), ("preprocess", "margin_voxels", 10**9),
    ("training", "batch_size", 10**8), ("training", "epochs", 10**30), ("augmentation", "artefacts", {"elastic_points": 10**6}),
    ("optimiser", "learning_rate", 1e300), ("schedule", "warmup_steps", 10**20), ("summary", "x" * 10**6),
    ("postprocess", "min_et_ml", 1e300),
]  # fmt: skip


@pytest.mark.parametrize("change", BOUNDS, ids=lambda c: ".".join(map(str, c[:-1]))[:40])
def test_every_number_of_a_recipe_has_bounds(change, tiny_recipe, tiny_model, tmp_path):
    tree = tiny_recipe.model_dump(mode="json")
    wicked(tree, *change)
    with pytest.raises(RecipeError):
        parse_recipe(tree)
    loaded = checkpoint.load(tiny_model)
    metadata = {"format": checkpoint.FORMAT, "card": loaded.card.model_dump_json(), "recipe": json.dumps(tree)}
    checkpoint.write_tensors(tmp_path / "m.safetensors", loaded.state, metadata)
    with pytest.raises(CheckpointError):
        checkpoint.load(tmp_path / "m.safetensors")


def test_the_bundled_recipes_are_within_them():
    for name in recipe_names():
        load_recipe(name)


def test_a_recipe_inside_a_model_names_no_file(tmp_path):
    """The file is never opened: a pipe there would hold the process up."""
    import os

    recipe = load_recipe(next(n for n in recipe_names() if load_recipe(n).network.name == "efficientnet_graft"))
    net = nets.build(recipe.for_use())
    card = checkpoint.Card(
        name="g", recipe="g", modalities=recipe.modalities, regions=recipe.output.regions, parameters=1
    )
    os.mkfifo(tmp_path / "pipe.pth")
    tree = recipe.model_dump(mode="json")
    tree["network"]["trunk_weights"] = str(tmp_path / "pipe.pth")
    metadata = {"format": checkpoint.FORMAT, "card": card.model_dump_json(), "recipe": json.dumps(tree)}
    checkpoint.write_tensors(tmp_path / "m.safetensors", net.state_dict(), metadata)
    assert checkpoint.load(tmp_path / "m.safetensors").recipe.network.trunk_weights is None


@pytest.mark.parametrize("field", ["card", "recipe"])
@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 5000, "{}", "null", "\x00", '{"name": ' * 2000])
def test_damaged_metadata_is_one_sentence(field, text, tiny_model, tmp_path):
    loaded = checkpoint.load(tiny_model)
    card, recipe = loaded.card.model_dump_json(), loaded.recipe.model_dump_json()
    metadata = {"format": checkpoint.FORMAT, "card": card, "recipe": recipe, field: text}
    checkpoint.write_tensors(tmp_path / "m.safetensors", loaded.state, metadata)
    with pytest.raises(CheckpointError, match="card or recipe"):
        checkpoint.load(tmp_path / "m.safetensors")


def test_a_compressed_weights_file_is_no_weights_file(tmp_path):
    with zipfile.ZipFile(tmp_path / "w.pt", "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("archive/data/0", bytes(10**8))
    assert (tmp_path / "w.pt").stat().st_size < 10**6
    with pytest.raises(CheckpointError, match="compressed"):
        read_weights(tmp_path / "w.pt")
    torch.save({"a": torch.zeros(3)}, tmp_path / "sound.pt")
    assert set(read_weights(tmp_path / "sound.pt")) == {"a"}


@pytest.mark.parametrize("name", ["../x", "a b", "", ".x", "a/b", "x" * 300, "nul"])
def test_no_name_of_a_model_is_a_path(name, tiny_model):
    with pytest.raises(OutputError, match="cannot be a model's name"):
        add(tiny_model, name)
