"""Why a vector is anomalous: the features that carry its error, observed against expected."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from monitor.batch import FeatureDeviation, Matrix
from monitor.detect.detector import Detector
from monitor.features import Feature

UNSEEN = "(a value never seen in training)"


def explain(
    detector: Detector, values: Matrix, observed: Sequence[Sequence[Any]], top: int
) -> list[tuple[FeatureDeviation, ...]]:
    """The `top` features of each of (n, f) vectors, largest share first.

    `observed` holds each event's raw values in spec order, as people will want to see them.
    """
    terms, expected = detector.attribute(values)
    shares = terms / np.maximum(terms.sum(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    order = np.argsort(-terms, axis=1, kind="stable")[:, :top]
    return [
        tuple(
            FeatureDeviation(
                detector.spec.features[column].name,
                observed[row][column],
                _natural(detector, column, float(expected[row, column])),
                float(shares[row, column]),
            )
            for column in order[row]
        )
        for row in range(len(values))
    ]


def _natural(detector: Detector, column: int, value: float) -> Any:
    feature: Feature = detector.spec.features[column]
    if feature.kind == "categorical":
        code = int(value)
        return detector.vocabularies[column][code - 1] if code else UNSEEN
    if feature.kind == "boolean":
        return value >= 0.5
    return value
