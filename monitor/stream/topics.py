"""The topics that the monitor writes: how they are to be, how they are made, and how they are.

    for topic in own_topics(settings.kafka):
        create(admin, settings.kafka, topic, partitions=6)
        told = misfits(topic, topic_configs(admin, [topic.name])[topic.name])

A broker that does not say how a topic is configured, or may not say it to us, is not asked again:
what cannot be known is not complained of.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import (
    AuthorizationError,
    InvalidReplicationFactorError,
    KafkaError,
    PolicyViolationError,
    TopicAlreadyExistsError,
)

from monitor.config import KafkaSettings
from monitor.errors import BrokerError

DAY_MS = 86_400_000
JOURNAL_DAYS = 7
SMALL_BYTES, LARGE_BYTES = 16_384, 65_536
"""The least that a topic must take a record of: a short one, and one that names what an event says
of itself."""
LIMIT = "max.message.bytes"
_POLICY = "cleanup.policy"

Configs = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class OwnTopic:
    """A topic that the monitor writes.

    Attributes:
        setting: its name in `[kafka]`.
        rights: the operations that must be allowed on it.
        smallest_bytes: the least `max.message.bytes` that makes sense.
        configs: what it is made with.
        loss: what it means when its `cleanup.policy` is another.
        one_partition: whether it is made with a single one.
    """

    setting: str
    name: str
    rights: tuple[str, ...] = ("WRITE",)
    smallest_bytes: int = SMALL_BYTES
    configs: Configs = field(default_factory=dict)
    loss: str = ""
    one_partition: bool = False


def own_topics(kafka: KafkaSettings) -> tuple[OwnTopic, ...]:
    """All of them, in the order in which they are made."""
    return (
        OwnTopic("alert_topic", kafka.alert_topic, smallest_bytes=LARGE_BYTES),
        OwnTopic("dead_letter_topic", kafka.dead_letter_topic),
        OwnTopic(
            "state_topic",
            kafka.state_topic,
            ("READ", "WRITE"),
            LARGE_BYTES,
            # Small segments are compacted soon, so that little is read when partitions move.
            {
                _POLICY: "compact",
                "segment.bytes": str(16 * 1024 * 1024),
                "min.cleanable.dirty.ratio": "0.1",
                LIMIT: str(4 * 1024 * 1024),
            },
            "it grows without bound, or forgets incidents that are open",
        ),
        OwnTopic(
            "journal_topic",
            kafka.journal_topic,
            configs={_POLICY: "delete", "retention.ms": str(JOURNAL_DAYS * DAY_MS)},
            loss="`monitor audit` finds the last entry of each partition alone",
            one_partition=True,
        ),
    )


def create(
    admin: KafkaAdminClient, kafka: KafkaSettings, topic: OwnTopic, partitions: int = -1
) -> None:
    """Make a topic, with the replicas that the broker gives by default.

    Raises:
        BrokerError: it cannot be made.
    """
    wanted = {
        "num_partitions": 1 if topic.one_partition else partitions,
        "configs": dict(topic.configs),
    }
    try:
        admin.create_topics({topic.name: wanted}, wait_for_metadata=True)
    except TopicAlreadyExistsError:  # another member was faster, perhaps just now
        admin.wait_for_topics([topic.name])
    except (AuthorizationError, PolicyViolationError, InvalidReplicationFactorError) as error:
        raise BrokerError(
            f"topic {topic.name!r}: does not exist on {kafka.bootstrap_servers} and cannot be "
            f"created ({error}); create it first."
        ) from error


def topic_configs(admin: KafkaAdminClient, names: Iterable[str]) -> dict[str, Configs]:
    """The configuration of each topic; empty where it is not told."""
    topics = list(names)
    told: dict[str, Configs] = {name: {} for name in topics}
    wanted = [ConfigResource(ConfigResourceType.TOPIC, name) for name in topics]
    try:
        answer = admin.describe_configs(wanted, config_filter="all")
    except (KafkaError, ValueError):  # a broker that cannot say it
        return told
    for name, configs in answer.get("topic", {}).items():
        told[name] = {key: config["value"] for key, config in configs.items()}
    return told


def check_limit(topic: OwnTopic, configs: Configs) -> None:
    """A topic takes records of a sensible size.

    Raises:
        BrokerError: it does not.
    """
    limit = int(configs.get(LIMIT, topic.smallest_bytes))
    if limit < topic.smallest_bytes:
        raise BrokerError(
            f"topic {topic.name!r}: takes records of {limit:,} bytes at most, and those of "
            f"kafka.{topic.setting} may be larger; raise its {LIMIT} to {topic.smallest_bytes:,} "
            "or more."
        )


def misfit(topic: OwnTopic, configs: Configs) -> str | None:
    """What is wrong with how a topic is kept, and what to do; None where nothing is."""
    wanted, found = topic.configs.get(_POLICY), configs.get(_POLICY)
    if wanted is None or found is None or found == wanted:
        return None
    return (
        f"topic {topic.name!r}: has cleanup.policy={found}, so {topic.loss}; set "
        f"cleanup.policy={wanted}."
    )
