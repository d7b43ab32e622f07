"""What can go wrong, as sentences a person can act on.

Every error that a user may meet derives from :class:`BrainsegError`. Its text says what is wrong, in which file, and
what to do; the command line prints it as it is and the window shows it as it is. A traceback is for bugs only.
"""

from __future__ import annotations

_LONGEST = 4000


class BrainsegError(Exception):
    """A user's error: the message is shown as it is. ``exit_code`` is what the command line returns for it."""

    exit_code = 1

    def __init__(self, message: str = "") -> None:
        """What it quotes of a file may be of any length: the sentence is cut where nobody reads on."""
        super().__init__(message if len(message) <= _LONGEST else message[:_LONGEST] + "…")


class InputError(BrainsegError):
    """An image, a mask or a folder cannot be used as it is."""

    exit_code = 3


class CodingError(InputError):
    """The values of a mask do not fit a label coding, or no coding is known for it."""


class GeometryError(InputError):
    """Grids that should be the same differ."""


class OutputError(BrainsegError):
    """Nothing can be written where the result should go."""

    exit_code = 4


class CheckpointError(BrainsegError):
    """A model file is absent, damaged, or not one of ours."""

    exit_code = 5


class RecipeError(BrainsegError):
    """A recipe has an unknown key, a value out of range, or contradicts itself."""

    exit_code = 6


class DeviceError(BrainsegError):
    """The device asked for is not there, or it is out of memory."""

    exit_code = 7


class TrainingError(BrainsegError):
    """Training cannot start or go on."""

    exit_code = 8


class Cancelled(BrainsegError):
    """The user stopped the work; nothing partial was left behind."""

    exit_code = 130

    def __init__(self, message: str = "Cancelled; nothing was written.") -> None:
        super().__init__(message)
