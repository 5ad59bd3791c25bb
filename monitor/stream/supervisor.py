"""`monitor run --workers N`: N members of the group on this host, looked after by one process.

    Supervisor(settings, [sys.executable, *sys.orig_argv[1:]]).run()    # the same command again

The supervisor consumes nothing and loads no torch. It has the telemetry port, hands on signals, and
starts a worker again that has ended unasked. Everything that happens wakes its one loop: a signal
(as a byte), or a worker's standard output, which says where the worker's telemetry is or why it
ends, and closes at its end. Beside the loop there are only the threads of the telemetry server, and
those named crew-*, which ask the workers for it.

Stop order, and why:

1. SIGTERM or SIGINT goes on to each worker, which finishes what is in hand, commits and leaves the
   group. They are in process groups of their own, for a terminal would tell them a second time.
2. Who has not ended in time is killed: what it has not committed is scored again at the next start.
3. The telemetry port closes last, so that the end can be watched.
"""

import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from selectors import EVENT_READ, DefaultSelector
from time import monotonic

import structlog

from monitor.config import Settings
from monitor.errors import MonitorError, SetupError, StreamError
from monitor.stream.crew import Crew, Worker
from monitor.telemetry.http import TelemetryServer

STOP_SECONDS = 8.0
"""Workers take less; together with what is left to do it stays below the 10 s that are promised."""
STEADY_SECONDS = 60.0
"""Workers that have run for so long are well: what was before is forgotten."""
MOST_FAILURES = 5
"""So many ends without such a while between them, and starting again does not help."""
FIRST_PAUSE_SECONDS = 0.5
"""Before a worker is started again; doubled with each end."""

log = structlog.get_logger()


class Supervisor:
    """The processes of one host, from the first start to the last end.

    Args:
        command: how to start a worker; its place comes in the environment.

    Raises:
        PortError: the telemetry port cannot be bound.
    """

    def __init__(self, settings: Settings, command: Sequence[str]) -> None:
        self._count = settings.workers
        self._crew = Crew(command, self._count)
        self._telemetry = TelemetryServer(settings.telemetry, self._crew.registry, self._crew)
        self._selector = DefaultSelector()
        self._due: dict[int, float] = {}
        self._failures = 0
        self._proven = False  # the settings, by one worker that was ready with them
        self._failed_at = float("-inf")
        self._failure: MonitorError | None = None
        self._deadline: float | None = None

    def run(self) -> None:
        """Look after the workers until a signal ends them.

        Raises:
            SetupError: a worker says what must be put right first.
            StreamError: they end again and again.
        """
        with self._signals():
            self._telemetry.start()
            log.info("telemetry", url=self._telemetry.url)
            try:
                self._due = dict.fromkeys(range(self._count), 0.0)
                while self._crew.workers or self._deadline is None:
                    self._start_those_due()
                    for key, _ in self._selector.select(self._patience()):
                        key.data()
                    self._kill_those_overdue()
            finally:
                self._crew.signal(signal.SIGKILL)
                self._telemetry.close()
        if self._failure:
            raise self._failure
        log.info("stopped")

    def _patience(self) -> float | None:
        """Seconds until something is due; None where nothing is."""
        times = [*self._due.values()] if self._deadline is None else [self._deadline]
        return max(0.0, min(times) - monotonic()) if times else None

    def _start_those_due(self) -> None:
        for number in [n for n, at in self._due.items() if at <= monotonic()]:
            del self._due[number]
            worker = self._crew.start(number)
            log.info("worker started", worker=number, pid=worker.process.pid)
            self._selector.register(worker.output, EVENT_READ, partial(self._hear, worker))

    def _hear(self, worker: Worker) -> None:
        more = worker.hear()
        self._proven |= worker.was_ready
        if more:
            return
        self._selector.unregister(worker.output)
        code = self._crew.ended(worker)
        reason = worker.error or _in_words(code)
        if self._deadline is not None:
            return
        if code == SetupError.exit_code and not self._proven:
            self._stop(SetupError(reason))
        else:
            self._start_again(worker.place.number, reason)

    def _start_again(self, number: int, reason: str) -> None:
        now = monotonic()
        self._failures = 1 if now - self._failed_at > STEADY_SECONDS else self._failures + 1
        self._failed_at = now
        if self._failures == MOST_FAILURES:
            self._stop(
                StreamError(
                    f"workers: {MOST_FAILURES} have ended within {STEADY_SECONDS:.0f} s of each "
                    f"other, so that starting again does not help; worker {number}, the last: "
                    f"{reason}"
                )
            )
            return
        pause_s = FIRST_PAUSE_SECONDS * 2 ** (self._failures - 1)
        self._due[number] = now + pause_s
        self._crew.metrics.worker_restarts.inc()
        log.error(
            "worker ended, it is started again",
            worker=number,
            reason=reason,
            pause_seconds=pause_s,
        )

    def _stop(self, failure: MonitorError | None = None) -> None:
        log.info("stopping")
        self._failure = failure
        self._due.clear()
        self._deadline = monotonic() + STOP_SECONDS
        self._crew.signal(signal.SIGTERM)

    def _kill_those_overdue(self) -> None:
        if self._deadline is not None and monotonic() > self._deadline and self._crew.workers:
            log.warning("workers did not end in time and are killed", workers=[*self._crew.workers])
            self._deadline += STOP_SECONDS
            self._crew.signal(signal.SIGKILL)

    def _signalled(self, number: int) -> None:
        if number == signal.SIGHUP:
            self._crew.signal(number)
        elif self._deadline is None:
            self._stop()
        else:
            self._crew.signal(signal.SIGKILL)
            sys.exit(128 + number)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGTERM, SIGINT and SIGHUP wake the loop: Python writes their numbers to a socket."""
        ours, pythons = socket.socketpair()
        ours.setblocking(False)
        pythons.setblocking(False)

        def arrived() -> None:
            for number in ours.recv(64):
                self._signalled(number)

        self._selector.register(ours, EVENT_READ, arrived)
        signal.set_wakeup_fd(pythons.fileno())
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        before = {number: signal.signal(number, lambda *_: None) for number in numbers}
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        try:
            yield
        finally:
            signal.set_wakeup_fd(-1)
            for number, handler in before.items():
                signal.signal(number, handler)
            ours.close()
            pythons.close()


def _in_words(code: int) -> str:
    """Of an exit code as subprocess gives it: a signal's is negative."""
    return f"exit code {code}." if code >= 0 else f"ended by {signal.Signals(-code).name}."
