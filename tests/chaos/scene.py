"""A scene: topics, a group, the daemons in it, the load, and what is seen while faults strike.

with open_world(folder, seed=1) as world, Scene(world, "kill", Setup()) as scene:
    since = scene.kill(scene.members[0])
    scene.start()
    scene.await_progress(since)
    scene.settle()
    books = scene.ledgers.audit()
"""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from shutil import copytree
from time import monotonic, sleep
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaException

from tests.chaos.books import Books, Ledgers, Offsets
from tests.chaos.load import Load
from tests.chaos.proxy import Proxy
from tests.chaos.traffic import Traffic
from tests.support.brokers import Broker
from tests.support.daemons import Daemon, settings_file, small_bundle
from tests.support.kafka_server import KafkaServer

LOOK_SECONDS = 0.03
PROGRESS_SECONDS = 90.0
"""More than this without progress is a hang."""
SETTLE_SECONDS = 300.0
SEEN_SECONDS = 45.0
"""What is committed may be hidden for as long as a dead member's transaction is open."""
STOP_SECONDS = 10.0
AUDIT_SECONDS = 300.0


class HangError(Exception):
    """What should have happened by itself did not."""


@dataclass(frozen=True)
class Setup:
    """What a fault strikes.

    Attributes:
        rate: records a second.
        records: at least so many in all.
        grouped: vectors become incidents of their sources; else each odd one an alert.
        proxied: the daemons reach the broker through the proxy.
    """

    members: int = 1
    partitions: int = 4
    rate: float = 2000.0
    records: int = 0
    odd_ratio: float = 0.05
    entities: int | None = 200
    grouped: bool = False
    proxied: bool = False
    session_timeout_ms: int = 6000
    max_vectors: int = 500


@dataclass(frozen=True)
class World:
    """A broker behind a proxy, and a folder for what happens in it."""

    server: KafkaServer
    proxy: Proxy
    folder: Path
    seed: int
    client: str = "kafka-python"
    delivery: str = "auto"


@contextmanager
def open_world(
    folder: Path, seed: int, client: str = "kafka-python", delivery: str = "auto"
) -> Iterator[World]:
    """Start a broker of our own, with its data in `folder`."""
    with Proxy() as proxy:
        server = KafkaServer(
            folder / "kafka",
            listeners={"PLAINTEXT": "PLAINTEXT", "PROXIED": "PLAINTEXT"},
            advertised={"PROXIED": proxy.address},
            properties={"group.max.session.timeout.ms": "60000"},
        )
        proxy.target = server.address("PROXIED")
        with server:
            yield World(server, proxy, folder, seed, client, delivery)


class Scene:
    """One topic with its load and its daemons, from the beginning to the end of the block.

    Attributes:
        members: the daemons that should be running.
        problems: what must not be, beside what the books say.
        resumes_s: how long it took to go on after each fault.
        memory: (when, pid, resident bytes) of the daemons.
    """

    def __init__(
        self,
        world: World,
        name: str,
        setup: Setup,
        on_look: Callable[["Scene"], None] = lambda _: None,
    ) -> None:
        self.world, self.name, self.setup = world, name, setup
        self.random = Random(f"{world.seed} {name}")
        self.members: list[Daemon] = []
        self.problems: list[str] = []
        self.resumes_s: list[float] = []
        self.memory: list[tuple[float, int, int]] = []
        self.committed: dict[int, int] = {}
        self.folder = world.folder / name
        self.bundle = self.folder / "bundle"
        self._on_look = on_look
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        try:
            self._set_up()
            self.load.start()
            for _ in range(self.setup.members):
                self.start()
            self.await_progress(self.now(), counts=False)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _set_up(self) -> None:
        """Topics, settings, and the load that is to come."""
        world, setup = self.world, self.setup
        self.folder.mkdir(parents=True, exist_ok=True)
        copytree(small_bundle(), self.bundle)
        direct = Broker("direct", world.server.bootstrap_servers)
        self.topic = direct.create_topic(f"{self.name}-{world.seed}", setup.partitions)
        servers = world.proxy.address if setup.proxied else direct.bootstrap_servers
        state, journal, group = (f"{self.topic}-{of}" for of in ("state", "journal", "group"))
        self.settings = settings_file(
            self.folder,
            Broker("the daemons'", servers),
            self.topic,
            bundle=self.bundle,
            top=f"spikes.enabled = {str(setup.grouped).lower()}",
            kafka=f'client = "{world.client}"\ndelivery = "{world.delivery}"\n'
            f'state_topic = "{state}"\njournal_topic = "{journal}"\n'
            f"session_timeout_ms = {setup.session_timeout_ms}",
            batch=f"max_vectors = {setup.max_vectors}",
            incidents="quiet_seconds = 5" if setup.grouped else 'group_by = "none"',
            group=group,
        )
        servers = direct.bootstrap_servers
        self.ledgers = Ledgers(servers, self.topic, group, journal, setup.grouped)
        self.offsets = Offsets(self.ledgers)
        self._stack.callback(self.offsets.close)
        traffic = Traffic(world.seed, setup.odd_ratio, entities=setup.entities)
        self.load = Load(servers, self.topic, setup.partitions, traffic, setup.rate)
        self._stack.callback(self.load.close)

    @staticmethod
    def now() -> float:
        """The moment from which a fault counts."""
        return monotonic()

    def start(self, through: Sequence[str] = ()) -> Daemon:
        """A daemon more; `through` is a command that runs its own."""
        member = Daemon(self.settings, through=through)
        self._stack.enter_context(member)
        self.members.append(member)
        return member

    def kill(self, member: Daemon) -> float:
        """kill -9; when that was."""
        self.members.remove(member)
        member.process.kill()
        member.process.wait()
        return monotonic()

    def stop(self, member: Daemon) -> None:
        """SIGTERM, which must end it in time and in order, unless it has hardly begun."""
        self.members.remove(member)
        asked = monotonic()
        member.process.send_signal(signal.SIGTERM)
        try:
            code = member.process.wait(4 * STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.problems.append(f"SIGTERM did not end {member.log}")
            member.process.kill()
            return
        took = monotonic() - asked
        expected = (0,) if member.told("telemetry") else (0, -signal.SIGTERM)
        if code not in expected or took > STOP_SECONDS:
            self.problems.append(f"exit code {code} {took:.1f} s after SIGTERM: {member.log}")

    def look(self) -> None:
        """See who lives, how much memory they take, and how far they are."""
        for member in list(self.members):
            if not member.running:
                self.members.remove(member)
                last = member.log.read_text(errors="replace").strip().rpartition("\n")[2]
                code = member.process.returncode
                self.problems.append(f"ended by itself with exit code {code}: {member.log}: {last}")
                continue
            self.memory.append((monotonic(), member.process.pid, resident(member.process.pid)))
        try:
            self.committed = self.offsets.committed()
        except KafkaException:
            self.committed = {}
        self._on_look(self)

    def live(self, seconds: float) -> None:
        """Let time pass, and look on."""
        self.until(lambda: False, seconds)

    def until(self, condition: Callable[[], bool], limit_s: float) -> bool:
        """Look on until something is so; whether it was within the time."""
        deadline = monotonic() + limit_s
        while monotonic() < deadline:
            self.look()
            if condition():
                return True
            sleep(LOOK_SECONDS)
        return False

    def await_progress(self, since: float, counts: bool = True) -> None:
        """Wait until every partition goes on from where it is; notes how long after `since`."""
        self.until(lambda: bool(self.committed), PROGRESS_SECONDS)
        before = self.committed

        def goes_on() -> bool:
            if not self.members:
                raise HangError("no daemon is left")
            return all(self.committed.get(p, 0) > offset for p, offset in before.items())

        if not before or not self.until(goes_on, PROGRESS_SECONDS):
            stuck = [p for p, offset in before.items() if self.committed.get(p, 0) <= offset]
            raise HangError(f"partitions {stuck} make no progress in {PROGRESS_SECONDS:.0f} s")
        if counts:
            self.resumes_s.append(monotonic() - since)

    def settle(self) -> None:
        """Produce what is missing, then wait until all of it is committed."""
        self.load.rate = max(self.load.rate, 20_000.0 if self.missing else 0)
        while self.missing:
            self.look()
            sleep(LOOK_SECONDS)
        self.load.stop()
        ends = self.offsets.ends()
        if not self.until(lambda: self.committed == ends, SETTLE_SECONDS):
            raise HangError(f"{self.committed} is committed, not {ends}")

    @property
    def missing(self) -> bool:
        return self.load.produced < self.setup.records

    def audit(self) -> Books:
        """The books, once all that is committed can be seen."""
        deadline = monotonic() + SEEN_SECONDS
        while True:
            books = self.ledgers.audit()
            if books.balanced or books.double or monotonic() > deadline:
                break
            self.live(2.0)
        self._ask_for_a_second_opinion(books)
        return books

    def _ask_for_a_second_opinion(self, books: Books) -> None:
        """`monitor audit` comes to the same end."""
        command = [sys.executable, "-m", "monitor", "audit", "--config", str(self.settings)]
        said = subprocess.run(command, capture_output=True, text=True, timeout=AUDIT_SECONDS)
        (self.folder / "audit").write_text(said.stdout + said.stderr)
        if said.returncode != 0 and books.balanced:
            self.problems.append(f"monitor audit finds what we do not: {self.folder / 'audit'}")


def resident(pid: int) -> int:
    """Bytes of memory that a process holds; 0 once it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
    except (OSError, IndexError):
        return 0
