"""What must be true of the cluster before anything is consumed: topics, and the rights on them.

with cluster(settings.kafka) as admin:
    check_inputs(admin, settings.kafka)
    ensure_outputs(admin, settings.kafka)
    check_group(admin, settings.kafka)
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from time import monotonic, sleep
from typing import Any

import structlog
from kafka import KafkaAdminClient
from kafka.errors import (
    AuthorizationError,
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    KafkaError,
    NotCoordinatorError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)

from monitor.config import KafkaSettings
from monitor.errors import BrokerError
from monitor.stream.client import connect, told_apart
from monitor.stream.topics import (
    OwnTopic,
    check_limit,
    create,
    misfit,
    own_topics,
    topic_configs,
)

GROUP_SECONDS = 10.0
"""How long the group's coordinator may take to be there, as on a cluster's first use of groups."""
REQUEST_TIMEOUT_MS = 5_000

log = structlog.get_logger()

_NOT_YET = (CoordinatorLoadInProgressError, CoordinatorNotAvailableError, NotCoordinatorError)


@contextmanager
def cluster(kafka: KafkaSettings) -> Iterator[KafkaAdminClient]:
    """The cluster's admin client for a moment.

    Raises:
        BrokerAwayError: no broker answers, or it goes away meanwhile.
        BrokerError: it refuses.
    """
    admin = connect(KafkaAdminClient, kafka, request_timeout_ms=REQUEST_TIMEOUT_MS).client
    try:
        with told_apart(kafka):
            yield admin
    finally:
        admin.close()


def check_cluster(kafka: KafkaSettings) -> None:
    """All that must be true before anything is consumed; missing output topics are created.

    Raises:
        BrokerAwayError: no broker answers.
        BrokerError: one sentence: what is missing, and what to do.
    """
    with cluster(kafka) as admin:
        for topic in kafka.input_topics:
            check_topic(admin, kafka, topic, "READ")
        check_group(admin, kafka)
        topics = own_topics(kafka)
        for own in topics:
            if not output_exists(admin, kafka, own.name):
                create(admin, kafka, own, partition_count(admin, kafka.input_topics))
            check_own(admin, kafka, own)
        configs = topic_configs(admin, [own.name for own in topics])
        for own in topics:
            check_limit(own, configs[own.name])
            if told := misfit(own, configs[own.name]):
                log.warning("a topic is not kept as it should be", advice=told)


def verify_outputs(kafka: KafkaSettings) -> None:
    """The output topics exist and may be written.

    Raises: as `check_cluster`.
    """
    with cluster(kafka) as admin:
        for own in own_topics(kafka):
            check_own(admin, kafka, own)


def check_own(admin: KafkaAdminClient, kafka: KafkaSettings, own: OwnTopic) -> None:
    """A topic that the monitor writes exists, and the rights on it.

    Raises:
        BrokerError: it does not, or one is missing.
    """
    for right in own.rights:
        check_topic(admin, kafka, own.name, right)


def check_transactions(
    admin: KafkaAdminClient, kafka: KafkaSettings, transactional_id: str
) -> None:
    """Transactions may be made under this id, as far as that can be told without making one.

    Raises:
        BrokerError: they may not.
    """
    try:
        admin.describe_transactions([transactional_id])
    except TransactionalIdAuthorizationFailedError as error:
        raise _no_right(
            kafka,
            f"transactional id {transactional_id!r}",
            "WRITE",
            f"grant it with an ACL, best for all that begin with {kafka.group_id + '-'!r}, or set "
            "kafka.delivery to at_least_once",
        ) from error
    except (KafkaError, ValueError):
        return  # no transaction yet, or a broker that cannot say it


def partition_count(admin: KafkaAdminClient, topics: Iterable[str]) -> int:
    """Partitions of the topic that has most."""
    return max(len(_describe(admin, topic)["partitions"]) for topic in topics)


def output_exists(admin: KafkaAdminClient, kafka: KafkaSettings, topic: str) -> bool:
    """Whether an output topic exists; if not, it may be created.

    Raises:
        BrokerError: it does not, and may not be.
    """
    description = _describe(admin, topic)
    if for_code(description["error_code"]) is not UnknownTopicOrPartitionError:
        return True
    _check_right(description, kafka, f"topic {topic!r}, which does not exist,", "CREATE")
    return False


def check_group(admin: KafkaAdminClient, kafka: KafkaSettings) -> None:
    """The group may be joined.

    Raises:
        BrokerError: it may not.
    """
    deadline = monotonic() + GROUP_SECONDS
    while True:
        try:
            group = admin.describe_groups([kafka.group_id])[kafka.group_id]
            break
        except AuthorizationError as error:
            raise _no_right(kafka, f"group {kafka.group_id!r}", "READ") from error
        except _NOT_YET:
            if monotonic() > deadline:
                raise
            sleep(0.1)
        except ValueError:  # the demo's broker does not describe groups
            return
    _check_right(group, kafka, f"group {kafka.group_id!r}", "READ")


def _describe(admin: KafkaAdminClient, topic: str) -> dict[str, Any]:
    [description] = admin.describe_topics([topic])
    found: dict[str, Any] = description
    return found


def check_topic(admin: KafkaAdminClient, kafka: KafkaSettings, topic: str, right: str) -> None:
    """A topic exists, and the right to READ or WRITE it.

    Raises:
        BrokerError: it does not, or there is none.
    """
    description = _describe(admin, topic)
    error = for_code(description["error_code"])
    if error is TopicAuthorizationFailedError:
        raise _no_right(kafka, f"topic {topic!r}", right)
    if error is UnknownTopicOrPartitionError:
        raise BrokerError(
            f"topic {topic!r}: does not exist on {kafka.bootstrap_servers}; create it, or name "
            "another in the settings."
        )
    if description["error_code"]:
        raise error(topic)
    _check_right(description, kafka, f"topic {topic!r}", right)


def _check_right(
    description: dict[str, Any], kafka: KafkaSettings, resource: str, right: str
) -> None:
    """A broker that does not say what is allowed is taken at its word when it comes to it."""
    allowed = description.get("authorized_operations")
    if allowed is not None and right not in allowed:
        raise _no_right(kafka, resource, right)


def _no_right(
    kafka: KafkaSettings, resource: str, right: str, remedy: str = "grant it with an ACL"
) -> BrokerError:
    user = f"user {kafka.sasl_username!r}" if kafka.sasl_username else "this client"
    return BrokerError(
        f"{resource}: {user} has no right to {right} it on {kafka.bootstrap_servers}; {remedy}."
    )
