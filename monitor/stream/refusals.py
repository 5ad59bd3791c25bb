"""What the group refuses, in words for a user."""

from kafka.errors import (
    FencedInstanceIdError,
    GroupMaxSizeReachedError,
    InconsistentGroupProtocolError,
    InvalidGroupIdError,
    InvalidSessionTimeoutError,
)

from monitor.config import KafkaSettings
from monitor.errors import BrokerError, MonitorError, StreamError
from monitor.stream.client import REFUSALS

_ADVICE = {
    FencedInstanceIdError: "another member has taken its place: give each a "
    "kafka.group_instance_id of its own, or each host a name of its own",
    GroupMaxSizeReachedError: "the group has as many members as group.max.size allows",
    InconsistentGroupProtocolError: "its other members assign partitions in another way",
    InvalidGroupIdError: "choose another kafka.group_id",
    InvalidSessionTimeoutError: "bring kafka.session_timeout_ms within the broker's bounds",
}
FATAL = (*REFUSALS, *_ADVICE)
"""After these a member cannot go on."""


def refused(kafka: KafkaSettings, error: Exception, has_joined: bool) -> MonitorError:
    """Before anything was read a restart cannot help; later it may."""
    kind = StreamError if has_joined else BrokerError
    advice = _ADVICE.get(type(error), "`monitor doctor` says which right is missing")
    return kind(
        f"kafka.group_id {kafka.group_id!r} on {kafka.bootstrap_servers}: the broker refuses this "
        f"member ({error}); {advice}."
    )
