"""Model files come back as they were, and damaged or foreign ones are refused in words."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from brainseg_engine import checkpoint, models
from brainseg_engine.errors import CheckpointError


def test_round_trip(tiny_model, tiny_recipe, tmp_path):
    loaded = checkpoint.load(tiny_model)
    assert loaded.recipe == tiny_recipe
    again = tmp_path / "again.safetensors"
    checkpoint.save(again, loaded.state, loaded.card, loaded.recipe)
    other = checkpoint.load(again)
    assert other.card == loaded.card
    assert all(torch.equal(other.state[k], v) for k, v in loaded.state.items())


def test_half_precision_is_close_and_small(tiny_model, tmp_path):
    loaded = checkpoint.load(tiny_model)
    half = tmp_path / "half.safetensors"
    checkpoint.save(half, loaded.state, loaded.card, loaded.recipe, half=True)
    assert half.stat().st_size < 0.6 * tiny_model.stat().st_size
    for k, v in checkpoint.load(half).state.items():
        torch.testing.assert_close(v, loaded.state[k], atol=1e-3, rtol=1e-3)


def _foreign(path, tiny_model):
    save_file({"w": torch.zeros(3)}, path, metadata={"format": "pt"})


def _truncated(path, tiny_model):
    path.write_bytes(tiny_model.read_bytes()[:-1000])


def _noise(path, tiny_model):
    path.write_bytes(b"not a model at all" * 100)


def _pickle(path, tiny_model):
    torch.save({"state_dict": {"w": torch.zeros(3)}}, path)


def _empty(path, tiny_model):
    path.write_bytes(b"")


def _no_card(path, tiny_model):
    save_file(load_file(tiny_model), path, metadata={"format": checkpoint.FORMAT, "card": "{}", "recipe": "{}"})


def _other_weights(path, tiny_model):
    state = load_file(tiny_model)
    state.pop(next(iter(state)))
    raw = checkpoint.raw_metadata(tiny_model)
    save_file(state, path, metadata={k: str(v) for k, v in raw.items()})


@pytest.mark.parametrize("damage", [_foreign, _truncated, _noise, _pickle, _empty, _no_card, _other_weights])
def test_damaged_or_foreign_files_are_refused_in_words(damage, tiny_model, tmp_path):
    path = tmp_path / "bad.safetensors"
    damage(path, tiny_model)
    with pytest.raises(CheckpointError, match=r"bad\.safetensors"):
        checkpoint.load(path)


def test_registry_lists_user_models_and_their_problems(tiny_model, own_home):
    folder = own_home / "models"
    folder.mkdir()
    (folder / "good.safetensors").write_bytes(tiny_model.read_bytes())
    (folder / "bad.safetensors").write_bytes(b"x")
    found = {m.name: m for m in models.installed()}
    assert found["good"].card is not None
    assert not found["good"].bundled
    assert found["bad"].card is None
    assert "bad.safetensors" in found["bad"].problem
    assert models.find("good") == folder / "good.safetensors"
    with pytest.raises(CheckpointError, match="good"):
        models.find("absent")
    with pytest.raises(CheckpointError, match=r"no model file"):
        checkpoint.load(models.find("absent.safetensors"))


def test_card_is_json(tiny_model):
    assert json.loads(checkpoint.raw_metadata(tiny_model)["card"])["name"] == "tiny"
