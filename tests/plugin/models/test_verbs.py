"""Models and several answers below the widgets: a viewer without a window, a runner that answers when told to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.file_server import file_server
from helpers.rig import House

from brainseg_engine.core.errors import CheckpointError
from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import Region, region_mask
from brainseg_engine.core.study import Segmentation
from brainseg_engine.corrections import BaseModel
from brainseg_engine.models import ModelInfo
from brainseg_engine.models.catalogue import KnownModel
from napari_brainseg.features.models.verbs import Fetch, ModelsVerbs, by_command
from napari_brainseg.features.segment.several import agreement, in_words, mean_of
from napari_brainseg.session import Answer, Kind

GRID = Grid((4, 4, 4), np.eye(4))


def answer(labels, probabilities=None, regions=tuple(Region)):
    return Answer(
        Segmentation(labels.astype(np.uint8), GRID, regions=regions), BaseModel("m"), probabilities=probabilities
    )


def test_agreement_is_dice_of_what_both_tell():
    one, other = np.zeros((4, 4, 4)), np.zeros((4, 4, 4))
    one[:2], other[1:3] = 2, 2
    dice = agreement(answer(one).segmentation, answer(other, regions=(Region.WT, Region.TC)).segmentation)
    assert dice == {Region.WT: 0.5, Region.TC: None}
    assert in_words("x", dice) == "x: WT 0.50, TC –"


def test_the_mean_is_that_of_the_probabilities_and_of_labels_where_there_are_none():
    low, high = (np.full((4, 4, 4), p, np.float16) for p in (0.3, 0.8))
    found = mean_of({
        "a": answer(np.zeros((4, 4, 4)), {Region.WT: low, Region.TC: low}),
        "b": answer(np.zeros((4, 4, 4)), {Region.WT: high, Region.TC: low}),
        "c": answer(np.full((4, 4, 4), 3)),
    })  # fmt: skip
    assert float(found.probabilities[Region.WT][0, 0, 0]) == pytest.approx(0.7, abs=1e-3)
    assert found.segmentation.made_by == "mean of a, b, c"
    assert region_mask(found.segmentation.labels, Region.WT).all() and set(found.probabilities) == set(Region)
    with pytest.raises(ValueError, match="two"):
        mean_of({"a": answer(np.zeros((4, 4, 4)))})


def test_the_majority_decides_where_there_are_labels_alone():
    yes, no = np.full((4, 4, 4), 2), np.zeros((4, 4, 4))
    found = mean_of({"a": answer(yes), "b": answer(yes), "c": answer(no)})
    assert (found.segmentation.labels == 2).all()


def test_a_command_that_fails_says_why(tmp_path: Path):
    with pytest.raises(CheckpointError, match="is no model that is known"):
        by_command(["import", str(tmp_path), "--name", "m"])


@pytest.fixture
def fetching(viewer, monkeypatch):
    """(verbs that note their commands, those, the server, a model that it has)."""
    data = bytes(4 << 18)
    with file_server() as server:
        server.files["/m.zip"] = data
        monkeypatch.setenv("BRAINSEG_MIRROR", server.mirror)
        house, commands = House(viewer), []
        verbs = ModelsVerbs(
            house.context, lambda words: commands.append(words) or "licence: CC0\nIts hash is not known."
        )
        known = KnownModel(
            name="some", title="Some", url="https://nowhere.example/m.zip", size=len(data), licence="CC0"
        )
        yield verbs, commands, server, known
        house.close()


def test_a_fetch_shows_how_far_it_is_stops_and_goes_on(fetching):
    verbs, commands, server, known = fetching
    seen = []

    def watch():
        if verbs.fetch is not None and not seen:
            seen.append(verbs.fetch)
            follow = verbs.fetch.follow
            verbs.fetch.follow = lambda e: (follow(e), verbs.cancel_fetch())

    verbs.fetch_changed.connect(watch)
    verbs.install(known)
    assert verbs.fetch is None and not commands and 0 < seen[0].fraction < 1
    assert verbs._session.message.text.startswith("Stopped") and verbs._session.message.kind is Kind.INFO
    verbs.install(known)
    assert server.asked == ["", f"bytes={1 << 18}-"]
    assert commands == [["install", "some", "--accept"]] and verbs.fetch is None
    assert verbs._session.message.text == "The model 'some' was installed. Licence: CC0. Its hash is not known."


def test_a_fetch_that_fails_says_why_and_a_name_that_is_taken_is_not_fetched(fetching):
    verbs, commands, server, known = fetching
    server.files.clear()
    verbs.install(known)
    assert "404" in verbs._session.message.text and verbs.fetch is None and not commands
    verbs._session.set_models([ModelInfo("some", Path("some.safetensors"), None, bundled=False)])
    verbs.install(known)
    assert "already" in verbs._session.message.text and server.asked == []


def test_one_model_is_fetched_after_the_other(fetching):
    verbs, _, server, known = fetching
    verbs.fetch = Fetch("other")
    verbs.install(known)
    assert "other" in verbs._session.message.text and server.asked == []
