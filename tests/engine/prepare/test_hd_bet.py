import numpy as np
import pytest

from brainseg_engine.core.geometry import Grid
from brainseg_engine.prepare.hd_bet import DENORMAL, without_denormals, working_shape


def test_denormal_weights_become_zero_and_the_others_stay():
    torch = pytest.importorskip("torch")
    weights = torch.tensor([0.5, 1e-30, -1e-39, -2.0, 1e-19])
    assert without_denormals(weights).tolist() == pytest.approx([0.5, 0.0, 0.0, -2.0, 1e-19])
    assert DENORMAL < 1e-19
    counts = torch.tensor([3, 4])
    assert without_denormals(counts) is counts


def test_the_network_sees_voxels_of_a_millimetre_and_a_half():
    assert working_shape(Grid((30, 30, 12), np.diag([1.0, 1.0, 5.5, 1.0]))) == (20, 20, 44)
