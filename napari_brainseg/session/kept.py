"""Labels of studies that are not open, held until these are opened again, in little room."""

from __future__ import annotations

import zlib
from collections import OrderedDict
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_brainseg.session.records import Answer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from brainseg_engine.core.labels import LabelArray
    from brainseg_engine.core.study import Segmentation

MOST = 20
"""Studies whose labels are held; the longest held go first."""
WITH_PROBABILITIES = 2
"""Of how many the model's probabilities are held too, which show where it was unsure: some 50 MB each."""


class KeptAnswers:
    """Token of a study → its answer, the labels packed (megabytes become kilobytes)."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, _Packed] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, token: str) -> bool:
        return token in self._kept

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept)

    def keep(self, token: str, answer: Answer) -> None:
        """Hold an answer for that study, in place of what was held for it."""
        self._kept.pop(token, None)
        self._kept[token] = _Packed.of(answer)
        while len(self._kept) > MOST:
            self._kept.popitem(last=False)
        for older in list(self._kept)[:-WITH_PROBABILITIES]:
            packed = self._kept[older]
            self._kept[older] = replace(packed, rest=packed.rest | {"probabilities": None})

    def take(self, token: str) -> Answer | None:
        """What is held for that study; it is no longer held from then on."""
        packed = self._kept.pop(token, None)
        return packed.answer() if packed is not None else None


@dataclass(frozen=True)
class _Packed:
    """An answer whose labels, and those that they began from, are compressed; ``rest`` are its other fields."""

    segmentation: _PackedLabels
    base: _PackedLabels | None
    rest: dict[str, Any]

    @classmethod
    def of(cls, answer: Answer) -> _Packed:
        rest = {f.name: getattr(answer, f.name) for f in fields(answer) if f.name not in ("segmentation", "base")}
        base = _PackedLabels.of(answer.base) if answer.base is not None else None
        return cls(_PackedLabels.of(answer.segmentation), base, rest)

    def answer(self) -> Answer:
        base = self.base.segmentation() if self.base is not None else None
        return Answer(segmentation=self.segmentation.segmentation(), base=base, **self.rest)


@dataclass(frozen=True)
class _PackedLabels:
    """A segmentation whose labels are compressed in the order ("C" or "F") in which they lie in memory."""

    labels: bytes
    order: Literal["C", "F"]
    rest: dict[str, Any]

    @classmethod
    def of(cls, segmentation: Segmentation) -> _PackedLabels:
        labels = segmentation.labels
        order: Literal["C", "F"] = "F" if labels.flags.f_contiguous else "C"
        rest = {f.name: getattr(segmentation, f.name) for f in fields(segmentation) if f.name != "labels"}
        return cls(zlib.compress(labels.ravel(order=order).data, 1), order, rest)

    def segmentation(self) -> Segmentation:
        from brainseg_engine.core.study import Segmentation

        flat: LabelArray = np.frombuffer(zlib.decompress(self.labels), dtype=np.uint8).copy()
        return Segmentation(labels=flat.reshape(self.rest["grid"].shape, order=self.order), **self.rest)
