"""Apache Kafka in KRaft mode as a process on free ports of 127.0.0.1.

    with KafkaServer(tmp_path) as server:
        server.kill()       # like kill -9
        server.start()      # the same port and data again

The jars come from KAFKA_HOME or, through Maven, from the user's cache; it runs on the Java of
JAVA_HOME or PATH.
"""

import os
import random
import re
import shutil
import socket
import subprocess
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from fcntl import LOCK_EX, flock
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from types import TracebackType
from typing import Self

from monitor.demo.broker import answers, die_with_parent

KAFKA_VERSION = "4.3.1"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "anomaly-monitor"
START_SECONDS = 90.0
STOP_SECONDS = 30.0
PORT_PARTS = 16
# The first compiler alone starts the broker in two thirds of the time; benchmarks pass ().
QUICK_START = ("-XX:TieredStopAtLevel=1",)

_POM = """<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>anomaly-monitor</groupId><artifactId>kafka-for-tests</artifactId><version>1</version>
  <dependencies>{dependencies}</dependencies>
</project>"""
_JARS = (
    ("org.apache.kafka", "kafka_2.13", KAFKA_VERSION),
    ("org.apache.kafka", "kafka-tools", KAFKA_VERSION),
    ("org.apache.logging.log4j", "log4j-slf4j-impl", "2.25.4"),  # else it fails without a word
)
_PROPERTIES = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "auto.create.topics.enable": "false",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "1",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "500",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "500",
    # After kill -9 the controller refuses the restarted broker until its old session is over.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    "log.cleaner.backoff.ms": "500",  # or compacted topics are compacted every 15 s
}


class KafkaMissingError(Exception):
    """Apache Kafka cannot be had on this machine."""


class KafkaServer:
    """One broker and controller in one process, with its data in `folder`.

    `listeners` maps a listener's name to its security protocol; the first also serves the broker
    itself, so it needs no login. Ports are chosen once. `advertised` gives the address that clients
    of a listener are told, where another stands before it. Raises KafkaMissingError without jars or
    Java.
    """

    def __init__(
        self,
        folder: Path,
        *,
        listeners: Mapping[str, str] | None = None,
        advertised: Mapping[str, str] | None = None,
        properties: Mapping[str, str] | None = None,
        format_arguments: Sequence[str] = (),
        java_options: Sequence[str] = QUICK_START,
    ) -> None:
        self.folder = folder
        self._listeners = dict(listeners or {"PLAINTEXT": "PLAINTEXT"})
        self._ports = {name: _lasting_port() for name in [*self._listeners, "CONTROLLER"]}
        self._advertised = dict(advertised or {})
        self._properties = dict(properties or {})
        self._format_arguments = format_arguments
        self._java = [java(), "-Xms128m", "-Xmx384m", "-XX:+UseSerialGC", *java_options]
        self._java += ["-cp", f"{jars()}/*"]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap_servers(self) -> str:
        """The address of the first listener."""
        return self.address(next(iter(self._listeners)))

    @property
    def log(self) -> Path:
        """What the process wrote to its standard output and error."""
        return self.folder / "kafka.log"

    def address(self, listener: str) -> str:
        """host:port of a listener."""
        return f"127.0.0.1:{self._ports[listener]}"

    def start(self) -> Self:
        """Start on the data in the folder, made at the first start, and wait for an answer."""
        if not self._config.exists():
            self._format()
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [*self._java, "kafka.Kafka", str(self._config)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self.kill()
            raise
        return self

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Shut down in good order."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(STOP_SECONDS)
            self._process = None

    def kill(self) -> None:
        """End at once, as kill -9 does; the data written so far stays."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def signal(self, number: int) -> None:
        """Send a signal, such as SIGSTOP and SIGCONT to freeze the broker."""
        assert self._process is not None
        self._process.send_signal(number)

    def configure(self, *arguments: str) -> None:
        """Run Kafka's own `kafka-configs` on it: what the clients have no request for."""
        command = [*self._java, "kafka.admin.ConfigCommand"]
        command += ["--bootstrap-server", self.bootstrap_servers, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=START_SECONDS)
        if done.returncode:
            raise RuntimeError(f"kafka-configs {arguments}: {done.stdout}{done.stderr}")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    @property
    def _config(self) -> Path:
        return self.folder / "server.properties"

    def _format(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        draft = self._config.with_suffix(".draft")
        draft.write_text("".join(f"{key}={value}\n" for key, value in self._settings().items()))
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        command = [*self._java, "kafka.tools.StorageTool", "format", "--config", str(draft)]
        command += ["--cluster-id", f"A{cluster[1:]}", *self._format_arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=START_SECONDS)
        if done.returncode:
            raise RuntimeError(f"Kafka's storage cannot be formatted:\n{done.stdout}{done.stderr}")
        draft.rename(self._config)

    def _settings(self) -> dict[str, str]:
        protocols = {**self._listeners, "CONTROLLER": "PLAINTEXT"}
        addresses = {name: self.address(name) for name in protocols}
        advertised = {name: addresses[name] for name in self._listeners} | self._advertised
        return {
            **_PROPERTIES,
            "listeners": ",".join(f"{n}://{address}" for n, address in addresses.items()),
            "advertised.listeners": ",".join(f"{n}://{a}" for n, a in advertised.items()),
            "listener.security.protocol.map": ",".join(f"{n}:{p}" for n, p in protocols.items()),
            "inter.broker.listener.name": next(iter(self._listeners)),
            "controller.quorum.voters": f"1@{self.address('CONTROLLER')}",
            "log.dirs": str(self.folder / "data"),
            **self._properties,
        }

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        deadline = monotonic() + START_SECONDS
        while not answers(self.bootstrap_servers):
            code = self._process.poll()
            if code is not None or monotonic() > deadline:
                state = "gave no answer" if code is None else f"ended with exit code {code}"
                said = self.log.read_text(errors="replace").strip()[-4000:]
                raise RuntimeError(f"Kafka {state} within {START_SECONDS:.0f} s. It said:\n{said}")
            sleep(0.1)


@cache
def java() -> str:
    """The Java to run it on: 17 or newer, from JAVA_HOME or PATH."""
    home = os.environ.get("JAVA_HOME")
    program = str(Path(home, "bin/java")) if home else shutil.which("java")
    if program is None or not Path(program).exists():
        raise KafkaMissingError("no Java in JAVA_HOME or on PATH")
    said = subprocess.run([program, "-version"], capture_output=True, text=True).stderr
    found = re.search(r'version "(\d+)', said)
    if found is None or int(found[1]) < 17:
        raise KafkaMissingError(f"Kafka needs Java 17 or newer and {program} is {said.strip()!r}")
    return program


@cache
def jars() -> Path:
    """The folder with Kafka's jars."""
    if home := os.environ.get("KAFKA_HOME"):
        if not any(Path(home, "libs").glob("kafka_*.jar")):
            raise KafkaMissingError(f"KAFKA_HOME={home} holds no libs/kafka_*.jar")
        return Path(home, "libs")
    folder = CACHE / f"kafka-{KAFKA_VERSION}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:  # Maven's own cache takes one process at a time
        flock(lock, LOCK_EX)
        if not folder.exists():
            _resolve(folder)
    return folder


@cache
def version() -> str:
    """The version of Kafka that the jars say."""
    [jar] = jars().glob("kafka-clients-*.jar")
    return jar.stem.removeprefix("kafka-clients-")


def _lasting_port() -> int:
    """A free port that nobody is given while the server that owns it is down.

    It lies below the range that the system hands out: a client that tries to reconnect could
    otherwise be given the very port that it calls, connect to itself and keep the server out. Of
    pytest's workers each has a part of its own, for a port is free until the server has started.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    part = range(15000 + worker % PORT_PARTS, 32000, PORT_PARTS)
    while True:
        port = random.choice(part)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def _resolve(target: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise KafkaMissingError("KAFKA_HOME is not set and there is no Maven (mvn) on PATH")
    with TemporaryDirectory(dir=target.parent) as scratch:
        wanted = "".join(
            f"<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>"
            f"<version>{version}</version></dependency>"
            for group, artifact, version in _JARS
        )
        Path(scratch, "pom.xml").write_text(_POM.format(dependencies=wanted))
        command = [maven, "--batch-mode", "--quiet", "dependency:copy-dependencies"]
        command += ["-DincludeScope=runtime", "-DoutputDirectory=jars"]
        done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, timeout=150)
        if done.returncode:
            raise KafkaMissingError(f"Maven cannot resolve it: {done.stdout.strip()[-1000:]}")
        Path(scratch, "jars").rename(target)
