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


def parse_document(value: bytes | None, max_bytes: int) -> Any:
    """The value of a record to a JSON document whose keys are unique.

    Raises:
        RecordError: it is none.
    """
    if value is None:
        raise RecordError(Reason.TOMBSTONE, "the record has no value")
    if len(value) > max_bytes:
        raise RecordError(
            Reason.TOO_LARGE,
            f"{len(value)} bytes, more than the {max_bytes} allowed",
        )
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


def _unusable_number(text: str) -> RecordError | None:
    """What is wrong with a text that is JSON but for NaN, Infinity or a number no float holds."""
    found: list[RecordError] = []

    def constant(literal: str) -> float:
        found.append(RecordError(Reason.NOT_FINITE, f"{literal} is not a finite number"))
        return 0.0

    def number(literal: str) -> float:
        if math.isinf(parsed := float(literal)):
            error = f"{literal[:_EXCERPT]} is infinite as a float"
            found.append(RecordError(Reason.NOT_FINITE, error))
        return parsed

    try:
        json.loads(text, parse_constant=constant, parse_float=number, parse_int=number)
    except (ValueError, RecursionError):
        return None
    return found[0] if found else None


def excerpt(value: Any) -> str:
    """A short, single-line, JSON-like rendering of a value for an error text."""
    try:
        text = orjson.dumps(value).decode("utf-8", "replace")
    except (TypeError, ValueError):  # among others, of what is nested too deeply to be written
        return f"a {type(value).__name__} that cannot be shown"
    return text if len(text) <= _EXCERPT else f"{text[:_EXCERPT]}… ({type(value).__name__})"
