"""Text of others, as it may be shown: nothing in it commands a terminal, and all of it can be encoded."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

_COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """The text with its control characters, turned writing directions and bytes that are no Unicode spelt out (``\\x1b``).

    Tabs and line ends stay.
    """
    return _COMMANDS.sub(_spelt, text)


def printable_json(text: str) -> str:
    """The same for a JSON text, whose meaning stays: spelt out as JSON does it (``\\u001b``)."""
    return _COMMANDS.sub(lambda m: f"\\u{ord(m[0]):04x}", text)


def _spelt(match: re.Match[str]) -> str:
    number = ord(match[0])
    return f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}"


def console(**options: Any) -> Console:
    """A rich console on which text is text: nothing in it is markup unless asked for, and nothing commands the terminal."""
    from collections.abc import Iterable

    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    class PlainConsole(Console):
        """Every text that is shown comes by here, whatever table or bar it stands in."""

        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
            for segment in super().render(renderable, options):
                harmless = segment.control or not _COMMANDS.search(segment.text)
                yield segment if harmless else Segment(printable(segment.text), segment.style)

    return PlainConsole(**{"markup": False, "highlight": False, "emoji": False, **options})
