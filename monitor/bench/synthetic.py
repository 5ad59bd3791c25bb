"""Vectors of any width that look like statistics of traffic: correlated, skewed, none negative."""

from collections.abc import Sequence

import numpy as np
import orjson

from monitor.batch import Matrix
from monitor.features import Feature, FeatureSpec

DECIMALS = 4


def spec(features: int) -> FeatureSpec:
    """So many numeric features."""
    return FeatureSpec(
        name=f"synthetic-{features}",
        features=tuple(Feature(name=f"f{n:04}", kind="numeric") for n in range(features)),
    )


def vectors(features: int, count: int, seed: int = 0) -> Matrix:
    """(count, features) float32: an eighth as many hidden causes, mixed, with noise, exponentiated.

    All seeds share the mixture, so that one makes training data and another traffic like it.
    """
    causes = max(features // 8, 2)
    mixture = np.random.default_rng(0).standard_normal((causes, features)) / np.sqrt(causes)
    random = np.random.default_rng(seed + 1)
    levels = random.standard_normal((count, causes)) @ mixture
    levels += 0.1 * random.standard_normal((count, features))
    values: Matrix = np.exp(1.5 * levels + 2).round(DECIMALS).astype(np.float32)
    return values


def json_arrays(values: Matrix) -> Sequence[bytes]:
    """(n, f) vectors as JSON arrays, of no more digits than they have."""
    rows = values.astype(np.float64).round(DECIMALS).tolist()
    return [orjson.dumps(row) for row in rows]
