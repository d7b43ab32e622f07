"""Model files come back as they were, and damaged or foreign ones are refused in words."""

import json

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from brainseg_engine import models
from brainseg_engine.core.errors import CheckpointError, OutputError
from brainseg_engine.models import checkpoint


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


def _two_in_one(path, tiny_model):
    """A fine-tuned model that keeps its base; returns what it keeps."""
    loaded = checkpoint.load(tiny_model)
    tuned = checkpoint.Tuned(parent="tiny", parent_sha256="0", keeps_base=True)
    kept = checkpoint.Kept(
        {k: v + 1 for k, v in loaded.state.items()},
        {"own": [0.1, -2.0], "other": [1.0, 1 / 3], "weight": [4.0, 0.0]},
    )
    checkpoint.save(path, loaded.state, loaded.card.model_copy(update={"tuned": tuned}), loaded.recipe, kept=kept)
    return kept


def test_what_a_model_keeps_of_its_base_comes_back(tiny_model, tmp_path):
    path = tmp_path / "two.safetensors"
    kept = _two_in_one(path, tiny_model)
    loaded = checkpoint.load(path)
    assert loaded.kept is not None
    assert loaded.kept.gate == kept.gate
    assert all(torch.equal(loaded.kept.state[k], v) for k, v in kept.state.items())
    assert all(torch.equal(loaded.state[k], v) for k, v in checkpoint.load(tiny_model).state.items())


def test_a_model_that_went_no_way_from_its_base_is_written_too(tiny_model, tmp_path):
    loaded = checkpoint.load(tiny_model)
    tuned = checkpoint.Tuned(parent="tiny", parent_sha256="0", alpha=0, keeps_base=True)
    kept = checkpoint.Kept(loaded.state, {"own": [0.0], "other": [1.0], "weight": [1.0]})
    path = tmp_path / "two.safetensors"
    checkpoint.save(path, loaded.state, loaded.card.model_copy(update={"tuned": tuned}), loaded.recipe, kept=kept)
    assert all(torch.equal(checkpoint.load(path).kept.state[k], v) for k, v in loaded.state.items())


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


def _newer_recipe(path, tiny_model):
    raw = {k: str(v) for k, v in checkpoint.raw_metadata(tiny_model).items()}
    recipe = {**json.loads(raw["recipe"]), "not_known_yet": 1}
    save_file(load_file(tiny_model), path, metadata={**raw, "recipe": json.dumps(recipe)})


def _changed(path, tiny_model, change):
    _two_in_one(path, tiny_model)
    raw = {k: str(v) for k, v in checkpoint.raw_metadata(path).items()}
    state = load_file(path)
    change(state)
    save_file(state, path, metadata=raw)


def _no_base(path, tiny_model):
    _changed(path, tiny_model, lambda s: s.pop(next(k for k in s if k.startswith("kept-base."))))


def _no_gate(path, tiny_model):
    _changed(path, tiny_model, lambda s: s.pop("kept-gate.own"))


def _uneven_gate(path, tiny_model):
    _changed(path, tiny_model, lambda s: s.update({"kept-gate.own": torch.zeros(3, dtype=torch.float64)}))


def _endless_gate(path, tiny_model):
    _changed(path, tiny_model, lambda s: s["kept-gate.weight"].fill_(float("nan")))


@pytest.mark.parametrize(
    "damage",
    [
        _no_base,
        _no_gate,
        _uneven_gate,
        _endless_gate,
        _foreign,
        _truncated,
        _noise,
        _pickle,
        _empty,
        _no_card,
        _other_weights,
        _newer_recipe,
    ],
)
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
    _newer_recipe(folder / "newer.safetensors", tiny_model)
    found = {m.name: m for m in models.installed()}
    assert found["good"].card is not None
    assert not found["good"].bundled
    assert found["bad"].card is None
    assert "bad.safetensors" in found["bad"].problem
    assert "not_known_yet" in found["newer"].problem
    assert models.find("good") == folder / "good.safetensors"
    with pytest.raises(CheckpointError, match="good"):
        models.find("absent")
    with pytest.raises(CheckpointError, match=r"no model file"):
        checkpoint.load(models.find("absent.safetensors"))


def test_a_full_disk_is_reported_and_the_old_file_stays(tiny_model, tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    path.write_bytes(tiny_model.read_bytes())
    loaded = checkpoint.load(path)

    def full(_, part, **__):
        part.write_bytes(b"half")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(OutputError, match=r"model\.safetensors.*No space left"):
        checkpoint.save(path, loaded.state, loaded.card, loaded.recipe)
    assert path.read_bytes() == tiny_model.read_bytes()
    assert list(tmp_path.iterdir()) == [path]


def test_card_is_json(tiny_model):
    assert json.loads(checkpoint.raw_metadata(tiny_model)["card"])["name"] == "tiny"
