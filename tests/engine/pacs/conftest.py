from __future__ import annotations

import gc
import warnings

import pydicom
import pytest
import trustme
from dicom_studies import ball, grid_of, new_person, write_series
from helpers.pacs_servers import Holding

from brainseg_engine.phantom.dicom import SeriesPlan

PERSON = new_person(name="Müller^Jörg", patient_id="P-77")
DESCRIPTIONS = ("t1_tse_tra", "t2_tirm_tra_dark-fluid")


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """Two series of 12 small images of one study."""
    found = []
    grid = grid_of((16, 16, 12))
    for number, description in enumerate(DESCRIPTIONS, 3):
        folder = tmp_path_factory.mktemp("series")
        plan = SeriesPlan(description=description, number=number, tags={"AccessionNumber": "A1"})
        found += [pydicom.dcmread(p) for p in write_series(folder, ball(grid, number), grid, PERSON, plan)]
    return found


@pytest.fixture
def holding(images):
    return Holding(list(images))


@pytest.fixture
def forgiven():
    """Sockets that pynetdicom and requests leave open where a connection fails are no failure of the test."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """A private authority, and its file."""
    ca = trustme.CA()
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    ca.cert_pem.write_to_path(path)
    return ca, str(path)
