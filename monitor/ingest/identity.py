"""Who, when and between whom: the identity of the few events that turn out anomalous.

Everything here comes from outside and is read leniently: what cannot be understood is left out, it
never makes an alert fail.
"""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from monitor.batch import EventIdentity
from monitor.features import Identity

MAX_PORT = 65_535
_LONGEST_PORT = len(str(MAX_PORT))
MAX_TEXT = 4096
LONGEST_NAME = 256
"""Characters of an entity's name that tell it from others: as many as an alert shows."""
_UNITS_PER_SECOND = (1, 1_000, 1_000_000, 1_000_000_000)
_LATEST_SECONDS = 32_503_680_000
"""The year 3000: a larger number of seconds is taken as a finer unit."""


class IdentityReader:
    """Reads the identity fields of an event by a spec."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        paths = (identity.source_address, *identity.entities.values(), identity.destination_address)
        self.entity_paths = tuple(path for path in paths if path)
        self.time_path = identity.event_time
        first = self.entity_paths[0] if self.entity_paths else ""
        self.usual_paths = first, self.time_path or first

    def read(self, observed: tuple[Any, ...], get: Callable[[str], Any]) -> EventIdentity:
        """`get` gives the value at a path of the event, None where there is none."""
        where = self._identity
        time = where.event_time
        entities = {label: identity_text(get(path)) for label, path in where.entities.items()}
        return EventIdentity(
            observed,
            _text(get, where.record_id),
            milliseconds(get(time)) if time else None,
            _text(get, where.source_address),
            _port(_text(get, where.source_port)),
            _text(get, where.destination_address),
            _port(_text(get, where.destination_port)),
            _text(get, where.protocol),
            {label: value for label, value in entities.items() if value},
        )


def _text(get: Callable[[str], Any], path: str | None) -> str | None:
    return identity_text(get(path)) if path else None


def _port(text: str | None) -> int | None:
    plausible = text and len(text) <= _LONGEST_PORT and text.isdecimal() and int(text) <= MAX_PORT
    return int(text) if text and plausible else None


def identity_text(value: Any) -> str | None:
    """A name, address or id as text; None if it is none."""
    if isinstance(value, str):
        return value[:MAX_TEXT] or None
    if isinstance(value, int) and abs(value) >= 1 << 64:
        return None
    return str(value) if isinstance(value, (int, float)) else None


def entity_name(values: Iterable[Any]) -> str | None:
    """The first of some values that is a name, as long as names are; None where none is."""
    name = next(filter(None, map(identity_text, values)), None)
    return name and name[:LONGEST_NAME]


def milliseconds(value: Any) -> int | None:
    """A time as producers write it to milliseconds since 1970; None if it is no time.

    Numbers are seconds, milliseconds, microseconds or nanoseconds, told apart by magnitude (as
    seconds they would lie beyond the year 3000). Text is ISO 8601, without an offset taken as UTC.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        try:
            return _from_number(float(value))
        except ValueError:
            return _from_iso(value)
    return _from_number(value) if isinstance(value, (int, float)) else None


def _from_number(value: int | float) -> int | None:
    for units in _UNITS_PER_SECOND:
        if 0 <= value < _LATEST_SECONDS * units:
            return round(value / units * 1000)
    return None


def _from_iso(text: str) -> int | None:
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(round(aware.timestamp() * 1000), 0)
