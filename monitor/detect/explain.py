"""Why a vector is anomalous: the features that carry its error, observed against expected."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from monitor.batch import FeatureDeviation, Matrix
from monitor.detect.detector import Detector
from monitor.features import Feature

ALIKE_SHARE = 0.01
"""Numbers that differ by less are the same to people."""

NEGLIGIBLE = 1e-6
"""What float32 leaves of a zero."""

UNSEEN = "(a value never seen in training)"


def explain(
    detector: Detector, values: Matrix, observed: Sequence[Sequence[Any]], top: int
) -> list[tuple[FeatureDeviation, ...]]:
    """At most `top` features of each of (n, f) vectors, largest share first.

    `observed` holds each event's raw values in spec order, as people will want to see them. What is
    observed as expected is left out, however little the network was sure of it.
    """
    terms, expected = detector.attribute(values)
    shares = terms / np.maximum(terms.sum(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    order = np.argsort(-terms, axis=1, kind="stable")
    features = detector.spec.features

    def deviations(row: int) -> Iterator[FeatureDeviation]:
        for column in order[row]:
            seen, share = observed[row][column], float(shares[row, column])
            natural = _natural(detector, column, float(expected[row, column]))
            if not _alike(seen, natural):
                yield FeatureDeviation(features[column].name, seen, natural, share)

    return [tuple(islice(deviations(row), top)) for row in range(len(values))]


def _alike(observed: Any, expected: Any) -> bool:
    """Whether people would call the two the same."""
    if isinstance(expected, float):
        off: float = abs(observed - expected)
        return bool(off <= ALIKE_SHARE * max(abs(observed), abs(expected)))
    same: bool = observed == expected
    return same


def _natural(detector: Detector, column: int, value: float) -> Any:
    feature: Feature = detector.spec.features[column]
    if feature.kind == "categorical":
        code = int(value)
        return detector.vocabularies[column][code - 1] if code else UNSEEN
    if feature.kind == "boolean":
        return value >= 0.5
    return 0.0 if abs(value) < NEGLIGIBLE else value
