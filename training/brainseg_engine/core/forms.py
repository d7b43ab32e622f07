"""JSON forms: a dataclass says what its JSON object holds, pydantic reads and writes it, and these are the kinds of its fields.

The kinds refuse what :mod:`brainseg_engine.core.records` refuses, in its sentences. Pydantic's own text would refuse names of
files that are no UTF-8, so text is never its own here.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar

from pydantic import PlainValidator, Strict, TypeAdapter, ValidationError

from brainseg_engine.core.names import SafeName, is_model_name
from brainseg_engine.core.records import count_of, number_of, text_of

T = TypeVar("T")


def moment(value: object) -> str:
    """The time, as a field of a record: ISO 8601. Raises ValueError for anything else."""
    text = text_of(value, 60)
    datetime.fromisoformat(text)
    return text


def _model_name(value: object) -> str:
    name = text_of(value)
    if not is_model_name(name):
        raise ValueError(f"'{name[:40]}' is no name of a model")
    return name


Text = Annotated[str, PlainValidator(lambda value: text_of(value))]
Short = Annotated[str, PlainValidator(lambda value: text_of(value, 200))]
"""A hash, a key, the name of a coding."""
FileName = Annotated[str, PlainValidator(SafeName.of)]
ModelName = Annotated[str, PlainValidator(_model_name)]
Moment = Annotated[str, PlainValidator(moment)]
Number = Annotated[float, PlainValidator(lambda value: number_of(value))]
Count = Annotated[int, PlainValidator(lambda value: count_of(value))]
Flag = Annotated[bool, Strict()]


class Form(Generic[T]):
    """The JSON form of a dataclass."""

    def __init__(self, of: type[T]) -> None:
        self._adapter = TypeAdapter(of)

    def read(self, record: Mapping[str, Any]) -> T:
        """The dataclass of that JSON object. Raises ValueError: one sentence that names the field."""
        try:
            return self._adapter.validate_python(record)
        except ValidationError as e:
            first = e.errors()[0]
            field = ".".join(str(p) for p in first["loc"])
            match first["type"]:
                case "missing":
                    why = f"'{field}' is missing"
                case "unexpected_keyword_argument":
                    why = f"'{field}' is not known"
                case _:
                    message = str(first["msg"]).removeprefix("Value error, ")
                    why = f"'{field}': {message}" if field else "it is no such record"
            raise ValueError(why) from e

    def write(self, value: T) -> dict[str, Any]:
        """The JSON object, as :func:`brainseg_engine.core.records.dumps` takes it."""
        written: dict[str, Any] = self._adapter.dump_python(value, by_alias=True)
        return written
