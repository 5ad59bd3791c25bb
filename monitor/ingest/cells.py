"""Cells of a table's column become numbers, whole columns at a time.

The rules are those of JSON records, so that a file and the stream that replays it give the same
vectors; only what text has to be read more leniently for is added: `1`, `T` and `yes` are true.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from monitor.batch import Vector64
from monitor.ingest.json_codec import FLOAT32_MAX

NUMBER = r"(?i)^[+-]?(\d+\.?\d*(e[+-]?\d+)?|\.\d+(e[+-]?\d+)?|nan|inf|infinity)$"
"""What a text cell has to look like to be a number, finite or not."""

TRUE_WORDS = frozenset({"true", "t", "yes", "y", "1", "1.0"})
FALSE_WORDS = frozenset({"false", "f", "no", "n", "0", "0.0"})


class Fault(IntEnum):
    """What is wrong with a cell, in the order in which the JSON codec would come upon it."""

    NONE = 0
    NOT_FINITE = 1
    MISSING = 2
    WRONG_TYPE = 3
    OUT_OF_RANGE = 4


@dataclass(frozen=True, slots=True)
class Cells:
    """A converted column.

    Attributes:
        values: (n,) float64; 0 where there is a fault.
        faults: (n,) uint8 of `Fault`, or None where every cell is good.
    """

    values: Vector64
    faults: NDArray[np.uint8] | None = None


def numbers(column: pa.Array) -> Cells:
    """Numbers in natural units."""
    wrong: NDArray[np.bool_] | None = None
    if pa.types.is_string(column.type):
        parsed, wrong = _parse_numbers(column)
    elif _is_number(column.type):
        parsed = column.cast(pa.float64(), safe=False)  # the nearest to a large integer
    else:
        parsed, wrong = pa.nulls(len(column), pa.float64()), mask(column.is_valid())
    values = _dense(parsed, 0.0)
    if wrong is None and not column.null_count and np.abs(values).max(initial=0) <= FLOAT32_MAX:
        return Cells(values)
    faults = np.zeros(len(column), dtype=np.uint8)
    faults[np.abs(values) > FLOAT32_MAX] = Fault.OUT_OF_RANGE
    faults[~np.isfinite(values)] = Fault.NOT_FINITE
    if column.null_count:
        faults[mask(column.is_null())] = Fault.MISSING
    if wrong is not None:
        faults[wrong] = Fault.WRONG_TYPE
    return _clean(values, faults)


def booleans(column: pa.Array) -> Cells:
    """0 and 1."""
    if pa.types.is_boolean(column.type):
        missing = mask(column.is_null()) if column.null_count else np.zeros(len(column), bool)
        return _clean(_dense(column, False).astype(np.float64), missing * np.uint8(Fault.MISSING))
    if not _is_number(column.type):
        return _by_value(column, lambda text: boolean(text))
    cells = numbers(column)
    wrong = (cells.values != 0) & (cells.values != 1)
    faults = np.zeros(len(column), np.uint8) if cells.faults is None else cells.faults
    return _clean(
        cells.values, np.where(wrong | (faults == Fault.OUT_OF_RANGE), Fault.WRONG_TYPE, faults)
    )


def categories(column: pa.Array, encode: Callable[[str], int]) -> Cells:
    """Codes of the cells' texts."""
    return _by_value(column, encode)


def boolean(text: str) -> int | None:
    """1 for a word that means true, 0 for false, None for any other."""
    word = text.lower()
    return 1 if word in TRUE_WORDS else 0 if word in FALSE_WORDS else None


def texts(column: pa.Array) -> pa.DictionaryArray:
    """Cells of any type as the text that vocabularies hold, each different one once.

    The texts stand in order of first appearance. Numbers and booleans are written as the JSON codec
    writes them: 80.0 as `80`.
    """
    if pa.types.is_dictionary(column.type):
        dictionary, codes = distinct(column)
        return pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes < 0), _text(dictionary))
    return _text(column).dictionary_encode()


def distinct(column: pa.Array) -> tuple[pa.Array, NDArray[np.int32]]:
    """The values of a column, and of each cell the position of its own; -1 where it is null.

    There are never more values than cells, however large a dictionary came with the column.
    """
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    codes = _dense(encoded.indices.cast(pa.int32()), -1)
    if encoded.dictionary.null_count:
        codes = np.where(mask(encoded.dictionary.is_null())[codes], np.int32(-1), codes)
    if len(encoded.dictionary) <= len(column):
        return encoded.dictionary, codes
    used, places = np.unique(codes[codes >= 0], return_inverse=True)
    codes = codes.copy()
    codes[codes >= 0] = places
    return encoded.dictionary.take(pa.array(used)), codes


def mask(array: pa.Array) -> NDArray[np.bool_]:
    """An arrow boolean array to numpy, null as False."""
    dense: NDArray[np.bool_] = array.fill_null(False).to_numpy(zero_copy_only=False)
    return dense


def _dense(array: pa.Array, null: float) -> NDArray[Any]:
    """Numbers to numpy, with one for null."""
    full = array.fill_null(null) if array.null_count else array
    dense: NDArray[Any] = full.to_numpy(zero_copy_only=False)
    return dense


def _by_value(column: pa.Array, convert: Callable[[str], int | None]) -> Cells:
    """Convert each different text once."""
    encoded = texts(column)
    words = encoded.dictionary.to_pylist()
    converted = [0 if text is None else convert(text) for text in words]
    # One more entry than there are texts: what null cells point to.
    by_code = np.array([0 if code is None else code for code in [*converted, 0]], dtype=np.float64)
    faults = [Fault.WRONG_TYPE if code is None else Fault.NONE for code in converted]
    fault_by_code = np.array([*faults, Fault.MISSING], dtype=np.uint8)
    codes = _dense(encoded.indices, len(converted))
    return _clean(by_code[codes], fault_by_code[codes])


def _clean(values: Vector64, faults: NDArray[np.uint8]) -> Cells:
    if not faults.any():
        return Cells(values)
    return Cells(np.where(faults == Fault.NONE, values, 0.0), faults)


def _parse_numbers(column: pa.Array) -> tuple[pa.Array, NDArray[np.bool_] | None]:
    """Text to float64, and which cells are no number; the common case is one cast."""
    try:
        return column.cast(pa.float64()), None
    except pa.ArrowInvalid:
        looks_right = pc.match_substring_regex(column, NUMBER)
        kept = pc.if_else(looks_right, column, pa.scalar(None, pa.string()))
        return kept.cast(pa.float64()), mask(pc.invert(looks_right))


def _is_number(kind: pa.DataType) -> bool:
    types = pa.types
    return any(is_kind(kind) for is_kind in (types.is_integer, types.is_floating, types.is_decimal))


def _text(column: pa.Array) -> pa.Array:
    types = pa.types
    if types.is_string(column.type):
        return column
    if types.is_floating(column.type) or types.is_decimal(column.type):
        return pa.array([_number_text(value) for value in column.to_pylist()], pa.string())
    return column.cast(pa.string())


def _number_text(value: Any) -> str | None:
    if value is None:
        return None
    number = float(value)
    return str(int(number)) if number.is_integer() else str(number)
