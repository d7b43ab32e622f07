"""What leaves this machine tells no name, and what comes back is about what it was asked of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from brainseg_engine.core.events import Failed, Finished
from brainseg_engine.remote.place import Place

NAME = "the study"
"""What a study is called elsewhere."""


def nameless(study: Mapping[str, Any]) -> dict[str, Any]:
    """The study's JSON object without its id, its files and its arrays."""
    volumes = [{**v, "path": None, "array": None} for v in study["volumes"]]
    return {**study, "id": NAME, "volumes": volumes}


def local(event: Finished | Failed, study_id: str, place: Place) -> Finished | Failed:
    """The answer with the study's name again, and saying where it was computed."""
    if isinstance(event, Failed):
        return replace(event, message=event.message.replace(f"'{NAME}'", f"'{study_id}'"))
    result = dict(event.result)
    if "study_id" in result:
        result["study_id"] = study_id
    if "device" in result:
        result["device"] = f"{result['device']} on {place.host}"
    return replace(event, result=result)
