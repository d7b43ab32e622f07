"""How a network is run over a study on this machine: in one pass where memory allows, else in tiles, else on the CPU.

The plan is a ladder. Its first rung is what the model was made for; each further one needs less memory, and may answer a little
differently where normalisation sees a smaller piece. It begins at the first rung that fits the memory that is free, and goes down
a rung where memory runs out all the same.
"""

from __future__ import annotations

import logging
import math
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from brainseg_engine import nets
from brainseg_engine.core.geometry import Shape3
from brainseg_engine.inference import tiles
from brainseg_engine.recipe import Recipe

_log = logging.getLogger(__name__)
CAPS = (128, 96)
"""Sides of tiles that are tried where the usual ones do not fit. Of one study the bundled model's answers agreed with those of
one pass by Dice 0.98, 0.97, 0.88 (WT, TC, ET) with 128, 0.93, 0.90, 0.87 with 96, 0.82, 0.76, 0.48 with 64: the CPU then."""
_PIECE = 32
"""Voxels a side of the piece over which a network is run once to see what it needs."""
_SPARE = 0.9
"""Of the free memory: the rest is for what is not tensors."""


@dataclass(frozen=True)
class Rung:
    """One way to run the network, of those that are tried one after the other: ``count`` tiles of the shape ``tile`` (x, y, z),
    which may have at most the size ``largest``. ``need``: bytes, 0 where it is not known."""

    device: str
    largest: Shape3
    tile: Shape3
    count: int
    need: int = 0

    @property
    def words(self) -> str:
        """``one pass 144×176×152 on cpu``."""
        size = "×".join(map(str, self.tile))
        return f"{'one pass' if self.count == 1 else f'{self.count} tiles'} {size} on {self.device}"

    def described(self, free: int) -> str:
        """In one line, with what it needs of what is free."""
        if not self.need:
            return self.words
        return f"{self.words}, needs {self.need / 2**30:.1f} of {free / 2**30:.1f} GiB"


class Planner:
    """Plans for one network; what was measured of it is kept."""

    def __init__(self, net: torch.nn.Module, recipe: Recipe) -> None:
        self._recipe = recipe
        self._net = net
        self._known: dict[Shape3, int] = {}

    def ladder(self, shape: Sequence[int], device: str) -> list[Rung]:
        """All rungs for an image (C, X, Y, Z), the first the usual one; never empty."""
        window, divisor = self._recipe.window, nets.divisor(self._recipe)
        largest = window.size if window.policy == "patch" and window.size is not None else window.largest
        usual: Shape3 = (largest[0], largest[1], largest[-1])
        sizes = [usual]
        if self._recipe.network.dimensions == 3:
            sizes += [(min(c, usual[0]), min(c, usual[1]), min(c, usual[2])) for c in CAPS]
        rungs: list[Rung] = []
        for where in dict.fromkeys((device, "cpu")):
            for size in sizes:
                tile, places = tiles.plan(shape[1:], size, window.overlap, divisor, window.steps == "fixed")
                if not any(r.device == where and r.tile == tile for r in rungs):
                    rung = Rung(where, size, tile, len(places), self._need(shape, tile, len(places)))
                    rungs.append(rung)
        return rungs

    def _need(self, shape: Sequence[int], tile: Shape3, count: int) -> int:
        """Bytes: of the passes, the image, and the answer (twice where tiles are blended). 0 where it cannot be told."""
        if self._recipe.network.dimensions == 2:
            return 0
        one = self._of_one_pass(shape[0], tile)
        voxels = shape[1] * shape[2] * shape[3]
        answers = self._recipe.output.channels * (2 if count == 1 else 3)
        return one + 4 * voxels * (shape[0] + answers) if one else 0

    def _of_one_pass(self, channels: int, tile: Shape3) -> int:
        """Of a small piece, times its voxels: what lives between layers grows with these. A pass without numbers (torch's device
        ``meta``) over the tile itself gave the same and took two seconds."""
        sides = [max(2 * d, -(-_PIECE // d) * d) for d in nets.divisor(self._recipe)]
        piece: Shape3 = (min(tile[0], sides[0]), min(tile[1], sides[1]), min(tile[2], sides[2]))
        if piece not in self._known:
            self._known[piece] = self._measured(torch.Size((1, channels, *piece)))
        return round(self._known[piece] * math.prod(tile) / math.prod(piece))

    def _measured(self, shape: torch.Size) -> int:
        where = next((p.device for p in self._net.parameters()), torch.device("cpu"))
        try:
            with torch.inference_mode():
                return peak_bytes(self._net, torch.zeros(shape, device=where))
        except Exception as e:  # a network of one size, say
            _log.debug("what a pass needs is not known: %s", e)
            return 0


def choose(ladder: Sequence[Rung], free: dict[str, int]) -> int:
    """The first rung that fits ``free`` (device → bytes), else the last one. One whose need is not known is taken to fit."""
    for n, rung in enumerate(ladder):
        if rung.need <= _SPARE * free.get(rung.device, 2**62):
            return n
    return len(ladder) - 1


def peak_bytes(net: torch.nn.Module, image: torch.Tensor) -> int:
    """The most bytes of tensors that live at once while the network runs over the image, the weights apart; of one whose work
    depends on what it finds, while it does all that it could (``costliest``)."""
    with _Living() as living:
        getattr(net, "costliest", net)(image)
    return int(living.most)


class _Living(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own class has no types
    """Adds up the storages that operations make, as long as they live."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.most = 0
        self._seen: set[int] = set()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Torch's own question. To say so would import its compiler, a second's work, and nothing is compiled here."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else (out,):
            if isinstance(tensor, torch.Tensor):
                self._count(tensor)
        return out

    def _count(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._seen:
            return
        self._seen.add(key)
        size = storage.nbytes()
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.now -= size


def free_bytes(device: str) -> int:
    """What a process may still take: of a GPU, or of this machine within the limits it is under (a container, a batch job)."""
    if device.startswith("cuda"):
        free, _ = torch.cuda.mem_get_info(device)
        return int(free) + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    import psutil

    free = int(psutil.virtual_memory().available)
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        try:
            left = int(Path(limit).read_text()) - int(Path(used).read_text())
        except (OSError, ValueError):  # none, or "max"
            continue
        free = min(free, max(left, 0))
    return free


def short_numbers(device: str) -> torch.dtype | None:
    """What a GPU multiplies with, twice as fast and in half the memory; sums, normalisation and what comes out stay float32.
    None elsewhere: CPUs gain nothing by it."""
    return torch.float16 if device.startswith("cuda") else None


def give_back(device: str) -> None:
    """Free what a failed pass left on a GPU."""
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
