"""JSON forms: what is written is read back, and what is none of it is refused in one plain sentence."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainseg_engine.core import forms, records
from brainseg_engine.core.forms import Count, FileName, Flag, Form, ModelName, Moment, Number, Short, Text


@dataclass(frozen=True)
class Sample:
    name: FileName
    text: Text
    short: Short
    model: ModelName
    when: Moment
    number: Number
    count: Count
    flag: Flag
    table: dict[Text, tuple[Count, ...]]


FORM = Form(Sample)
GOOD = {
    "name": "a_01", "text": "any", "short": "h", "model": "m-1", "when": "2026-01-02T03:04:05Z", "number": 1, "count": 2,
    "flag": True, "table": {"k": [1, 2]},
}  # fmt: skip


@given(
    text=st.text(st.characters(exclude_categories=()), max_size=40),
    number=st.floats(-1e15, 1e15),
    count=st.integers(0, 10**15),
)
def test_what_is_written_is_read_back(text, number, count):
    """Also text that no encoding holds: names of files come so."""
    one = Sample("a", text, text, "m", "2026-01-02", number, count, False, {text: (1,)})
    assert FORM.read(records.parse_json(records.dumps(FORM.write(one)))) == one


@pytest.mark.parametrize("change, sentence", [
    ({"name": "../up"}, "'name': '../up' is no"),
    ({"text": 5}, "'text': text is expected, not '5'"),
    ({"short": "x" * 201}, "'short': text is expected"),
    ({"model": "-"}, "'model': '-' is no name of a model"),
    ({"when": "soon"}, "'when': Invalid isoformat"),
    ({"number": "1"}, "'number': a number from"),
    ({"number": True}, "'number': a number from"),
    ({"count": 1.0}, "'count': a whole number"),
    ({"count": -1}, "'count': a whole number"),
    ({"flag": 1}, "'flag': "),
    ({"table": {"k": [None]}}, "'table.k.0': a whole number"),
])  # fmt: skip
def test_what_is_none_of_it_is_refused_in_one_sentence(change, sentence):
    with pytest.raises(ValueError, match="^" + sentence.replace("(", r"\(")) as e:
        FORM.read(GOOD | change)
    assert type(e.value) is ValueError and "\n" not in str(e.value) and "pydantic" not in str(e.value)


def test_a_field_that_is_missing_is_named():
    assert FORM.read(GOOD).count == 2
    for key in GOOD:
        with pytest.raises(ValueError, match=f"'{key}' is missing"):
            FORM.read({k: v for k, v in GOOD.items() if k != key})
    with pytest.raises(ValueError, match="no such record"):
        FORM.read([])
    assert forms.moment("2026-01-02") == "2026-01-02"
