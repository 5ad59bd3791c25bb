"""The values that categorical features are known by, and the codes that stand for them."""

from collections.abc import Sequence

import numpy as np

from monitor.batch import Matrix
from monitor.features import FeatureSpec

MAX_CATEGORIES = 256

Vocabulary = tuple[str, ...]
"""Known values of a feature; code i is the i-th, counted from 1, and 0 is an unseen one."""


def keep_frequent(
    spec: FeatureSpec, values: Matrix, vocabularies: Sequence[Vocabulary]
) -> list[Vocabulary]:
    """Vocabularies cut to their most frequent values; the rest become unseen (code 0), in place.

    Equally frequent ones in alphabetical order, so that only the vectors decide and not where in a
    file a value was first met.
    """
    kept = [tuple(words) for words in vocabularies]
    for column in spec.columns_of("categorical"):
        words = vocabularies[column]
        counts = np.bincount(values[:, column].astype(np.int64), minlength=len(words) + 1).tolist()
        met = [code for code in range(1, len(words) + 1) if counts[code]]
        frequent = sorted(met, key=lambda code: (-counts[code], words[code - 1]))[:MAX_CATEGORIES]
        kept[column] = tuple(words[code - 1] for code in frequent)
    _recode(spec, values, vocabularies, kept)
    return kept


def recoded(
    spec: FeatureSpec, values: Matrix, old: Sequence[Vocabulary], new: Sequence[Vocabulary]
) -> Matrix:
    """(n, f) vectors whose categories are codes of `old` as codes of `new`; 0 where it has none."""
    values = values.copy()
    _recode(spec, values, old, new)
    return values


def _recode(
    spec: FeatureSpec, values: Matrix, old: Sequence[Vocabulary], new: Sequence[Vocabulary]
) -> None:
    for column in spec.columns_of("categorical"):
        codes = {word: code for code, word in enumerate(new[column], start=1)}
        lookup = np.array([0, *(codes.get(word, 0) for word in old[column])], np.float32)
        values[:, column] = lookup[values[:, column].astype(np.int64)]
