"""An alignment put right by hand: a series shifted and turned over the reference, in millimetres and degrees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainseg_engine.prepare.rigid import Rigid

Three = tuple[float, float, float]


@dataclass(frozen=True)
class Nudge:
    """How far the series' picture is moved: ``shift_mm`` along three axes, ``turn_deg`` about each of them (right-handed),
    the turns first, about the first axis first."""

    shift_mm: Three = (0.0, 0.0, 0.0)
    turn_deg: Three = (0.0, 0.0, 0.0)

    @property
    def nothing(self) -> bool:
        """True where nothing is moved."""
        return not any(self.shift_mm) and not any(self.turn_deg)

    def applied(self, rigid: Rigid, centre: ArrayLike, axes: NDArray[np.float64]) -> Rigid:
        """Where the reference's points lie in the series once its picture is moved about ``centre`` (RAS mm of the
        reference); ``axes``: the three axes as unit columns (3, 3), at right angles."""
        at = np.asarray(centre, dtype=np.float64)
        turn = np.eye(3)
        for axis, degrees in enumerate(self.turn_deg):
            turn = _about(axes[:, axis], np.radians(degrees)) @ turn
        moved = np.eye(4)
        moved[:3, :3] = turn
        moved[:3, 3] = at + axes @ np.asarray(self.shift_mm) - turn @ at
        return Rigid(np.asarray(rigid.matrix @ np.linalg.inv(moved), dtype=np.float64))


def _about(axis: NDArray[np.float64], angle: float) -> NDArray[np.float64]:
    """The rotation about a unit axis, by Rodrigues' formula."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross  # type: ignore[no-any-return]
