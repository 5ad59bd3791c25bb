"""What the stages share: a broker, workloads, topics full of them, the daemon.

Each is made when it is first needed, so that one stage alone does not wait for the rest.
"""

import json
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import uuid4

from kafka import KafkaAdminClient
from kafka.admin import NewTopic
from kafka.errors import KafkaError
from rich.console import Console

from monitor.bench.loops import fill
from monitor.bench.processes import WatchedDaemon, apart
from monitor.bench.workloads import Workload, nsl_kdd, own, small, wide
from monitor.config_sources import load_settings
from monitor.demo.broker import EmbeddedBroker, answers
from monitor.errors import BrokerError

PARTITIONS = 4
DEFAULT_CLIENT = "kafka-python"


@dataclass(frozen=True, slots=True)
class Extent:
    """What to measure with, and how much.

    Attributes:
        broker: host:port; None starts the embedded one.
        client: the library that the daemon and the bare loops poll with.
        vectors: how many go through the pipeline or are decoded at a time; None leaves it to each
            stage.
        full: the whole range, however long that takes.
        bundle, data: of the user's, instead of the two workloads.
    """

    broker: str | None = None
    client: str = DEFAULT_CLIENT
    vectors: int | None = None
    full: bool = False
    bundle: Path | None = None
    data: Path | None = None
    label_column: str | None = None


@dataclass(frozen=True, slots=True)
class Backlog:
    """A topic filled beforehand with so many records."""

    topic: str
    size: int


class Bench:
    """Things made on demand and let go of at the end.

    Args:
        folder: for whatever is made.
    """

    def __init__(self, console: Console, folder: Path, extent: Extent) -> None:
        self.folder, self.extent = folder, extent
        self._console = console
        self._stack = ExitStack()
        self._topics: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._topics and self.extent.broker:
            self._delete_topics()
        self._stack.close()

    def say(self, text: str) -> None:
        """Progress, a line a step."""
        self._console.print(f"  {text}", markup=False, highlight=False, soft_wrap=True)

    @cached_property
    def bootstrap_servers(self) -> str:
        """Raises BrokerError where nobody answers, EmbeddedBrokerError where there is none."""
        if self.extent.broker is None:
            self.say("starting the embedded broker")
            return self._stack.enter_context(EmbeddedBroker()).bootstrap_servers
        if not answers(self.extent.broker):
            raise BrokerError(
                f"--broker {self.extent.broker}: no Kafka broker answers there; start it, correct "
                "the address, or leave --broker away to use the embedded one."
            )
        return self.extent.broker

    @cached_property
    def workloads(self) -> Sequence[Workload]:
        """Those that are sent as JSON."""
        if self.extent.bundle and self.extent.data:
            return [own(self.extent.bundle, self.extent.data, self.extent.label_column)]
        return [self.nsl_kdd, self.wide]

    @cached_property
    def volume(self) -> Sequence[Workload]:
        """Those that are sent in the formats for volume."""
        if self.extent.bundle:
            return self.workloads
        return [self.wide, self.small]

    @cached_property
    def nsl_kdd(self) -> Workload:
        self.say("training on NSL-KDD")
        return nsl_kdd(self.folder / "nsl-kdd")

    @cached_property
    def wide(self) -> Workload:
        self.say("training on synthetic vectors of 115 features")
        return wide(self.folder / "wide")

    @cached_property
    def small(self) -> Workload:
        self.say("training 115-64-16-64-115 on them")
        return small(self.folder / "small")

    def topic(self, name: str = "vectors") -> str:
        """A new topic."""
        topic = f"bench-{uuid4().hex[:8]}-{name}"
        admin = KafkaAdminClient(bootstrap_servers=self.bootstrap_servers)
        try:
            admin.create_topics([NewTopic(topic, PARTITIONS, 1)])
        finally:
            admin.close()
        self._topics.append(topic)
        return topic

    def backlog(self, records: Sequence[bytes], size: int, what: str) -> Backlog:
        """A topic that holds so many records, the given ones over and over."""
        self.say(f"filling a topic with {size:,} {what}")
        backlog = Backlog(self.topic(), size)
        apart(fill, self.bootstrap_servers, backlog.topic, records, size).result()
        return backlog

    def daemon(
        self, bundle: Path, topic: str, settings: str = "", workers: int = 1, kafka: str = ""
    ) -> WatchedDaemon:
        """The daemon to be, in a group that is new to the topic.

        It has its defaults, but for an alert of each anomalous vector, as not every spec names
        hosts, and for further tables of settings and lines of [kafka].
        """
        group = f"bench-{uuid4().hex[:8]}"
        file = self.folder / f"{group}.toml"
        quoted = json.dumps  # a JSON string is a TOML string
        named = self.extent.client != DEFAULT_CLIENT
        client = f"client = {quoted(self.extent.client)}" if named else ""
        file.write_text(
            f"""\
bundle = {quoted(str(bundle.resolve()))}
device = "auto"
workers = {workers}

[kafka]
{client}
{kafka}
bootstrap_servers = {quoted(self.bootstrap_servers)}
group_id = {quoted(group)}
input_topics = [{quoted(topic)}]
alert_topic = {quoted(self.topic("alerts"))}
dead_letter_topic = {quoted(self.topic("dead-letters"))}
auto_offset_reset = "earliest"

[incidents]
group_by = "none"

{settings}
"""
        )
        return WatchedDaemon(load_settings(file).settings, file)

    def _delete_topics(self) -> None:
        """What a broker of the user's should not keep; what fails here changes no figure."""
        with suppress(KafkaError):
            admin = KafkaAdminClient(bootstrap_servers=self.bootstrap_servers)
            admin.delete_topics(self._topics)
            admin.close()
