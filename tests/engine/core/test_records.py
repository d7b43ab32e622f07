"""JSON and TOML of others: bounded, or refused in one way; and what is written comes back."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainseg_engine.core import records

DEEP = ["[" * 100_000, '{"a":' * 100_000, "[" * 65 + "]" * 65]
ODD = ["9" * 5000, "-" + "9" * 40, "1e999", "NaN", "[Infinity]", "-Infinity", "", "{", '{"a": }', b"\xff\xfe", "\x00"]


@pytest.mark.parametrize("text", [*DEEP, *ODD], ids=range(len(DEEP) + len(ODD)))
def test_json_out_of_bounds_is_a_value_error(text):
    with pytest.raises(ValueError):
        records.parse_json(text)


@pytest.mark.parametrize("text", [
    "a=" + "[" * 100_000, "a=" + "{a=" * 5000, "a." * 100_000 + "a=1", '"a".' * 5000 + "a=1", "[a" + ".a" * 5000 + "]",
    "a=" + "9" * 5000, "a=" + "9" * 4000, "a", "#" * 2**21,
])  # fmt: skip
def test_toml_out_of_bounds_is_a_value_error(text):
    with pytest.raises(ValueError):
        records.parse_toml(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4), max_leaves=20,
)  # fmt: skip


@given(json_values)
def test_what_is_written_comes_back(value):
    text = records.dumps(value)
    assert records.parse_json(text.encode("utf-8")) == json.loads(json.dumps(value))


def test_names_that_are_no_unicode_come_back(tmp_path):
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    records.write_json(tmp_path / "a.json", {name: [name]})
    assert records.read_json(tmp_path / "a.json") == {name: [name]}


@given(json_values)
def test_typed_fields_are_what_they_say_or_refused(value):
    for read, kind in ((records.text_of, str), (records.number_of, float), (records.count_of, int)):
        with contextlib.suppress(ValueError):
            assert type(read(value)) is kind
