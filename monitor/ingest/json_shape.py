"""Which keys the records of a producer have, and where among them a field of the spec is.

keys = keys_of(documents, spec.unwrap)
locate(keys, "flow.pkts_toserver")  # ("flow", "pkts_toserver")
"""

import re
from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Any

MOST_LEVELS = 8
"""More levels of objects are not learnt."""

Keys = dict[str, "Keys | None"]
"""The keys of an object: those of the object under each, or None where it is no object."""
Location = tuple[str, ...]
"""The keys that lead to a value."""

_PLAIN_KEY = re.compile(r'[^"\\\x00-\x1f]*')
"""Keys that msgspec takes."""


class NoLayoutError(Exception):
    """Records like these cannot be told apart by their keys and types alone."""


def wrapper_of(document: dict[str, Any], unwrap: Sequence[str]) -> str | None:
    """The key that holds the whole event; None where the document is the event."""
    return next((key for key in unwrap if isinstance(document.get(key), dict)), None)


def keys_of(
    documents: Sequence[dict[str, Any]], unwrap: Sequence[str], known: Keys, most: int
) -> Keys:
    """The keys of those documents that are wrapped like the first, and those known before.

    Args:
        most: how many there may be.
    """
    wrapper = wrapper_of(documents[0], unwrap)
    # Another key that may wrap an event is never learnt: its value decides what the event is.
    others = set(unwrap) - {wrapper}
    keys, room = deepcopy(known), most - _count(known)
    for document in documents:
        if wrapper_of(document, unwrap) == wrapper:
            found = {key: value for key, value in document.items() if key not in others}
            room -= _merge(keys, found, room, MOST_LEVELS)
    return keys


def _count(keys: Keys) -> int:
    return len(keys) + sum(_count(inner) for inner in keys.values() if inner is not None)


def _merge(keys: Keys, found: dict[str, Any], room: int, levels: int) -> int:
    """Add the keys of an object, at most `room` of them; how many were added."""
    added = 0
    for key, value in found.items():
        is_object = isinstance(value, dict)
        if key not in keys:
            if added >= room or not _PLAIN_KEY.fullmatch(key) or (is_object and not levels):
                continue
            keys[key] = {} if is_object else None
            added += 1
        inner = keys[key]
        if is_object and inner is not None:
            added += _merge(inner, value, room - added, levels - 1)
    return added


def locate(keys: Keys, path: str) -> Location | None:
    """Where `find` comes upon a path in every record that has no other keys; None where nowhere.

    Raises:
        NoLayoutError: it depends on the record, or is an object.
    """
    places = list(_places(keys, path))
    if len(places) > 1 or any(is_object for _, is_object in places):
        raise NoLayoutError(path)
    return places[0][0] if places else None


def _places(keys: Keys, path: str) -> Iterator[tuple[Location, bool]]:
    if path in keys:
        yield (path,), keys[path] is not None
    head, _, rest = path.partition(".")
    inner = keys.get(head) if rest else None
    if inner is not None:
        yield from (((head, *place), is_object) for place, is_object in _places(inner, rest))
