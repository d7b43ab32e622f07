"""Gzip streams in memory, inflated no further than is needed: what is packed into a small file may have any size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from isal import isal_zlib
from isal.igzip_lib import IsalError

from brainseg_engine.core.errors import InputError
from brainseg_engine.io.image import MOST_BYTES

MAGIC = b"\x1f\x8b"
_ISAL: Any = IsalError  # isal's stubs call its exception an instance
_PIECE = 2**20
_AGAIN = "Copy or download it again."


def inflated(raw: bytes, need: int, path: Path, *, whole: bool = True) -> bytes:
    """The first ``need`` bytes of what the gzip stream holds, or few more; fewer where it holds fewer.

    ``whole``: go on to its end, where its checksum stands. Raises InputError for a stream that is cut short, damaged, or
    has far more in it than the image.
    """
    kept: list[bytes] = []
    held, rest = 0, raw
    try:
        while rest:
            stream = isal_zlib.decompressobj(31)  # 31: with gzip's frame
            piece = rest
            while not stream.eof:
                out = stream.decompress(piece, max(need - held, _PIECE))
                if held < need:
                    kept.append(out)
                held += len(out)
                piece = stream.unconsumed_tail
                if not whole and held >= need:
                    return b"".join(kept)
                if held > need + MOST_BYTES:
                    raise InputError(f"{path} holds far more than the image that its header tells. {_AGAIN}")
                if not out and not piece and not stream.eof:
                    raise EOFError
            rest = stream.unused_data.lstrip(b"\0")
            if not rest.startswith(MAGIC):  # what follows the last member is nobody's
                break
    except EOFError as e:
        if not whole:
            return b"".join(kept)
        raise InputError(f"{path} is cut short: its gzip stream ends too early. {_AGAIN}") from e
    except (_ISAL, ValueError) as e:
        raise InputError(f"{path} is damaged: its gzip stream cannot be decompressed ({e}). {_AGAIN}") from e
    return kept[0] if len(kept) == 1 else b"".join(kept)
