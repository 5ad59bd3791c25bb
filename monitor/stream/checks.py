"""What must be true of the cluster before anything is consumed: topics, and the rights on them.

with cluster(settings.kafka) as admin:
    check_inputs(admin, settings.kafka)
    ensure_outputs(admin, settings.kafka)
    check_group(admin, settings.kafka)
"""

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic, sleep
from typing import Any

from kafka import KafkaAdminClient
from kafka.errors import (
    AuthorizationError,
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    InvalidReplicationFactorError,
    KafkaError,
    NotCoordinatorError,
    PolicyViolationError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)

from monitor.config import KafkaSettings
from monitor.errors import BrokerError
from monitor.stream.client import BrokerAwayError, connect

GROUP_SECONDS = 10.0
"""How long the group's coordinator may take to be there, as on a cluster's first use of groups."""
REQUEST_TIMEOUT_MS = 5_000

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
        yield admin
    except KafkaError as error:
        if isinstance(error, AuthorizationError):
            raise BrokerError(
                f"kafka.bootstrap_servers {kafka.bootstrap_servers}: does not allow this ({error})."
            ) from error
        raise BrokerAwayError(str(error)) from error
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
        for topic in (kafka.alert_topic, kafka.dead_letter_topic):
            if not output_exists(admin, kafka, topic):
                _create(admin, kafka, topic)
            check_topic(admin, kafka, topic, "WRITE")


def verify_outputs(kafka: KafkaSettings) -> None:
    """The output topics exist and may be written.

    Raises: as `check_cluster`.
    """
    with cluster(kafka) as admin:
        for topic in (kafka.alert_topic, kafka.dead_letter_topic):
            check_topic(admin, kafka, topic, "WRITE")


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


def _create(admin: KafkaAdminClient, kafka: KafkaSettings, topic: str) -> None:
    """With the partitions and replicas that the broker gives by default."""
    try:
        admin.create_topics([topic], wait_for_metadata=True)
    except TopicAlreadyExistsError:
        return
    except (AuthorizationError, PolicyViolationError, InvalidReplicationFactorError) as error:
        raise BrokerError(
            f"topic {topic!r}: does not exist on {kafka.bootstrap_servers} and cannot be created "
            f"({error}); create it first."
        ) from error


def _check_right(
    description: dict[str, Any], kafka: KafkaSettings, resource: str, right: str
) -> None:
    """A broker that does not say what is allowed is taken at its word when it comes to it."""
    allowed = description.get("authorized_operations")
    if allowed is not None and right not in allowed:
        raise _no_right(kafka, resource, right)


def _no_right(kafka: KafkaSettings, resource: str, right: str) -> BrokerError:
    user = f"user {kafka.sasl_username!r}" if kafka.sasl_username else "this client"
    return BrokerError(
        f"{resource}: {user} has no right to {right} it on {kafka.bootstrap_servers}; grant "
        "it with an ACL."
    )
