"""Planted anomalies: normal vectors of which one feature, and we know which, is out of range."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from monitor.batch import Indices, Matrix
from monitor.detect.detector import Detector
from monitor.detect.explain import explain
from monitor.features import FeatureSpec

FARTHEST = 100.0
"""Ranges of the training values that a planted one lies outside of them, at most."""


@dataclass(frozen=True, slots=True)
class Planted:
    """What became of planted vectors.

    Attributes:
        column: (n,) which feature was corrupted.
        flagged: (n,) bool, whether the detector found the vector anomalous.
        first: (n,) bool, whether it was also explained by that feature before all others.
    """

    column: Indices
    flagged: np.ndarray
    first: np.ndarray

    @property
    def flagged_ratio(self) -> float:
        return float(self.flagged.mean())

    @property
    def named_first_ratio(self) -> float:
        """Among the flagged, how many name the corrupted feature first."""
        return float(self.first[self.flagged].mean())


def plant(
    detector: Detector, training: Matrix, normal: Matrix, rounds: int = 1, seed: int = 0
) -> Planted:
    """Corrupt each vector in one feature, score and explain it.

    Args:
        training: (m, f) what the detector was trained on; it decides what is out of range.
        normal: (n, f) vectors that were not trained on. Those that are false alarms as they are
            have another reason and are left out.
        rounds: how many corruptions of each vector.
    """
    random = np.random.default_rng(seed)
    quiet = normal[detector.score(normal).errors <= detector.threshold]
    vectors = np.repeat(quiet, rounds, axis=0)
    columns = np.fromiter(_columns(detector.spec, training, len(vectors), random), np.int64)
    for column in np.unique(columns):
        rows = np.flatnonzero(columns == column)
        vectors[rows, column] = _beyond(detector.spec, training, column, len(rows), random)
    flagged = detector.score(vectors).errors > detector.threshold
    first = np.zeros(len(vectors), dtype=bool)
    rows = np.flatnonzero(flagged)
    explained = explain(detector, vectors[rows], observed(detector, vectors[rows]), top=1)
    names = detector.spec.names
    first[rows] = [
        bool(features) and features[0].name == names[column]
        for features, column in zip(explained, columns[rows], strict=True)
    ]
    return Planted(columns, flagged, first)


def observed(detector: Detector, vectors: Matrix) -> list[tuple[object, ...]]:
    """(n, f) vectors as the events that they might come from hold them."""

    def value(column: int, number: float) -> object:
        kind = detector.spec.features[column].kind
        if kind == "categorical":
            return detector.vocabularies[column][int(number) - 1] if number else "a new one"
        return number >= 0.5 if kind == "boolean" else number

    return [tuple(value(i, number) for i, number in enumerate(row)) for row in vectors.tolist()]


def _columns(
    spec: FeatureSpec, training: Matrix, count: int, random: np.random.Generator
) -> Iterator[int]:
    """Features in turn; of booleans only those that never changed: others have no outside."""
    varied = [
        i
        for i, feature in enumerate(spec.features)
        if feature.kind != "boolean" or len(np.unique(training[:, i])) == 1
    ]
    order = random.permutation(np.resize(varied, count))
    return iter(order.tolist())


def _beyond(
    spec: FeatureSpec, training: Matrix, column: int, count: int, random: np.random.Generator
) -> Matrix:
    """Values of a feature that training never saw, near its range and far from it."""
    kind, seen = spec.features[column].kind, training[:, column].astype(np.float64)
    if kind == "categorical":
        return np.zeros(count, dtype=np.float32)
    if kind == "boolean":
        return np.full(count, 1 - seen[0], dtype=np.float32)
    low, high = seen.min(), seen.max()
    span = max(high - low, 1.0 if high == low else 0.0)
    distance = span * np.exp(random.uniform(0, np.log(FARTHEST), count))
    above = random.random(count) < 0.5
    return np.where(above, high + distance, low - distance).astype(np.float32)
