"""The wording of a report's numbers, on the terminal, on its page and in the window alike. Light: no torch."""

from __future__ import annotations


def number(value: float | None, digits: int = 3) -> str:
    """Like "0.812"; a dash for None."""
    return "–" if value is None else f"{value:.{digits}f}"


def signed(value: float | None, digits: int = 3) -> str:
    """Like "+0.031", and never "-0.000"; a dash for None."""
    return "–" if value is None else f"{round(value, digits) + 0.0:+.{digits}f}"


def interval(difference: float | None, low: float | None, high: float | None, digits: int = 3) -> str:
    """Like "+0.031 (+0.010 to +0.052)"; the difference alone where there is no interval."""
    text = signed(difference, digits)
    return text if difference is None or low is None else f"{text} ({signed(low, digits)} to {signed(high, digits)})"


def change(title: str, cases: int, difference: float, low: float | None, high: float | None) -> str:
    """How the mean Dice of a set of cases changes, in a sentence."""
    span = f"95 % interval {signed(low)} to {signed(high)}" if low is not None else "too few for an interval"
    return f"On the {title} ({cases} case{'s' if cases != 1 else ''}) the mean Dice changes by {signed(difference)}, {span}."


def weights(alpha: float, why: str) -> str:
    """How far the model was moved, and why, in a sentence."""
    return (
        f"The new model goes {100 * alpha:.0f} % of the way from the base model's weights to the trained ones: {why}."
    )
