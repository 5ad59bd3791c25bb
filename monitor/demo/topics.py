"""The topics of one guided run."""

from dataclasses import astuple, dataclass
from uuid import uuid4

from kafka import KafkaAdminClient
from kafka.admin import NewTopic

PARTITIONS = 4


@dataclass(frozen=True, slots=True)
class Topics:
    """Input and output topics."""

    vectors: str
    alerts: str
    dead_letters: str


def unique_topics() -> Topics:
    """New names, so that a run on a Kafka of one's own meets nothing of an earlier run."""
    run = uuid4().hex[:8]
    return Topics(*(f"demo-{run}-{name}" for name in ("vectors", "alerts", "dead-letters")))


def create_topics(bootstrap_servers: str, topics: Topics) -> None:
    """Create them; waits until the broker has answered."""
    admin = KafkaAdminClient(bootstrap_servers=bootstrap_servers)
    try:
        admin.create_topics(
            [
                NewTopic(name, num_partitions=PARTITIONS, replication_factor=1)
                for name in astuple(topics)
            ]
        )
    finally:
        admin.close()
