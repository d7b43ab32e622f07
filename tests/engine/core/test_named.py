import pytest

from brainseg_engine.core.errors import InputError
from brainseg_engine.core.named import named


def test_a_function_of_the_present_folder_and_of_a_trusted_module(tmp_path, monkeypatch):
    (tmp_path / "own_things.py").write_text("def twice(x):\n    return 2 * x\nnumber = 3\n")
    monkeypatch.chdir(tmp_path)
    assert named("own_things:twice", "brainseg.metrics", given=True)(4) == 8
    with pytest.raises(InputError, match="BRAINSEG_TRUSTED=own_things"):
        named("own_things:twice", "brainseg.networks")
    monkeypatch.setenv("BRAINSEG_TRUSTED", "another,own_things")
    assert named("own_things:twice", "brainseg.networks")(1) == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [("no_such_module_here:f", "cannot be imported"), ("math:nothing", "no function"), ("math:pi", "no function"),
     ("nothing", "entry points"), ("os;system", "entry points"), ("os:system:x", "entry points")],
)  # fmt: skip
def test_what_is_none_is_refused(text, words):
    with pytest.raises(InputError, match=words):
        named(text, "brainseg.metrics", given=True)
