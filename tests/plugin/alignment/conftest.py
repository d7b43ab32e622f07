"""A phantom study as acquired, prepared once, and the plugin without a window with that study open."""

from __future__ import annotations

import pytest
from helpers.raw_study import raw_study
from helpers.rig import Card, House, Model

from brainseg_engine.core.study import Modality
from brainseg_engine.prepare import PrepareOptions, prepare
from napari_brainseg.session import Acquired, OpenStudy


@pytest.fixture(scope="session")
def made():
    raw = raw_study(1)
    return raw, prepare(raw.study, PrepareOptions(brain="rough", transforms=raw.rigids, threads=1))


@pytest.fixture
def house(viewer, made):
    raw, prepared = made
    house = House(viewer)
    house.session.set_models((Model(card=Card()),))
    titles = {m: m.title for m in Modality}
    house.session.prepared.emit(OpenStudy(prepared.study, acquired=Acquired(prepared, raw.study.volumes, titles)))
    yield house
    house.close()
