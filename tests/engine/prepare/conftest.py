import pytest
from helpers.raw_study import RawStudy, raw_study

from brainseg_engine.prepare import Prepared, PrepareOptions, prepare


@pytest.fixture(scope="session")
def raw() -> RawStudy:
    return raw_study()


@pytest.fixture(scope="session")
def brain_file(raw, tmp_path_factory):
    """The phantom's brain on the grid of its T1ce: no network knows a phantom's brain."""
    import numpy as np

    from brainseg_engine.core.study import Modality
    from brainseg_engine.io import save_volume
    from brainseg_engine.prepare.rigid import carried

    grid = raw.study.volumes[Modality.T1CE].grid
    path = tmp_path_factory.mktemp("brain") / "brain.nii.gz"
    save_volume(carried(raw.brain.astype(np.float32), raw.still, grid) > 0.5, grid, path)
    return path


@pytest.fixture(scope="session")
def prepared(raw, brain_file) -> Prepared:
    return prepare(raw.study, PrepareOptions(brain=brain_file, threads=1))
