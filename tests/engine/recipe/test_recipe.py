"""Recipes travel unchanged, and refuse what they do not know."""

import pytest

from brainseg_engine.core.errors import RecipeError
from brainseg_engine.recipe import Recipe, load_recipe, recipe_names


@pytest.mark.parametrize("name", recipe_names())
def test_bundled_recipes_survive_their_json_form(name):
    recipe = load_recipe(name)
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
    assert recipe.name == name


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("optimiser.learning_rat=1", ("learning_rat", "learning_rate")),
        ("netwrok.fold=1", ("netwrok", "network")),
        ("optimiser.learning_rate=-1", ("learning_rate", "-1")),
        ("network.blocks_up=[1]", ("blocks_up", "blocks_down")),
        ("network.init_filters=12", ("init_filters", "12")),
        ("loss.dice=0", None),
        ("preprocess.clip_percentiles=[99, 1]", ("clip_percentiles", "99")),
        ("modalities=['t1', 't1']", ("distinct", "t1")),
        ("postprocess.min_component_ml={ET = 1, XX = 2}", ("min_component_ml",)),
        ("output.regions=['WT']", ("min_component_ml", "output.regions")),
        ("no-equals-sign", ("section.key=value",)),
        ("name.x=1", ("name",)),
        ("augmentation.scale=[0, 1]", ("scale", "positive")),
        ("augmentation.gamma_range=[1.4, 0.7]", ("gamma_range", "1.4")),
        ("window.largest=[8, 240, 208]", ("largest", "8")),
    ],
)
def test_overrides_are_checked(override, words):
    if words is None:
        load_recipe("baseline", [override])
        return
    with pytest.raises(RecipeError) as e:
        load_recipe("baseline", [override])
    assert all(w in str(e.value) for w in words), str(e.value)


def test_a_contradiction_names_both_values():
    with pytest.raises(RecipeError, match=r"ET.*WT"):
        load_recipe("baseline", ["output.regions=['WT']", "postprocess.min_component_ml={ET = 1.0}"])
    with pytest.raises(RecipeError, match="all 0"):
        load_recipe("baseline", ["loss.dice=0", "loss.cross_entropy=0"])


def test_files_and_names(tmp_path):
    with pytest.raises(RecipeError, match=r"baselin.*baseline"):
        load_recipe("baselin")
    with pytest.raises(RecipeError, match=r"absent\.toml"):
        load_recipe(tmp_path / "absent.toml")
    bad = tmp_path / "bad.toml"
    bad.write_text("name = ")
    with pytest.raises(RecipeError, match="not valid TOML"):
        load_recipe(bad)
    (tmp_path / "latin.toml").write_bytes('name = "f\u00fcr"'.encode("latin-1"))
    with pytest.raises(RecipeError, match="UTF-8"):
        load_recipe(tmp_path / "latin.toml")
    (tmp_path / "recipe.txt").write_text('name = "mine"')
    with pytest.raises(RecipeError, match=r"recipe\.txt.*\.toml"):
        load_recipe(tmp_path / "recipe.txt")
    good = tmp_path / "good.toml"
    good.write_text('name = "mine"\n[network]\ninit_filters = 32\n')
    assert load_recipe(good).network.init_filters == 32
