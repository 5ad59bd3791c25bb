"""The value of a record becomes a JSON document, or a reason why it is none.

document = parse_document(record.value, max_bytes=1_048_576)
find(document, "id.orig_h")
"""

import json
import math
from collections.abc import Mapping
from typing import Any, Final

import jiter
import orjson

from monitor.batch import Unread
from monitor.ingest.textfile import BYTE_ORDER_MARK
from monitor.reasons import Reason

_WHITE_SPACE = b" \t\r\n"
_MISSING: Final = object()
_EXCERPT = 60
_SIGNS_OF_NO_NUMBER = ("NaN", "Infinity")


class RecordError(Exception):
    """This record is no vector, for this reason."""

    def __init__(self, reason: Reason, error: str) -> None:
        super().__init__(error)
        self.reason = reason
        self.error = error


def without_value(value: bytes | None) -> RecordError:
    """Why a record holds nothing that could be read."""
    if value is None:
        return RecordError(Reason.TOMBSTONE, "the record has no value")
    if isinstance(value, Unread):
        return RecordError(Reason.TOO_LARGE, value.error)
    return RecordError(Reason.EMPTY, "the value is empty")


def parse_document(value: bytes | None, max_bytes: int) -> Any:
    """The value of a record to a JSON document whose keys are unique.

    A byte order mark before it is passed over, as RFC 8259 allows.

    Raises:
        RecordError: it is none.
    """
    if not value:
        raise without_value(value)
    if len(value) > max_bytes:
        raise RecordError(
            Reason.TOO_LARGE,
            f"{len(value)} bytes, more than the {max_bytes} allowed",
        )
    value = value.removeprefix(BYTE_ORDER_MARK)
    try:
        document = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise _parse_error(value, error) from None
    if isinstance(document, dict) and not _keys_surely_unique(value, document):
        _check_keys(value)
    return document


def find(event: Mapping[str, Any], path: str) -> Any:
    """The value under a literal key or, failing that, along a dotted path; None where absent."""
    value = event.get(path, _MISSING)
    if value is not _MISSING:
        return value
    head, _, rest = path.partition(".")
    inner = event.get(head) if rest else None
    return find(inner, rest) if isinstance(inner, dict) else None


def scalar_text(value: Any) -> str | None:
    """A JSON scalar as text, whole numbers without a fraction; None for anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if isinstance(value, (int, float)) else None


def _keys_surely_unique(value: bytes, document: dict[str, Any]) -> bool:
    """True if no key can stand twice; False if that has to be looked at.

    Every key is followed by a colon, without white space between even by `":`, so that their number
    is at most the count of either; a parser that kept fewer keys has dropped one, or objects are
    nested.
    """
    if value.count(b":") == len(document):
        return True
    return value.translate(None, _WHITE_SPACE).count(b'":') == len(document)


def _check_keys(value: bytes) -> None:
    try:
        jiter.from_json(value, catch_duplicate_keys=True)
    except ValueError as error:
        if "duplicate key" in str(error):
            raise RecordError(Reason.DUPLICATE_KEY, str(error)) from None


def _parse_error(value: bytes, error: ValueError) -> RecordError:
    """Why the fast parser refused a value, in the words of the closed set."""
    if not value.strip(_WHITE_SPACE):
        return RecordError(Reason.EMPTY, "the value is empty")
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError as unicode_error:
        return RecordError(Reason.NOT_UTF8, str(unicode_error))
    complaint = str(error)
    # A lone surrogate is complained of before any number behind it.
    suspicious = "infinity" in complaint or any(sign in text for sign in _SIGNS_OF_NO_NUMBER)
    unusable = _unusable_number(text) if suspicious or "surrogate" in complaint else None
    return unusable or RecordError(Reason.MALFORMED_JSON, complaint)


class _Unusable(float):
    """A number in JSON that is none for us."""

    def __init__(self, literal: str) -> None:
        self.literal = literal[:_EXCERPT]
        self.error = f"{self.literal} is not a finite number"

    def stands_under(self, key: str) -> None:
        self.error = f"{key[:_EXCERPT]!r} is {self.literal}, not a finite number"


def _unusable_number(text: str) -> RecordError | None:
    """What is wrong with a text that is JSON but for NaN, Infinity or a number no float holds."""
    found: list[_Unusable] = []

    def number(literal: str) -> float:
        if math.isfinite(float(literal)):
            return 0.0
        found.append(_Unusable(literal))
        return found[-1]

    def members(pairs: list[tuple[str, Any]]) -> None:
        for key, value in pairs:
            if isinstance(value, _Unusable):
                value.stands_under(key)

    try:
        json.loads(
            text,
            parse_constant=number,
            parse_float=number,
            parse_int=number,
            object_pairs_hook=members,
        )
    except (ValueError, RecursionError):
        return None
    return RecordError(Reason.NOT_FINITE, found[0].error) if found else None


def excerpt(value: Any) -> str:
    """A short, single-line, JSON-like rendering of a value for an error text."""
    try:
        text = orjson.dumps(value).decode("utf-8", "replace")
    except (TypeError, ValueError):  # among others, of what is nested too deeply to be written
        return f"a {type(value).__name__} that cannot be shown"
    return text if len(text) <= _EXCERPT else f"{text[:_EXCERPT]}… ({type(value).__name__})"
