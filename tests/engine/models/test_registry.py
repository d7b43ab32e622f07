"""Which model is used where none is named, and where a model came from."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from brainseg_engine import models
from brainseg_engine.cli import app
from brainseg_engine.core.errors import CheckpointError, OutputError
from brainseg_engine.core.paths import home, models_home
from brainseg_engine.models import checkpoint, choice


@pytest.fixture
def two(tiny_model):
    """Two models of one's own: "one", and "two", which was fine-tuned from it."""
    models.add(tiny_model, "one")
    loaded = checkpoint.load(tiny_model)
    parent = models.sha256(models.find("one"))
    tuned = checkpoint.Tuned(
        parent="tiny", parent_version="1", parent_sha256=parent, corrections=("a", "b"), held_out=("c",), alpha=0.75,
        verdict="better", anchors="phantoms",
        scores={"held_out": {"before": {"WT": {"dice": 0.5}}, "after": {"WT": {"dice": 0.625}}}},
    )  # fmt: skip
    card = loaded.card.model_copy(update={"name": "two", "tuned": tuned})
    checkpoint.save(models_home() / "two.safetensors", loaded.state, card, loaded.recipe)


def cli(*words: str) -> str:
    result = CliRunner().invoke(app, ["models", *words])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_default_is_chosen_and_rolled_back(two):
    first = models.default()
    assert first not in ("one", "two")
    models.choose_default("one")
    models.choose_default("two")
    models.choose_default("two")  # once is enough
    assert models.default() == "two"
    assert json.loads(cli("--json"))["models"][-1] | {"card": None} == {
        "name": "two", "path": str(models_home() / "two.safetensors"), "bundled": False, "default": True, "problem": None,
        "card": None,
    }  # fmt: skip
    assert models.before_default() == "one"
    assert models.roll_back() == "one" == models.default()
    assert models.before_default() == first
    assert models.roll_back() == first == models.default()
    with pytest.raises(CheckpointError, match="no default model before"):
        models.roll_back()


def test_a_default_that_is_gone_is_passed_over(two, caplog):
    first = models.default()
    models.choose_default("one")
    models.choose_default("two")
    (models_home() / "two.safetensors").unlink()
    assert models.default() == first
    assert "not there any more" in caplog.text
    (models_home() / "one.safetensors").unlink()
    assert models.roll_back() == first
    with pytest.raises(CheckpointError, match="no installed model 'two'"):
        models.choose_default("two")
    (home() / "models.json").write_text("no json")
    assert models.default() == first
    assert choice.current() == ""


def test_the_command_tells_and_changes_the_default(two):
    assert json.loads(cli("default", "two", "--json"))["default"] == "two"
    assert "two is used" in cli("default")
    content = json.loads(cli("default", "--back", "--json"))
    assert content["default"] == models.default() != "two"
    assert CliRunner().invoke(app, ["models", "default", "two", "--back"]).exit_code == 5


def test_the_lineage_leads_to_the_first(two):
    line = json.loads(cli("lineage", "two", "--json"))["lineage"]
    assert [a["name"] for a in line] == ["two", "tiny"]
    assert line[0]["tuned"]["parent_sha256"] == line[1]["sha256"]
    assert line[1]["path"].endswith("one.safetensors")  # known by its content, whatever its name
    text = cli("lineage", "two")
    assert "WT Dice 0.500 → 0.625" in text
    (models_home() / "one.safetensors").unlink()
    assert "not among the installed" in cli("lineage", "two")


def test_a_model_is_never_put_over_another(two, tiny_model, tmp_path):
    before = (models_home() / "two.safetensors").read_bytes()
    with pytest.raises(OutputError, match="already"):
        models.add(tiny_model, "two")
    assert (models_home() / "two.safetensors").read_bytes() == before
    assert models.add(tiny_model, "one").read_bytes() == tiny_model.read_bytes()  # the same again is no harm
    assert models.free_name("two") == "two-2"
    with pytest.raises(OutputError, match="letters"):
        models.add(tiny_model, "../two")
