"""The daemon, from start to end.

    build_service(load_settings(Path("monitor.toml")).settings).run()  # monitor.stream.assembly

The loop is `Service._serve`, and one turn of it `Service._go_on`.

Threads:

| name        | owner           | what I/O it does                      | how it ends             |
|-------------|-----------------|---------------------------------------|-------------------------|
| main        | `Service.run`   | Kafka's producer and admin            | returns                 |
| decoder     | `Service._serve`| none; only where cores are many       | with its executor       |
| scorer      | `Service._serve`| none but the GPU's                    | with its executor       |
| scoring_*   | `CpuScorer`     | none; only where cores are many       | with the process        |
| source      | `PollingSource` | Kafka's consumer; its admin to begin  | `PollingSource.close`   |
| kafka-io-*  | kafka-python    | the consumer's sockets and heartbeats | with its consumer       |
| *-network-* | kafka-python    | the producer's sockets                | with its producer       |
| (unnamed)   | librdkafka      | both, in place of those two           | with either             |
| transaction | confluent-kafka | one call that main waits for          | with the call           |
| telemetry   | TelemetryServer | HTTP; a further thread a request      | `TelemetryServer.close` |

The stages overlap: while the source polls, the decoder is at an older micro-batch, the scorer at
one older still, and the main thread tells of the oldest. Where cores are few the scorer decodes as
well. Each hands over a bounded number of them, in order. Between two the main thread takes what
SIGHUP asks it to (`monitor.stream.reload`).
No thread must die unseen: what ends the source is raised by `PollingSource.next`, what ends
decoding or scoring by its future, and any of it ends the service.

Stop order, and why:

1. The first SIGTERM or SIGINT sets a flag; what is being scored is finished and published, for what
   is half done would be done again. A second signal exits at once.
2. The source commits what is acknowledged and ends. Its place in the group is kept for a session:
   a restart has its partitions again, and moves none.
3. The producer closes: nothing needs it any more.
4. The telemetry port closes last, so that the end can be watched.
"""

import os
import signal
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from time import monotonic
from types import FrameType

import numpy as np
import structlog

from monitor.batch import Decoded, Matrix, MicroBatch, joined
from monitor.config import Settings
from monitor.stream.checks import check_cluster
from monitor.stream.client import BrokerAwayError
from monitor.stream.contracts import Assignment, RewindError
from monitor.stream.counting import Counting
from monitor.stream.delivery import AbandonedError
from monitor.stream.instance import Instance
from monitor.stream.link import BrokerLink
from monitor.stream.loading import Loading, NotLoadedError
from monitor.stream.pipeline import Judged, Pipeline
from monitor.stream.polling import PollingSource
from monitor.stream.process import tune_process
from monitor.stream.reload import Reload
from monitor.stream.sink import PublishingSink
from monitor.stream.state import StateStore
from monitor.stream.triage import Scored
from monitor.stream.tuning import Tuning
from monitor.telemetry.health import Health
from monitor.telemetry.http import TelemetryServer
from monitor.telemetry.metrics import Metrics

NEXT_SECONDS = 0.5
"""How often an idle service looks whether it is to stop."""
RETRY_SECONDS = 1.0
PUBLISH_SECONDS = 2.0
LEAVE_SECONDS = 3.0
CLOSE_SECONDS = 0.5
"""What each step of stopping may take; together well below the 10 s that are promised."""
TOGETHER = 4
"""Micro-batches that are written together, where they are scored or come full."""
TOGETHER_OUTPUTS = 2_000
"""What more outputs than that take is little beside what a write takes."""
AHEAD = 3
"""Micro-batches that are being decoded or scored, or wait for the main thread to tell of them."""
FEW_CORES = 3
"""On so few a thread more to want the GIL costs more than decoding beside scoring brings."""
NOTHING = np.empty(0, np.float32)

log = structlog.get_logger()


class Service:
    """The running daemon."""

    def __init__(
        self,
        settings: Settings,
        pipeline: Pipeline,
        tuning: Tuning,
        state: StateStore,
        loading: Loading,
        reload: Reload,
        source: PollingSource,
        sink: PublishingSink,
        metrics: Metrics,
        health: Health,
        link: BrokerLink,
        telemetry: TelemetryServer,
        instance: Instance,
    ) -> None:
        self._settings, self._pipeline = settings, pipeline
        self._tuning, self._reload = tuning, reload
        self._state, self._loading = state, loading
        self._source, self._sink = source, sink
        self._metrics, self._health, self._link = metrics, health, link
        self._telemetry, self._instance = telemetry, instance
        self._pieces: deque[MicroBatch] = deque()
        self._ahead: deque[Future[Scored]] = deque()
        self._unwritten: list[tuple[Scored, Judged]] = []
        self._assignment = Assignment()
        self._stopping = False
        self._was_ready = False
        self._counting = Counting(metrics, pipeline.triage)

    @property
    def url(self) -> str:
        """Where its telemetry is."""
        return self._telemetry.url

    def run(self, on_ready: Callable[[], None] = lambda: None) -> None:
        """Serve until a signal; then finish in good order.

        Args:
            on_ready: called each time that it becomes ready.

        Raises:
            BrokerError: the cluster refuses what the settings ask for; nothing was consumed.
            StreamError: the stream had to stop rather than lose something.
        """
        self._on_ready = on_ready
        with self._signals():
            self._telemetry.start()
            log.info("telemetry", url=self._telemetry.url)
            try:
                if self._await_broker():
                    self._serve()
            except NotLoadedError:
                log.warning("stopped before the state was loaded; nothing was begun")
            except AbandonedError:
                log.warning("stopped while outputs could not be published; none is committed")
            finally:
                self._close()

    def _await_broker(self) -> bool:
        """Try until the broker answers and all is as it should be; False when it is to stop."""
        while not self._stopping:
            try:
                check_cluster(self._settings.kafka)
                self._sink.connect()
            except BrokerAwayError as reason:
                self._link.down(str(reason))
                self._source.pause(RETRY_SECONDS)
            else:
                self._link.up()
                return True
        return False

    def _serve(self) -> None:
        tune_process()
        self._source.start()
        with self._thread("scorer") as scorer, self._thread("decoder") as another:
            decoder = another if len(os.sched_getaffinity(0)) > FEW_CORES else scorer
            while not self._stopping:
                try:
                    self._go_on(decoder, scorer)
                except RewindError as reason:
                    self._go_back(reason)
            self._finish()

    def _finish(self) -> None:
        """Tell of what is scored; what can no longer be told of will be read again."""
        with suppress(RewindError):
            while self._ahead:
                self._tell_oldest()

    def _go_on(self, decoder: Executor, scorer: Executor) -> None:
        """Take what comes next, and tell of the oldest that is scored."""
        ahead = self._ahead
        piece = self._next_piece(0 if ahead else NEXT_SECONDS)
        self._reload.if_asked()
        self._follow(self._source.assignment())
        if piece:
            decoded = decoder.submit(self._decode, piece)
            ahead.append(scorer.submit(self._score, piece, decoded))
        if len(ahead) == AHEAD or (ahead and not piece):
            self._tell_oldest()
        elif not ahead:
            self._idle()
        self._tell_readiness()

    def _follow(self, assignment: Assignment) -> None:
        """Have the state of the partitions that are ours, and of no other.

        Raises:
            NotLoadedError: it is to stop before the broker has given that state.
        """
        if assignment == self._assignment:
            return
        new = assignment.partitions
        if assignment.epoch == self._assignment.epoch:
            new -= self._assignment.partitions
        else:
            self._state.forget()
        if new:
            self._loading.run(lambda: self._state.load(new), self._source.pause)
        self._assignment = assignment
        if self._source.assignment() == assignment:
            self._loading.done()
        self._pipeline.use(self._tuning.detector)

    def _go_back(self, reason: RewindError) -> None:
        """Forget what is in hand, and begin again at what is committed."""
        log.warning("going back to what is committed", reason=str(reason))
        self._pieces.clear()
        self._ahead.clear()
        self._unwritten.clear()
        self._source.rewind()
        self._metrics.rewinds.inc()

    def _next_piece(self, timeout_s: float) -> MicroBatch | None:
        """A micro-batch, or a piece of one."""
        if not self._pieces and (batch := self._source.next(timeout_s)):
            self._pieces.extend(self._pipeline.pieces(batch))
        return self._pieces.popleft() if self._pieces else None

    @contextmanager
    def _thread(self, name: str) -> Iterator[Executor]:
        """A thread; what it has not begun when an error ends the service is let go."""
        executor = ThreadPoolExecutor(1, name)
        try:
            yield executor
        finally:
            executor.shutdown(cancel_futures=True)

    def _decode(self, piece: MicroBatch) -> Decoded:
        with self._counting.stage("decode"):
            return self._pipeline.decode(piece)

    def _score(self, piece: MicroBatch, decoding: "Future[Decoded]") -> Scored:
        decoded = decoding.result()
        with self._counting.stage("score"):
            scored = self._pipeline.score(piece, decoded)
        halved, on_cpu = scored.detector.scorer.fallbacks.take()
        self._metrics.device_full.inc(halved)
        self._metrics.scored_on_cpu.inc(on_cpu)
        return scored

    def _tell_oldest(self) -> None:
        scored = self._ahead.popleft().result()
        if scored.batch.epoch != self._assignment.epoch:
            raise RewindError("partitions were taken away before their records were dealt with")
        with self._counting.stage("triage"):
            judged = self._pipeline.judge(scored)
            self._observe(scored.errors, len(scored.anomalous))
        self._unwritten.append((scored, judged))
        if not (self._ahead and self._may_share_write(scored.batch)):
            self._write()

    def _may_share_write(self, batch: MicroBatch) -> bool:
        """Whether another one may go with those unwritten: it is there, or nobody waits for one."""
        outputs = sum(len(judged.outputs) for _, judged in self._unwritten)
        if len(self._unwritten) >= TOGETHER or outputs >= TOGETHER_OUTPUTS:
            return False
        is_full = bool(self._pieces) or len(batch.records) >= self._settings.batch.max_vectors
        return is_full or self._ahead[0].done()

    def _write(self) -> None:
        """Publish and commit what has been judged."""
        batch = joined([scored.batch for scored, _ in self._unwritten])
        with self._counting.stage("publish"):
            outputs = [output for _, judged in self._unwritten for output in judged.outputs]
            self._sink.write([*outputs, *self._state.outputs(batch)], batch)
        for scored, judged in self._unwritten:
            self._counting.batch(scored, judged)
        self._unwritten.clear()

    def _idle(self) -> None:
        self._sink.tend()
        standing = self._source.standing()
        ours = self._assignment
        if standing.epoch != ours.epoch or standing.next_offsets.keys() != ours.partitions:
            return  # what is due is due from whoever has those partitions now, or in a moment
        judged = self._pipeline.tick()
        self._observe(NOTHING, 0)
        if outputs := [*judged.outputs, *self._state.outputs(standing)]:
            self._sink.write(outputs, standing)
        self._counting.alerts(judged)

    def _observe(self, errors: Matrix, anomalous: int) -> None:
        self._tuning.observe(errors, anomalous, monotonic())
        self._pipeline.use(self._tuning.detector)

    def _tell_readiness(self) -> None:
        if self._health.ready != self._was_ready:
            self._was_ready = not self._was_ready
            log.info("ready" if self._was_ready else "not ready", **self._health.parts)
            if self._was_ready:
                self._on_ready()

    def _close(self) -> None:
        log.info("stopping")
        self._source.close(LEAVE_SECONDS)
        self._sink.close(CLOSE_SECONDS)
        self._telemetry.close()
        self._instance.release()
        log.info("stopped", vectors=self._counting.vectors)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT ask it to stop, the second one does not ask; SIGHUP to reload."""

        def asked(number: int, _: FrameType | None) -> None:
            if self._stopping:
                os._exit(128 + number)
            self._stopping = True
            self._loading.stop_trying()
            self._sink.stop_trying(PUBLISH_SECONDS)
            self._source.stop_trying()

        before = {n: signal.signal(n, asked) for n in (signal.SIGTERM, signal.SIGINT)}
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, lambda *_: self._reload.ask())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
