"""Text and numbers from the network, made fit to be shown and written as JSON."""

import math
import sys
from typing import Any

import numpy as np

MAX_TEXT = 256
"""Characters of any one string that came from outside; longer ones end in an ellipsis."""

MAX_INT = 2**63 - 1
LARGEST_IN_FULL = 1e15

FeatureValue = bool | int | float | str | None


def clean(text: str, limit: int = MAX_TEXT) -> str:
    """At most `limit` printable characters.

    What is not printable (control characters, lone surrogates, direction overrides) is written as
    an escape such as `\\x1b`, so that it can neither break JSON nor steer a terminal.
    """
    if len(text) <= limit and text.isprintable():
        return text
    text = text[: limit + 1]
    if not text.isprintable():
        text = "".join(c if c.isprintable() else _escape(c) for c in text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def finite(number: float, if_nan: float = 0.0) -> float:
    """The number, or the nearest that JSON can hold."""
    if math.isfinite(number):
        return float(number)
    if math.isnan(number):
        return if_nan
    return max(-sys.float_info.max, min(float(number), sys.float_info.max))


def plain(value: Any) -> FeatureValue:
    """A feature's value as JSON can hold it; NaN is null, an object only the name of its type."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return None if math.isnan(value) else finite(value)
    if isinstance(value, str):
        return clean(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) <= MAX_INT else _large(value)
    return f"({type(value).__name__})"


def shown(value: FeatureValue, digits: int | None = None) -> str:
    """A value for people; `digits` are significant ones, by default whole numbers come in full."""
    if isinstance(value, str):
        return value
    if value is None:
        return "absent"
    if isinstance(value, bool):
        return "true" if value else "false"
    if digits is None and abs(value) < LARGEST_IN_FULL and value == int(value):
        return str(int(value))
    text = f"{value:.{digits or 6}g}"
    if "e" not in text and text != "-0":
        return text
    rounded = float(text)
    whole = rounded.is_integer() and abs(rounded) < LARGEST_IN_FULL
    return str(int(rounded)) if whole else repr(rounded)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _large(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return sys.float_info.max if value > 0 else -sys.float_info.max
