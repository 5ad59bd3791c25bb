"""One finding for each thing that the daemon needs; what depends on a failed one is left out."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from urllib.request import urlopen

from kafka import KafkaAdminClient

from monitor.config import KafkaSettings, Settings, TelemetrySettings
from monitor.config_sources import load_settings
from monitor.errors import MonitorError, PortError
from monitor.stream.checks import (
    check_group,
    check_own,
    check_topic,
    check_transactions,
    cluster,
    output_exists,
)
from monitor.stream.client import BrokerAwayError
from monitor.stream.support import lacks_for_transactions, require_transactions
from monitor.stream.topics import LIMIT, OwnTopic, check_limit, misfit, own_topics, topic_configs
from monitor.stream.transport import confluent_extra
from monitor.telemetry.health import Health
from monitor.telemetry.http import TelemetryServer
from monitor.telemetry.metrics import Metrics

CODECS = {
    "crc32c": "without it the Kafka client checks sums in pure Python, several times slower",
    "lz4": "without it topics compressed with lz4 cannot be read",
    "snappy": "without it topics compressed with snappy cannot be read",
    "zstandard": "without it topics compressed with zstd cannot be read",
}

OWN = ("alerts", "letters", "state", "journal")
"""What the topics of `own_topics` are called."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, whether it will do, and what it is or what to do.

    Attributes:
        warning: that it will do, and should be otherwise.
    """

    subject: str
    ok: bool
    text: str
    warning: bool = False


def diagnose(file: Path | None) -> Iterator[Finding]:
    """Findings as they are made."""
    for module, loss in CODECS.items():
        found = find_spec(module) is not None
        yield Finding(module, found, "installed" if found else f"pip install {module}; {loss}.")
    try:
        settings = load_settings(file).settings
    except MonitorError as error:
        yield Finding("settings", False, str(error))
        return
    yield Finding("settings", True, str(file or "from the environment"))
    if settings.kafka.client == "confluent-kafka":
        yield _tried("client", _confluent)
    yield _tried("device", lambda: _device(settings))
    yield _tried("bundle", lambda: _bundle(settings))
    yield _tried("port", lambda: _port(settings.telemetry))
    yield from _kafka(settings.kafka)


def _tried(subject: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(subject, True, look())
    except MonitorError as error:
        return Finding(subject, False, str(error))


def _confluent() -> str:
    with confluent_extra():
        from confluent_kafka import libversion
    return f"confluent-kafka with librdkafka {libversion()[0]}"


def _device(settings: Settings) -> str:
    from monitor.bundle import resolve_device  # torch takes seconds to import

    return f"{settings.device} is {resolve_device(settings.device)}"


def _bundle(settings: Settings) -> str:
    from monitor.stream.assembly import load_detector

    detector, manifest = load_detector(settings.model_copy(update={"device": "cpu"}))
    return (
        f"{settings.bundle} is {manifest.bundle_id}: spec {manifest.spec.name!r} with "
        f"{len(manifest.spec)} features, threshold {detector.threshold:.3g}"
    )


def _port(telemetry: TelemetrySettings) -> str:
    address = f"{telemetry.host}:{telemetry.port}"
    try:
        TelemetryServer(telemetry, Metrics().registry, Health()).close()
    except PortError:
        if not _is_monitor(address):
            raise
        return f"{address} is in use by a monitor that runs"
    return f"{address} is free"


def _is_monitor(address: str) -> bool:
    with suppress(OSError), urlopen(f"http://{address}/healthz", timeout=1) as answer:
        return bool(answer.headers["Server"].startswith("anomaly-monitor"))
    return False


def _kafka(kafka: KafkaSettings) -> Iterator[Finding]:
    where = f"kafka.bootstrap_servers {kafka.bootstrap_servers}"
    try:
        with cluster(kafka) as admin:
            yield Finding("broker", True, f"{kafka.bootstrap_servers} answers")
            yield from _rights(admin, kafka)
    except BrokerAwayError as reason:
        yield Finding("broker", False, f"{where}: {reason}; is it running and reachable?")
    except MonitorError as error:
        yield Finding("broker", False, str(error))


def _rights(admin: KafkaAdminClient, kafka: KafkaSettings) -> Iterator[Finding]:
    def readable(topic: str) -> str:
        check_topic(admin, kafka, topic, "READ")
        return f"{topic} exists and may be read"

    def usable(topic: OwnTopic) -> str:
        if not output_exists(admin, kafka, topic.name):
            return f"{topic.name} does not exist yet and may be created; `monitor run` does"
        check_own(admin, kafka, topic)
        configs = topic_configs(admin, [topic.name])[topic.name]
        check_limit(topic, configs)
        rights = "read and written" if "READ" in topic.rights else "written"
        size = f", in records of up to {int(configs[LIMIT]):,} bytes" if LIMIT in configs else ""
        return f"{topic.name} exists and may be {rights}{size}"

    def joinable() -> str:
        check_group(admin, kafka)
        return f"{kafka.group_id} may be joined"

    def delivery() -> str:
        if kafka.delivery == "at_least_once":
            return "at least once, as kafka.delivery says"
        if kafka.delivery == "auto" and lacks_for_transactions(kafka):
            return "at least once: the broker is too old for transactions"
        require_transactions(kafka)
        check_transactions(admin, kafka, f"{kafka.group_id}-{kafka.group_instance_id or 0}")
        return f"exactly once, by transactions of {kafka.group_id}-..."

    for topic in kafka.input_topics:
        yield _tried("input", partial(readable, topic))
    yield _tried("group", joinable)
    for subject, own in zip(OWN, own_topics(kafka), strict=True):
        yield (found := _tried(subject, partial(usable, own)))
        if found.ok and (told := misfit(own, topic_configs(admin, [own.name])[own.name])):
            yield Finding(subject, True, told, warning=True)
    yield _tried("delivery", delivery)
