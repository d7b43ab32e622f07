"""Fit what tells T1, T1ce, T2 and FLAIR apart, and write it as JSON into the engine.

    python scripts/train_series_order.py DATA SPLIT.csv [--variants 25]

Only the cases that the split calls training are read. Each is taken as it is and in made-up variants: cut to 3–7 mm in any
plane, with a bias field, noise, another tone curve, put back into a made-up head with skin, fat, neck and noisy air, the
series moved against each other. The fit is a conditional logit over the 24 ways to name four series (regularised, convex,
so it has one answer), plus the same weights as a plain classifier of one series. The seed is fixed.
"""

from __future__ import annotations

import argparse
import csv
import json
from concurrent.futures import ProcessPoolExecutor
from itertools import combinations, permutations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.study import Modality, Study, Volume
from brainseg_engine.io import load_study
from brainseg_engine.studies import appearance

ORDERS = list(permutations(range(4)))
PAIRS = list(combinations(range(4), 2))
RIDGE = {"stripped": 0.003, "head": 0.001}
"""Of 0.0003 to 0.03, those that did best in four-fold cross-validation over the training cases."""
STEP = 3
"""Voxels of 1 mm are taken in these steps: finer ones are not looked at anyway."""
OUT = Path(__file__).parents[1] / "training" / "brainseg_engine" / "studies" / "series_order.json"

KINDS = ("skull", "all", "thick", "biased")


def degraded(study: Study, kind: str, rng: np.random.Generator) -> Study:
    """One variant of a stripped study; "plain" is the study itself, "all" has every fault."""
    if kind == "plain":
        return study
    moved = rng.random() < 0.5
    volumes = {}
    for m, v in study.volumes.items():
        data, grid = v.data.astype(np.float32), v.grid
        if kind in ("thick", "all") and rng.random() < 0.8:
            data, grid = thick(data, grid, rng)
        else:
            data, grid = every(data, grid, (STEP, STEP, STEP))
        if kind in ("skull", "all"):
            data, grid = in_a_head(data, grid, m, rng)
        if kind in ("biased", "all"):
            data = toned(data * bias(data.shape, rng), rng)
        data = noisy(data, rng, blank=kind not in ("skull", "all"))
        volumes[m] = Volume(data, move(grid, rng) if moved else grid, m)
    return Study(study.id, volumes)


def every(data: NDArray[np.float32], grid: Grid, step: tuple[int, ...]) -> tuple[NDArray[np.float32], Grid]:
    """Every n-th voxel along each axis."""
    few = data[tuple(slice(None, None, n) for n in step)]
    return few, Grid(few.shape, grid.affine @ np.diag([*step, 1.0]))


def thick(data: NDArray[np.float32], grid: Grid, rng: np.random.Generator) -> tuple[NDArray[np.float32], Grid]:
    """Slices of 3 to 7 mm, axial mostly."""
    axis = int(rng.choice(3, p=[0.12, 0.12, 0.76]))
    n = int(rng.integers(3, 8))
    data, grid = every(data, grid, tuple(1 if i == axis else STEP for i in range(3)))
    part = ndimage.uniform_filter1d((data > 0).astype(np.float32), n, axis=axis)
    whole = ndimage.uniform_filter1d(data, n, axis=axis) * (part > 0.4)
    return every(whole, grid, tuple(n if i == axis else 1 for i in range(3)))


def in_a_head(
    data: NDArray[np.float32], grid: Grid, modality: Modality, rng: np.random.Generator
) -> tuple[NDArray[np.float32], Grid]:
    """The brain inside fluid, skull, muscle and fat, with a neck and a face below."""
    pad = [round(30 / s) for s in grid.spacing]
    data = np.pad(data, [(p, p) for p in pad])
    affine = grid.affine.copy()
    affine[:3, 3] = grid.to_world([-p for p in pad])
    grid = Grid(data.shape, affine)
    brain = ndimage.binary_fill_holes(data > 0)
    level = float(np.median(data[brain]))
    dark, bright = np.percentile(data[brain], [2, 98])
    fluid = {Modality.T2: 1.1 * bright, Modality.FLAIR: dark}.get(modality, dark)
    fat = level * rng.uniform(
        *{Modality.T1: (1.3, 3.0), Modality.T1CE: (1.3, 3.0), Modality.T2: (0.6, 2.2)}.get(modality, (0.6, 2.2))
    )
    if rng.random() < 0.2:
        fat = level * rng.uniform(0.1, 0.5)  # fat suppressed
    muscle = level * rng.uniform(0.4, 1.0)
    away = ndimage.distance_transform_edt(~brain, sampling=grid.spacing)
    edges = np.cumsum([rng.uniform(1, 4), rng.uniform(4, 8), rng.uniform(1, 3), rng.uniform(3, 8)])
    axis, down = _downwards(grid)
    inside = away <= edges[-1]
    column = np.flip(inside, axis) if down < 0 else inside
    column = np.maximum.accumulate(column, axis=axis)  # everything below the widest part
    column = np.flip(column, axis) if down < 0 else column
    texture = ndimage.gaussian_filter(rng.standard_normal(data.shape).astype(np.float32), [6 / s for s in grid.spacing])
    texture /= texture.std()
    out = np.zeros_like(data)
    below = column & ~inside
    out[below] = np.where(texture[below] > 0.6, fat, muscle * (1 + 0.2 * texture[below]))
    for low, high, value in (
        (0, edges[0], fluid),
        (edges[0], edges[1], 0.1 * level),
        (edges[1], edges[2], muscle),
        (edges[2], edges[3], fat),
    ):
        ring = (away > low) & (away <= high)
        out[ring] = value * (1 + 0.15 * texture[ring])
    return np.where(brain, data, np.maximum(out, 0)).astype(np.float32), grid


def _downwards(grid: Grid) -> tuple[int, int]:
    code = next(c for c in grid.orientation if c in "SI")
    return grid.orientation.index(code), 1 if code == "I" else -1


def bias(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """A smooth factor, up to about ±50 % at the corners."""
    axes = np.meshgrid(*[np.linspace(-1, 1, n, dtype=np.float32) for n in shape], indexing="ij", sparse=True)
    terms = [*axes, *(a * b for a, b in combinations(axes, 2)), *(a * a for a in axes)]
    return np.exp(sum(np.float32(rng.normal(0, 0.12)) * t for t in terms)).astype(np.float32)


def toned(data: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Another tone curve: a power between 0.65 and 1.5."""
    top = np.percentile(data[data > 0], 99.9)
    return (np.power(np.clip(data / top, 0, None), rng.uniform(0.65, 1.5)) * top).astype(np.float32)


def noisy(data: NDArray[np.float32], rng: np.random.Generator, blank: bool) -> NDArray[np.float32]:
    """Rician noise of 0.5 to 5 % of the bright end; ``blank``: the air stays zero. Scale and offset are arbitrary."""
    sd = np.percentile(data[data > 0], 98) * rng.uniform(0.005, 0.05)
    noise = rng.normal(0, sd, (2, *data.shape)).astype(np.float32)
    out = np.hypot(data + noise[0], noise[1])
    if blank or rng.random() < 0.2:
        out = np.where(data > 0, np.maximum(out, 1e-3), 0)
    return np.asarray(out * np.float32(10 ** rng.uniform(-1, 3)), np.float32)


def move(grid: Grid, rng: np.random.Generator) -> Grid:
    """The header moved by up to 15 mm and 10° round a random axis."""
    axis = rng.standard_normal(3)
    axis /= np.linalg.norm(axis)
    k = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    angle = np.radians(rng.uniform(0, 10))
    turn = np.eye(4)
    turn[:3, :3] += np.sin(angle) * k + (1 - np.cos(angle)) * k @ k
    turn[:3, 3] = rng.uniform(-15, 15, 3)
    return Grid(grid.shape, turn @ grid.affine)


def numbers(study: Study) -> tuple[NDArray[np.float64], NDArray[np.float64], bool] | None:
    """Features (4, F) and pair features (4, 4, P) of a study, and whether it is stripped; None where a series shows nothing."""
    looks = [appearance.look(study.volumes[m]) for m in Modality]
    if any(x is None for x in looks):
        return None
    pairs = np.zeros((4, 4, appearance.PAIR_FEATURES))
    for i, j in combinations(range(4), 2):
        pairs[i, j] = appearance.pair_features(looks[i], looks[j])  # type: ignore[arg-type]
        pairs[j, i] = appearance.swapped(pairs[i, j])
    seen = [x for x in looks if x is not None]
    return np.stack([x.features for x in seen]), pairs, all(x.stripped for x in seen)


Numbers = tuple[NDArray[np.float64], NDArray[np.float64], bool]


def variants(job: tuple[Path, int]) -> list[Numbers]:
    """The numbers of a case (its folder, how many variants) as it is and of the variants of it."""
    case, count = job
    study = load_study(case, segmentation=False)
    rng = np.random.default_rng([0, *case.name.encode()])
    kinds = ("plain", *(KINDS[i % len(KINDS)] for i in range(count - 1)))
    return [made for kind in kinds if (made := numbers(degraded(study, kind, rng))) is not None]


def fit(x: NDArray[np.float64], pairs: NDArray[np.float64], ridge: float) -> dict[str, Any]:
    """The weights from features (N, 4, F) and pair features (N, 4, 4, 8), series in the order of Modality."""
    import torch

    flat, flat_pairs = (
        x.reshape(-1, x.shape[-1]),
        pairs[:, [i for i, _ in PAIRS], [j for _, j in PAIRS]].reshape(-1, pairs.shape[-1]),
    )
    mean, sd = flat.mean(0), np.maximum(flat.std(0), 1e-3)
    pair_sd = np.maximum(np.sqrt((flat_pairs**2).mean(0)), 1e-3)
    xs = torch.from_numpy((x - mean) / sd)
    ps = torch.from_numpy(pairs / pair_sd)
    w = torch.zeros(4, x.shape[-1] + 1, dtype=torch.float64, requires_grad=True)
    v = torch.zeros(len(PAIRS), pairs.shape[-1], dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([w, v], max_iter=400, line_search_fn="strong_wolfe", tolerance_grad=1e-7)
    roles = torch.arange(4).repeat(len(x))

    def loss() -> Any:
        optimiser.zero_grad()
        single = xs @ w[:, 1:].T + w[:, 0]  # (N, series, role)
        orders = torch.stack([
            sum(single[:, o[r], r] for r in range(4)) + sum(ps[:, o[i], o[j]] @ v[k] for k, (i, j) in enumerate(PAIRS))
            for o in ORDERS
        ], dim=1)  # fmt: skip
        joint = -torch.log_softmax(orders, dim=1)[:, 0].mean()
        alone = torch.nn.functional.cross_entropy(single.reshape(-1, 4), roles)
        total = joint + alone + ridge * ((w[:, 1:] ** 2).sum() + (v**2).sum())
        total.backward()
        return total

    optimiser.step(loss)
    unit_w = w.detach().numpy()[:, 1:] / sd
    return {
        "weights": np.round(unit_w, 6).tolist(),
        "offsets": np.round(w.detach().numpy()[:, 0] - unit_w @ mean, 6).tolist(),
        "pair_weights": np.round(v.detach().numpy() / pair_sd, 6).tolist(),
    }


def main() -> None:
    """Read the training cases, fit, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("split", type=Path)
    parser.add_argument("--variants", type=int, default=25)
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    with args.split.open(newline="") as f:
        cases = sorted(r["case"] for r in csv.DictReader(f) if r["split"] == "train")
    with ProcessPoolExecutor(args.jobs) as pool:
        found = [x for some in pool.map(variants, [(args.data / c, args.variants) for c in cases]) for x in some]
    write(found, len(cases))


def write(found: list[Numbers], cases: int) -> None:
    """Fit one set of weights for stripped brains and one for heads, and write both."""
    sets = {}
    for name, stripped in (("stripped", True), ("head", False)):
        some = [(x, p) for x, p, s in found if s is stripped]
        sets[name] = {"cases": cases, "studies": len(some)} | fit(
            np.stack([x for x, _ in some]), np.stack([p for _, p in some]), RIDGE[name]
        )
    about = {
        "about": "linear weights of studies/series_order, made by scripts/train_series_order.py",
        "roles": [m.value for m in Modality], "pairs": PAIRS,
    }  # fmt: skip
    OUT.write_text(json.dumps(about | sets, separators=(",", ":")) + "\n", encoding="utf-8")
    print(f"{len(found)} studies of {cases} cases → {OUT}")


if __name__ == "__main__":
    main()
