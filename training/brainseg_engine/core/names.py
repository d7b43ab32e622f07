"""Names that come from files: checked here, once, before a path is made of them.

A record, a plan or a split that somebody hands on may call a case ``../../home`` or ``/etc``. Whoever makes a path of such
a name takes :func:`inside`, which gives a path below its root or none.
"""

from __future__ import annotations

import re
from pathlib import Path

MOST_BYTES = 200
"""Of a name in UTF-8: file systems take 255, and endings are put behind it."""
_WINDOWS = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f-\x9f/\\:*?"<>|]')
_MODEL = re.compile(r"\w[\w.-]*")


class SafeName(str):
    """One name of a file or a folder, on every system: neither a path nor hidden, and nothing that leads elsewhere."""

    __slots__ = ()

    @classmethod
    def of(cls, given: object) -> SafeName:
        """The name, checked. Raises ValueError."""
        if not isinstance(given, str):
            raise ValueError(f"a name is text, not {type(given).__name__}")
        shown = given[:40].encode("ascii", "backslashreplace").decode()
        if not given or given[0] in ".- " or given[-1] in ". ":
            raise ValueError(f"'{shown}' is no name of a file")
        if _FORBIDDEN.search(given) or given.partition(".")[0].lower() in _WINDOWS:
            raise ValueError(f"'{shown}' is no plain name of a file")
        if len(given.encode("utf-8", "surrogateescape" if _from_system(given) else "surrogatepass")) > MOST_BYTES:
            raise ValueError(f"'{shown}…' is too long for the name of a file")
        return cls(given)


def inside(root: Path, *names: object) -> Path:
    """``root / names…``, each a :class:`SafeName`. Raises ValueError for any other, and where a link leads out of ``root``."""
    path = root.joinpath(*(SafeName.of(n) for n in names))
    require_inside(root, path)
    return path


def require_inside(root: Path, path: Path) -> None:
    """Raise ValueError unless ``path`` lies below ``root`` once all links are followed."""
    try:
        below = path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError) as e:  # a circle of links
        raise ValueError(f"{path} cannot be followed ({e})") from e
    if not below:
        raise ValueError(f"{path} leads out of {root}")


def is_model_name(name: str) -> bool:
    """Whether a model may be called so: letters, digits, '-', '_' and '.' alone, and a letter or digit first."""
    if not _MODEL.fullmatch(name):
        return False
    try:
        SafeName.of(name)
    except ValueError:
        return False
    return True


def as_model_name(text: str) -> str:
    """``text`` as a model may be called, like the name of a file with spaces in it."""
    name = re.sub(r"[^\w.-]+", "-", text)[:80].strip(".-")
    return name if is_model_name(name) else f"model-{name}".rstrip(".-")


def _from_system(name: str) -> bool:
    """Whether the odd characters in it are bytes of a file name that is no UTF-8."""
    return not any("\ud800" <= c <= "\udfff" and not "\udc80" <= c <= "\udcff" for c in name)
