"""What images look like, and the gate between two kinds of studies."""

import json

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, uniform_filter1d

from brainseg_engine.inference import appearance


def study(seed: int, thick: int = 1, series: int = 2) -> torch.Tensor:
    """A head of smooth noise (series, 36, 33, 30), in slices of ``thick`` voxels along the last axis."""
    rng = np.random.default_rng(seed)
    grid = np.indices((36, 33, 30)) - np.array([18, 16, 15])[:, None, None, None]
    head = (grid**2).sum(axis=0) < 14**2
    image = gaussian_filter(rng.normal(size=(series, 36, 33, 30)), (0, 1, 1, 1)) * 4
    if thick > 1:
        image = uniform_filter1d(image, thick, axis=3)
    return torch.from_numpy(np.where(head, image, 0).astype(np.float32))


def looks(seeds: range, thick: int = 1) -> list[appearance.Features]:
    return [appearance.features(study(s, thick)) for s in seeds]


def test_thick_slices_are_told_from_thin_ones_whatever_is_in_them():
    gate = appearance.gate(looks(range(4), thick=4), looks(range(10, 16)))
    assert gate is not None
    assert all(gate.is_own(f) for f in looks(range(20, 26), thick=4))
    assert not any(gate.is_own(f) for f in looks(range(30, 36)))


def test_studies_of_one_kind_are_not_told_apart():
    assert appearance.gate(looks(range(6)), looks(range(6, 14))) is None


@pytest.mark.parametrize(("own", "other"), [(2, 6), (6, 2), (0, 6)])
def test_too_few_studies_make_no_gate(own, other):
    assert appearance.gate(looks(range(own), thick=4), looks(range(10, 10 + other))) is None


def test_the_margin_does_not_matter():
    image = study(1)
    padded = torch.nn.functional.pad(image, [3 * n for n in (2, 1, 0, 4, 5, 1)])
    assert appearance.features(padded) == pytest.approx(appearance.features(image), abs=1e-6)


def test_a_series_that_is_missing_has_no_say():
    gate = appearance.gate(looks(range(4), thick=4), looks(range(10, 16)))
    image = study(40, thick=4)
    image[1] = 0
    found = appearance.features(image)
    assert np.isnan(found[appearance.OF_A_SERIES :]).all() and np.isfinite(found[: appearance.OF_A_SERIES]).all()
    assert gate is not None and gate.is_own(found)


def test_a_gate_comes_back_from_a_file_and_a_broken_one_is_refused():
    gate = appearance.gate(looks(range(4), thick=4), looks(range(10, 16)))
    assert gate is not None
    kept = json.loads(json.dumps(gate.to_dict()))
    again = appearance.Gate.from_dict(kept)
    assert all(np.array_equal(getattr(again, k), getattr(gate, k)) for k in kept)
    for broken in ({**kept, "own": kept["own"][1:]}, {**kept, "weight": [float("nan")] * len(kept["own"])}):
        with pytest.raises(ValueError, match="fit"):
            appearance.Gate.from_dict(broken)
