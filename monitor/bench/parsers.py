"""Ways from the values of records to a float32 matrix, for loops that do nothing else."""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain, repeat
from operator import itemgetter
from typing import Any

import numpy as np
import orjson

from monitor.batch import Matrix
from monitor.features import FeatureSpec
from monitor.ingest.codec import build_codec

Parse = Callable[[Sequence[bytes]], Matrix]
Parser = Callable[[FeatureSpec, Sequence[Sequence[str]]], Parse]


def handwritten(spec: FeatureSpec, vocabularies: Sequence[Sequence[str]]) -> Parse:
    """What a good engineer writes for this stream alone, with orjson and numpy.

    It trusts every record: the first that lacks a field, or holds text for a number, ends it.
    """
    numeric = np.array(spec.columns_of("numeric", "boolean"), np.intp)
    get_numeric = _getter([spec.paths[column] for column in numeric])
    categorical = [
        (column, itemgetter(spec.paths[column]), _codes(vocabularies[column]).get)
        for column in spec.columns_of("categorical")
    ]

    def parse(values: Sequence[bytes]) -> Matrix:
        documents = orjson.loads(b"[" + b",".join(values) + b"]")
        if isinstance(documents[0], list):
            flat = chain.from_iterable(documents)
            return np.fromiter(flat, np.float32, len(values) * len(spec)).reshape(len(values), -1)
        matrix = np.empty((len(values), len(spec)), np.float32)
        flat = chain.from_iterable(map(get_numeric, documents))
        numbers = np.fromiter(flat, np.float32, len(values) * len(numeric))
        matrix[:, numeric] = numbers.reshape(len(values), -1)
        for column, get, code in categorical:
            words = map(get, documents)
            matrix[:, column] = np.fromiter(map(code, words, repeat(0)), np.float32, len(values))
        return matrix

    return parse


def own_codec(spec: FeatureSpec, vocabularies: Sequence[Sequence[str]]) -> Parse:
    """The monitor's own, with every check it makes."""
    codec = build_codec(spec, vocabularies)
    return lambda values: codec.decode(values).batch.values


PARSERS: Mapping[str, Parser] = {"handwritten": handwritten, "own codec": own_codec}


def _getter(names: Sequence[str]) -> Callable[[Any], tuple[Any, ...]]:
    """Always a tuple."""
    if len(names) == 1:
        get = itemgetter(names[0])
        return lambda document: (get(document),)
    return itemgetter(*names)


def _codes(words: Sequence[str]) -> Mapping[str, int]:
    return {word: code for code, word in enumerate(words, start=1)}


def can_parse(parse: Parse, records: Sequence[bytes]) -> bool:
    """Whether every record becomes a vector."""
    try:
        return len(parse(records)) == len(records)
    except (LookupError, TypeError, ValueError):
        return False
