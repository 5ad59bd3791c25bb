"""JSON values become the numbers of a vector, or a reason why they do not.

`check(value, feature)` says what is wrong with one value, `numbers` and `booleans` convert many.
"""

import math
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from monitor.batch import Matrix, Vector64
from monitor.features import Feature
from monitor.ingest.json_document import RecordError, excerpt, scalar_text
from monitor.reasons import Reason

FLOAT32_MAX = float(np.finfo(np.float32).max)


def numbers(rows: Sequence[Sequence[Any]], width: int) -> Vector64:
    """Equally long rows of JSON numbers to a finite matrix that float32 can hold."""
    if not set(map(type, chain.from_iterable(rows))) <= {int, float}:
        raise RecordError(Reason.WRONG_TYPE, "not a number")
    try:
        flat = np.fromiter(chain.from_iterable(rows), np.float64, len(rows) * width)
    except OverflowError:
        raise RecordError(Reason.OUT_OF_RANGE, "beyond float32") from None
    if len(flat) and not np.abs(flat).max() <= FLOAT32_MAX:
        raise RecordError(Reason.OUT_OF_RANGE, "beyond float32")
    return flat.reshape(len(rows), width)


def check(value: Any, feature: Feature) -> None:
    """Refuse a value that does not fit its feature's kind, naming both."""
    if feature.kind == "categorical":
        category(value, feature.name)
    elif feature.kind == "boolean":
        _boolean(value, feature.name)
    elif type(value) not in (int, float):
        raise RecordError(
            Reason.WRONG_TYPE, f"{feature.name!r} is {excerpt(value)}, expected a number"
        )
    elif not math.isfinite(value):
        raise RecordError(Reason.NOT_FINITE, f"{feature.name!r} is {value}")
    elif abs(value) > FLOAT32_MAX:
        raise RecordError(
            Reason.OUT_OF_RANGE, f"{feature.name!r} is {excerpt(value)}, beyond float32"
        )


def booleans(values: Sequence[Any]) -> Matrix:
    """true, false, 1 and 0 to (n,) float32."""
    try:
        return np.fromiter(map(_BOOLEANS.__getitem__, values), np.float32, len(values))
    except (KeyError, TypeError):
        raise RecordError(Reason.WRONG_TYPE, "not a boolean") from None


def texts(values: Sequence[Any]) -> Sequence[str]:
    """JSON scalars as the text that vocabularies hold."""
    types = set(map(type, values))
    if types == {str}:
        return values
    return list(map(str if types <= {str, int} else category, values))


def default(value: Any, feature: Feature) -> Any:
    """The value, or the feature's default where it is null or absent."""
    if value is not None:
        return value
    if feature.default is None:
        raise RecordError(Reason.MISSING_FEATURE, f"{feature.name!r} is missing")
    return feature.default


def category(value: Any, name: str = "") -> str:
    """A JSON scalar as the text that vocabularies hold.

    Raises:
        RecordError: it is none.
    """
    text = scalar_text(value)
    if text is None:
        raise RecordError(
            Reason.WRONG_TYPE,
            f"{name!r} is {excerpt(value)}, expected text, a number or a boolean",
        )
    return text


_BOOLEANS = {True: 1.0, False: 0.0}


def _boolean(value: Any, name: str) -> float:
    """true, false, 1 and 0 (equal keys of one mapping) to 1.0 and 0.0."""
    try:
        return _BOOLEANS[value]
    except (KeyError, TypeError):
        raise RecordError(
            Reason.WRONG_TYPE, f"{name!r} is {excerpt(value)}, expected true or false"
        ) from None
