"""The guided run: train, start the daemon, replay real traffic, watch the alerts, count.

The daemon is a process of its own and only Kafka stands between it and this one. Labels stay here:
what is replayed has none, and each alert is matched to the label of its record by partition and
offset.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import Any, Self

from kafka import KafkaConsumer, KafkaProducer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from monitor.bundle import load
from monitor.demo.broker import EmbeddedBroker, answers
from monitor.demo.daemon import Daemon, settings_text
from monitor.demo.topics import create_topics, unique_topics
from monitor.detect.fit import FitOptions
from monitor.detect.fit import Progress as TrainingProgress
from monitor.errors import BrokerError, SettingsError, StreamError
from monitor.evaluate import evaluate
from monitor.features import FeatureSpec
from monitor.ingest.files import open_vectors
from monitor.ingest.replay import vector_records
from monitor.report.training import write_training_report
from monitor.train import train

DATA = Path(__file__).parent / "data"
TRAINING, TEST = DATA / "KDDTrain+_20Percent.txt.gz", DATA / "KDDTest+.txt.gz"
SPEC, LABEL_COLUMN, BENIGN = "preset:nsl-kdd", "42", "normal"
PATIENCE_SECONDS = 60.0
KEEP_RATE = 500.0


@dataclass(frozen=True, slots=True)
class Result:
    """What the run came to; rates are shares of attacks and of benign vectors that alerted."""

    vectors: int
    alerts: int
    detection_rate: float
    false_alarm_rate: float
    auc_roc: float
    seconds: float
    vectors_per_second: float
    broker: str
    training_seconds: float
    daemon_peak_memory_mb: float

    def table(self) -> Table:
        table = Table(title="NSL-KDD test set through the monitor", title_justify="left")
        table.add_column("figure")
        table.add_column("value", justify="right")
        table.add_row("vectors scored", f"{self.vectors:,}")
        table.add_row("alerts", f"{self.alerts:,}")
        table.add_row("attacks that alerted", f"{self.detection_rate:.1%}")
        table.add_row("benign vectors that alerted", f"{self.false_alarm_rate:.2%}")
        table.add_row("AUC (threshold-free)", f"{self.auc_roc:.4f}")
        table.add_row("vectors a second, end to end", f"{self.vectors_per_second:,.0f}")
        table.add_row("daemon's peak memory", f"{self.daemon_peak_memory_mb:,.0f} MB")
        table.add_row("broker", self.broker)
        return table


class Demo:
    """The run's parts, started in order and stopped in reverse."""

    def __init__(
        self,
        console: Console,
        folder: Path,
        broker: str | None,
        port: int,
        training_progress: Callable[[Console], AbstractContextManager[TrainingProgress]],
    ) -> None:
        self._console = console
        self._training_progress = training_progress
        self._folder = folder
        self._bootstrap = broker or ""
        self._broker_name = broker or "embedded"
        self._port = port
        self._spec = FeatureSpec.load(SPEC)
        self._stack = ExitStack()
        self._started = monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def guided(self) -> Result:
        """Everything once, with progress; the figures of the run."""
        self._prepare()
        self._say("1/4  Train on the benign rows of NSL-KDD's 20 % training file")
        training_seconds = self._train()
        self._say(f"2/4  Start a broker ({self._broker_name}) and the daemon")
        self._start()
        self._say(
            "3/4  Replay the test set; the first alert of each kind of attack\n"
            "     (NSL-KDD names no hosts to group by, so each anomalous vector has its own)"
        )
        alerts, labels, streamed = self._stream()
        self._say("4/4  Compare the alerts with the labels that the daemon never saw")
        return self._count(alerts, labels, streamed, training_seconds)

    def keep(self) -> None:
        """Replay slowly, over and over, until Ctrl-C."""
        topics, address = self._topics, self._daemon.address
        self._say(
            f"Still running, replaying {KEEP_RATE:.0f} vectors a second; Ctrl-C ends it.\n"
            f"  metrics    {address}/metrics\n"
            f"  health     {address}/healthz  {address}/readyz\n"
            f"  alerts     monitor alerts --bootstrap-servers {self._bootstrap} "
            f"--topic {topics.alerts}\n"
            f"  settings   {self._folder / 'monitor.toml'}\n"
            f"  report     {self._bundle / 'report.html'}\n"
            f"  log        {self._folder / 'daemon.log'}"
        )
        try:
            while True:
                for record in vector_records(TEST, self._spec, LABEL_COLUMN):
                    self._producer.send(topics.vectors, record)
                    self._daemon.check()
                    sleep(1 / KEEP_RATE)
        except KeyboardInterrupt:
            self._say("stopping")

    def _prepare(self) -> None:
        """Refuse now what would only fail after the training."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError(
                f"--folder {self._folder}: cannot be made ({error.strerror}); name another."
            ) from error
        if self._bootstrap and not answers(self._bootstrap):
            raise BrokerError(
                f"--broker {self._bootstrap}: no Kafka answers there; start it or correct the "
                "address, host:port, or leave it out for the embedded broker."
            )

    def _train(self) -> float:
        self._bundle = self._folder / "bundle"
        with self._training_progress(self._console) as progress:
            trained = train(
                TRAINING, self._spec, self._bundle, FitOptions(), LABEL_COLUMN, [BENIGN], progress
            )
        write_training_report(trained, self._bundle / "report.html")
        facts = trained.manifest.training
        self._say(
            f"     {facts.vectors + facts.vectors_held_back:,} benign vectors, "
            f"{facts.seconds:.1f} s; report: {self._bundle / 'report.html'}"
        )
        return facts.seconds

    def _start(self) -> None:
        if not self._bootstrap:
            self._bootstrap = self._stack.enter_context(EmbeddedBroker()).bootstrap_servers
        self._topics = unique_topics()
        create_topics(self._bootstrap, self._topics)
        settings = self._folder / "monitor.toml"
        settings.write_text(settings_text(self._bundle, self._bootstrap, self._topics), "utf-8")
        daemon = Daemon(settings, self._folder / "daemon.log", self._port)
        self._daemon = self._stack.enter_context(daemon)
        self._producer = KafkaProducer(bootstrap_servers=self._bootstrap, linger_ms=5)
        self._stack.callback(self._producer.close, timeout=5)
        self._say(f"     ready in {self._daemon.seconds_to_ready:.1f} s at {self._daemon.address}")

    def _stream(self) -> tuple[list[dict[str, Any]], dict[tuple[int, int], str], float]:
        """Replay everything; returns the alerts, the label at each position, and the seconds."""
        labels = list(_labels(self._spec))
        consumer = KafkaConsumer(
            self._topics.alerts,
            bootstrap_servers=self._bootstrap,
            auto_offset_reset="earliest",
            value_deserializer=json.loads,
        )
        self._stack.callback(consumer.close)
        started = monotonic()
        where = self._replay(labels)
        alerts = self._follow(consumer, where)
        return alerts, where, monotonic() - started

    def _replay(self, labels: Sequence[str]) -> dict[tuple[int, int], str]:
        with self._bar("sent") as bar:
            sent = [
                self._producer.send(self._topics.vectors, record)
                for record in bar.track(
                    vector_records(TEST, self._spec, LABEL_COLUMN), total=len(labels)
                )
            ]
        self._producer.flush(timeout=PATIENCE_SECONDS)
        places = [future.get(timeout=PATIENCE_SECONDS) for future in sent]
        return {
            (place.partition, place.offset): label
            for place, label in zip(places, labels, strict=True)
        }

    def _follow(
        self, consumer: KafkaConsumer, labels: dict[tuple[int, int], str]
    ) -> list[dict[str, Any]]:
        """Read alerts until every vector is scored and every alert has been read."""
        alerts: list[dict[str, Any]] = []
        shown: set[str] = set()
        deadline = monotonic() + PATIENCE_SECONDS
        with self._bar("scored") as bar:
            task = bar.add_task("scored", total=len(labels))
            while monotonic() < deadline:
                for records in consumer.poll(timeout_ms=200).values():
                    for record in records:
                        alerts.append(record.value)
                        self._show(record.value, labels[_position(record.value)], shown)
                self._daemon.check()
                counts = self._daemon.counts()
                bar.update(task, completed=counts.vectors)
                if counts.vectors >= len(labels) and len(alerts) >= counts.alerts:
                    return alerts
        raise StreamError(
            f"demo: {counts.vectors} of {len(labels)} vectors were scored within "
            f"{PATIENCE_SECONDS:.0f} s; see {self._folder / 'daemon.log'}."
        )

    def _count(
        self,
        alerts: list[dict[str, Any]],
        labels: dict[tuple[int, int], str],
        streamed: float,
        training_seconds: float,
    ) -> Result:
        alerted = {_position(alert) for alert in alerts}
        attacks = {place for place, label in labels.items() if label != BENIGN}
        benign = labels.keys() - attacks
        detector, _ = load(self._bundle, "cpu")
        figures = evaluate(detector, TEST, LABEL_COLUMN, frozenset([BENIGN])).figures()
        return Result(
            vectors=len(labels),
            alerts=len(alerts),
            detection_rate=round(len(alerted & attacks) / len(attacks), 4),
            false_alarm_rate=round(len(alerted & benign) / len(benign), 5),
            auc_roc=round(figures["auc_roc"], 4),
            seconds=round(monotonic() - self._started, 1),
            vectors_per_second=round(len(labels) / streamed, 1),
            broker=self._broker_name,
            training_seconds=training_seconds,
            daemon_peak_memory_mb=self._daemon.peak_memory_mb(),
        )

    def _show(self, alert: dict[str, Any], label: str, shown: set[str]) -> None:
        """One line for the first alert of each label."""
        if label not in shown:
            shown.add(label)
            line = Text("     ")
            line.append(f"{label:16}", "bold red" if label != BENIGN else "yellow")
            line.append(f"{alert['severity']:9}")
            line.append(alert["message"])
            self._console.print(line, overflow="ellipsis", no_wrap=True)

    def _bar(self, verb: str) -> Progress:
        columns = (
            TextColumn(f"     {verb}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        return Progress(*columns, console=self._console)

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def _labels(spec: FeatureSpec) -> Iterator[str]:
    """The label of each row of the test set, in order; every row of it is a vector."""
    for block in open_vectors(TEST, spec, label_column=LABEL_COLUMN):
        yield from block.labels or ()


def _position(alert: dict[str, Any]) -> tuple[int, int]:
    source = alert["unmapped"]["source"]
    return source["partition"], source["offset"]
