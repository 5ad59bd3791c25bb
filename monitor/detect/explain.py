"""Why a vector is anomalous: the features that carry its error, observed against expected."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from monitor.batch import FeatureDeviation, Matrix
from monitor.detect.detector import Detector
from monitor.detect.vocabularies import MAX_CATEGORIES

ALIKE_SHARE = 0.01
"""Numbers that differ by less are the same to people."""

NEGLIGIBLE = 1e-6
"""What float32 leaves of a zero."""

OUTSIDE = 20.0
"""What being far outside of the training values adds to a deviation, which is a logarithm. That a
value was never seen is a fact of the vector, whereas a corrupted value also spoils the
reconstruction of others; more than any of those, so that a cause comes before its effects."""

HALFWAY = 0.1
"""Training ranges beyond the nearest training value at which half of `OUTSIDE` is reached."""

USUAL_CATEGORIES = 3


def explain(
    detector: Detector, values: Matrix, observed: Sequence[Sequence[Any]], top: int
) -> list[tuple[FeatureDeviation, ...]]:
    """At most `top` features of each of (n, f) vectors, largest share first.

    A feature weighs by how badly it was reconstructed and by how far it lies outside of all that
    training saw. `observed` holds each event's raw values in spec order, as people will want to see
    them. What is observed as expected is left out, however little the network was sure of it.
    """
    deviations, expected = detector.attribute(values)
    limits = _training_range(detector)
    outside = _outside(detector, values, limits)
    terms = deviations + OUTSIDE * (1 - HALFWAY / (outside + HALFWAY))
    shares = terms / np.maximum(terms.sum(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    terms[_alike(detector, values, expected) & (outside == 0)] = -1.0
    order = np.argsort(-terms, axis=1, kind="stable")[:, :top]  # (n, top)
    told = np.take_along_axis(terms, order, axis=1) >= 0
    usual = cache(lambda column: _usual(detector, column, limits))
    names = detector.spec.names

    def deviation(
        row: int, column: int, expected: float, share: float, outside: float
    ) -> FeatureDeviation:
        return FeatureDeviation(
            names[column],
            observed[row][column],
            _natural(detector, column, expected),
            share,
            usual(column),
            outside > 0,
        )

    # Plain numbers at once, which is cheaper than one by one.
    columns = (order, *(np.take_along_axis(a, order, axis=1) for a in (expected, shares, outside)))
    chosen = zip(told.tolist(), *(column.tolist() for column in columns), strict=True)
    return [
        tuple(deviation(row, *facts) for is_told, *facts in zip(*of_row, strict=True) if is_told)
        for row, of_row in enumerate(chosen)
    ]


@torch.inference_mode()
def _training_range(detector: Detector) -> Matrix:
    """(2, f): smallest and largest training value of each feature, 0 for categorical ones."""
    preprocessor = detector.model.preprocessor
    ends = torch.tensor([[-torch.inf], [torch.inf]], device=detector.device)
    limits: Matrix = preprocessor.natural(ends.expand(2, preprocessor.inputs)).cpu().numpy()
    return limits


def _outside(detector: Detector, values: Matrix, limits: Matrix) -> NDArray[np.float64]:
    """Of (n, f) vectors, how many training ranges each value lies outside of its own; (n, f).

    Infinite where any difference is one of kind: a constant that changed, a category never seen.
    """
    low, high = limits.astype(np.float64)
    beyond = np.maximum(values - high, low - values)
    beyond[beyond <= ALIKE_SHARE * np.maximum(np.abs(low), np.abs(high))] = 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        outside = np.where(beyond > 0, beyond / (high - low), 0.0)
    for column in detector.spec.columns_of("categorical"):
        complete = len(detector.vocabularies[column]) < MAX_CATEGORIES
        outside[:, column] = np.where((values[:, column] == 0) & complete, np.inf, 0.0)
    return outside


def _usual(detector: Detector, column: int, limits: Matrix) -> tuple[Any, ...]:
    if detector.spec.features[column].kind == "categorical":
        return detector.vocabularies[column][:USUAL_CATEGORIES]
    low, high = (_natural(detector, column, float(limit)) for limit in limits[:, column])
    return (low, high)


def _alike(detector: Detector, values: Matrix, expected: Matrix) -> NDArray[np.bool_]:
    """Whether people would call (n, f) values and the expected ones the same."""
    off = np.abs(values - expected)
    tolerance = ALIKE_SHARE * np.maximum(np.abs(values), np.abs(expected))
    alike: NDArray[np.bool_] = off <= np.maximum(tolerance, NEGLIGIBLE)
    boolean = detector.spec.columns_of("boolean")
    alike[:, boolean] = off[:, boolean] <= 0.5
    categorical = detector.spec.columns_of("categorical")
    alike[:, categorical] = off[:, categorical] == 0
    return alike


def _natural(detector: Detector, column: int, value: float) -> Any:
    kind = detector.spec.features[column].kind
    if kind == "categorical":
        words = detector.vocabularies[column]
        return words[max(int(value), 1) - 1] if words else None
    if kind == "boolean":
        return value >= 0.5
    return 0.0 if abs(value) < NEGLIGIBLE else value
