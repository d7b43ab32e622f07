"""Where a series shows nothing, the answer is that of the others; everywhere else all of them count."""

from dataclasses import replace

import pytest
import torch

from brainseg_engine.core.study import Modality
from brainseg_engine.core.study_wire import prediction_from_wire, prediction_to_wire
from brainseg_engine.inference import gaps
from brainseg_engine.inference.calibrated import trust_fields
from brainseg_engine.inference.predictor import Predictor
from brainseg_engine.phantom import phantom_study
from brainseg_engine.recipe import load_recipe

RECIPE = load_recipe("baseline")
SIDE = 48


def brain(**cut):
    """(4, X, Y, Z), with a margin of 4; ``cut``: series → the part that it does not show, from the low end of x."""
    image = torch.zeros(4, SIDE, SIDE, SIDE)
    image[:, 4:-4, 4:-4, 4:-4] = torch.rand(4, *(SIDE - 8,) * 3, generator=torch.Generator().manual_seed(1)) + 0.5
    for name, part in cut.items():
        image[RECIPE.modalities.index(Modality(name)), : 4 + round(part * (SIDE - 8))] = 0
    return image


def test_the_answer_without_it_counts_where_a_flair_shows_nothing():
    image = brain(flair=0.25)
    [gap] = gaps.found(image, RECIPE)
    n, part, where = gap
    assert RECIPE.modalities[n] is Modality.FLAIR
    assert torch.all(where[5:13, 5:-5, 5:-5] == 1) and torch.all(where[16:] == 0)
    asked = []

    def answered(x):
        asked.append(x)
        return torch.full((3, SIDE, SIDE, SIDE), 0.25 if not x[n].any() else 0.75)

    answer = gaps.filled(answered, image, [gap], RECIPE.output, logits=False)
    assert len(asked) == 2 and torch.equal(asked[0], image)
    assert torch.all(answer[:, 5:13, 5:-5, 5:-5] == 0.25) and torch.all(answer[:, 16:] == 0.75)
    assert part == pytest.approx(0.25, abs=0.01)
    assert gaps.words([gap], RECIPE.modalities).startswith("FLAIR does not show 25 % of the brain;")


@pytest.mark.parametrize("logits", [False, True])
def test_the_more_of_the_tumour_lies_there_the_more_the_answer_without_it_counts_elsewhere(logits):
    image = brain(flair=0.25)
    [gap] = gaps.found(image, RECIPE)
    low, high = (-1.0, 1.0) if logits else (0.25, 0.75)
    by_part = []
    for shifted in range(0, 24, 4):  # a cube of 8, in the gap at first and outside it in the end

        def answered(x, at=5 + shifted):
            found = torch.full((3, SIDE, SIDE, SIDE), low)
            if not x[gap.series].any():
                found[:, at : at + 8, 10:18, 10:18] = high
            return found

        answer = gaps.filled(answered, image, [gap], RECIPE.output, logits=logits)
        mask = answered(torch.zeros_like(image))[0] == high
        inside = float(gap.where[mask].sum() / mask.sum())
        outside = mask & (gap.where == 0)
        by_part.append(inside)
        if outside.any():
            assert torch.allclose(answer[:, outside], torch.tensor(low + (high - low) * inside**2), atol=1e-5)
        assert torch.all(answer[:, ~mask] == low)
    assert by_part[0] == 1 and by_part[-1] == 0 and by_part == sorted(by_part, reverse=True)


@pytest.mark.parametrize(
    ("cut", "recipe"),
    [
        ({}, RECIPE),
        ({"flair": 0.05}, RECIPE),  # a slice or two less than the others: nothing to speak of
        ({"flair": 1.0}, RECIPE),  # missing altogether
        ({"t1": 0.3}, RECIPE),  # gains nothing
        ({"t1ce": 0.3, "t2": 0.3}, RECIPE),
        ({"t2": 1.0, "flair": 0.3}, RECIPE),  # the model cannot do without both
        ({"flair": 0.3}, load_recipe("baseline", ["may_lack=[]"])),
    ],
)
def test_where_nothing_is_to_be_filled_the_network_is_asked_once(cut, recipe):
    image = brain(**cut)
    assert gaps.found(image, recipe) == []
    assert gaps.words([], recipe.modalities) == ""
    assert torch.equal(gaps.filled(lambda x: x[:3], image, [], RECIPE.output, logits=True), image[:3])


def test_it_is_said_with_the_answer_and_no_limits_are_claimed():
    whole_study = phantom_study(1, (96, 96, 64))
    seen = Predictor(device="cpu")
    usual = seen.predict(whole_study)
    flair = whole_study.volumes[Modality.FLAIR]
    data = flair.data.copy()
    shown = (data != 0).any(axis=(1, 2)).nonzero()[0]
    data[: shown[0] + (shown[-1] - shown[0]) // 3] = 0
    cut = replace(whole_study, volumes={**whole_study.volumes, Modality.FLAIR: replace(flair, data=data)})
    steps = []
    answer = seen.predict(cut, progress=steps.append)
    assert answer.uncovered.startswith("FLAIR does not show") and not usual.uncovered
    assert usual.intervals_ml and not answer.intervals_ml and answer.confidence is None
    assert trust_fields(answer)["uncovered"] == answer.uncovered and "uncovered" not in trust_fields(usual)
    assert [p.fraction for p in steps] == sorted(p.fraction for p in steps)
    labels, grid = answer.segmentation.labels, answer.segmentation.grid
    assert prediction_from_wire(prediction_to_wire(answer), grid, labels).uncovered == answer.uncovered
