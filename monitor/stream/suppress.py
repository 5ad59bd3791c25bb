"""`[[suppress]]`: anomalies that the operator knows of, to be counted and not told of.

suppressions = Suppressions(settings.suppress)
reasons = suppressions.reasons(events, subjects, first_features, now_ms)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from ipaddress import IPv6Address, ip_address, ip_network

import structlog

from monitor.batch import EventIdentity
from monitor.config import Suppression
from monitor.contracts.detection import named_entities

log = structlog.get_logger()

FirstFeatures = Callable[[Sequence[int]], Sequence[str]]
"""For positions of events, the feature that the alert of each would name first."""

_LITERAL = str.maketrans({"[": "[[]", "?": "[?]"})
"""What fnmatch would take for more than itself."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """An address, a range of addresses, or a text in which * stands for anything."""

    text: str

    def matches(self, value: str) -> bool:
        """Whether a value from an event is meant; an IPv4 address also as IPv6 writes it."""
        try:
            address, network = ip_address(value), ip_network(self.text, strict=False)
        except ValueError:
            return fnmatchcase(value, self.text.translate(_LITERAL))
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        return address in network or (mapped is not None and mapped in network)

    @property
    def matches_everything(self) -> bool:
        """Whether no value, or no address of one version, escapes it."""
        return not self.text.strip("*") or self.text.endswith("/0")


class Suppressions:
    """Those in force; it says in the log which are not, and which spare nothing."""

    def __init__(self, rules: Sequence[Suppression], now_ms: int) -> None:
        self._rules = [rule for rule in rules if not _expired(rule, now_ms)]
        for rule in rules:
            if rule not in self._rules:
                log.warning("suppression has expired", reason=rule.reason, expires=rule.expires)
            elif _matches_everything(rule):
                log.warning("suppression matches everything", reason=rule.reason)

    def __bool__(self) -> bool:
        return bool(self._rules)

    def reasons(
        self,
        events: Sequence[EventIdentity],
        subjects: Sequence[str],
        first_features: FirstFeatures,
        now_ms: int,
    ) -> list[str | None]:
        """Of each anomalous event the reason why it is suppressed; None where it is told of.

        Only events that meet all other conditions are explained, which takes longest.

        Args:
            subjects: whom the alert of each event would be about.
        """
        rules = [rule for rule in self._rules if not _expired(rule, now_ms)]
        met = [
            [rule for rule in rules if _meets(rule, event, subject)]
            for event, subject in zip(events, subjects, strict=True)
        ]
        asked = [n for n, rules in enumerate(met) if any(rule.feature for rule in rules)]
        features = dict(zip(asked, first_features(asked) if asked else (), strict=True))
        return [
            next((rule.reason for rule in rules if _names(rule, features.get(n))), None)
            for n, rules in enumerate(met)
        ]


def _expired(rule: Suppression, now_ms: int) -> bool:
    if rule.expires is None:
        return False
    aware = rule.expires if rule.expires.tzinfo else rule.expires.replace(tzinfo=UTC)
    return aware <= datetime.fromtimestamp(now_ms / 1000, UTC)


def _meets(rule: Suppression, event: EventIdentity, subject: str) -> bool:
    """Whether an event meets the conditions that need no explanation."""
    if rule.entity and not Pattern(rule.entity).matches(subject):
        return False
    entities = named_entities(event) if rule.labels else {}
    return all(
        label in entities and Pattern(text).matches(entities[label])
        for label, text in rule.labels.items()
    )


def _names(rule: Suppression, feature: str | None) -> bool:
    return rule.feature is None or (feature is not None and Pattern(rule.feature).matches(feature))


def _matches_everything(rule: Suppression) -> bool:
    given = [rule.entity, rule.feature, *rule.labels.values()]
    return all(Pattern(text).matches_everything for text in given if text is not None)
