"""What the benchmarks share: a broker, trained bundles, topics full of real traffic, the daemon.

Each is made when it is first needed, so that one benchmark alone does not wait for the rest.
"""

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console

from monitor.config_sources import load_settings
from monitor.demo.run import BENIGN, LABEL_COLUMN, SPEC, TEST, TRAINING
from monitor.detect.fit import FitOptions
from monitor.features import FeatureSpec
from monitor.ingest.files import open_vectors
from monitor.ingest.replay import vector_records
from monitor.train import train
from tests.bench.processes import WatchedDaemon, apart
from tests.bench.traffic import fill
from tests.support import kafka_server
from tests.support.brokers import Broker, fresh_name

PARTITIONS = 4


@dataclass(frozen=True, slots=True)
class Backlog:
    """A topic filled beforehand with so many records, all of them vectors."""

    topic: str
    size: int


class Bench:
    """Things made on demand and let go of at the end.

    Args:
        folder: for whatever is made.
        data: further data sets, where there are any.
    """

    def __init__(self, console: Console, folder: Path, data: Path | None = None) -> None:
        self.folder, self.data = folder, data
        self.spec = FeatureSpec.load(SPEC)
        self._console = console
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def say(self, text: str) -> None:
        """Progress, a line a step."""
        self._console.print(f"  {text}", markup=False, highlight=False, soft_wrap=True)

    @cached_property
    def broker(self) -> Broker:
        """Apache Kafka with all of Java's compilers, as in production."""
        name = f"Apache Kafka {kafka_server.version()}"
        self.say(f"starting {name}")
        server = kafka_server.KafkaServer(self.folder / "kafka", java_options=())
        return Broker(name, self._stack.enter_context(server).bootstrap_servers, server=server)

    @cached_property
    def bundle(self) -> Path:
        """Trained with the defaults on the benign rows of NSL-KDD's 20 % training file."""
        self.say("training the bundle")
        folder = self.folder / "bundle"
        train(TRAINING, self.spec, folder, FitOptions(), LABEL_COLUMN, [BENIGN])
        return folder

    @cached_property
    def test_records(self) -> Sequence[bytes]:
        """KDDTest+ as JSON vectors of 41 named features, in the file's order."""
        return list(vector_records(TEST, self.spec, LABEL_COLUMN))

    @cached_property
    def test_labels(self) -> Sequence[str]:
        """What each of them is."""
        blocks = open_vectors(TEST, self.spec, label_column=LABEL_COLUMN)
        return [label for block in blocks for label in block.labels or ()]

    @cached_property
    def benign_records(self) -> Sequence[bytes]:
        """Those of them that are no attack."""
        labelled = zip(self.test_records, self.test_labels, strict=True)
        return [record for record, label in labelled if label == BENIGN]

    @cached_property
    def benign_backlog(self) -> Backlog:
        """Traffic as it mostly is: hardly anything in it alerts."""
        return self._backlog("benign vectors", self.benign_records, 200_000)

    @cached_property
    def test_backlog(self) -> Backlog:
        """The test set as it stands, more than half of it attacks, four times over."""
        return self._backlog("vectors of KDDTest+", self.test_records, 4 * len(self.test_records))

    def topic(self, name: str = "vectors") -> str:
        """A new topic."""
        return self.broker.create_topic(fresh_name(name), PARTITIONS)

    def daemon(self, topic: str) -> WatchedDaemon:
        """The daemon to be, in a group that is new to the topic.

        It has its defaults, but for an alert of each anomalous vector: NSL-KDD names no hosts.
        """
        group = fresh_name("group")
        file = self.folder / f"{group}.toml"
        quoted = json.dumps  # a JSON string is a TOML string
        file.write_text(
            f"""\
bundle = {quoted(str(self.bundle))}
device = "cpu"

[kafka]
bootstrap_servers = {quoted(self.broker.bootstrap_servers)}
group_id = {quoted(group)}
input_topics = [{quoted(topic)}]
alert_topic = {quoted(self.topic("alerts"))}
dead_letter_topic = {quoted(self.topic("dead-letters"))}

[incidents]
group_by = "none"
"""
        )
        return WatchedDaemon(load_settings(file).settings, file)

    def _backlog(self, what: str, records: Sequence[bytes], size: int) -> Backlog:
        self.say(f"filling a topic with {size:,} {what}")
        backlog = Backlog(self.topic(), size)
        apart(fill, self.broker.bootstrap_servers, backlog.topic, records, size).result()
        return backlog
