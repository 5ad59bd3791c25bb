"""What becomes of processes: killed, told to stop, frozen, doubled, and taking turns."""

import signal

from tests.chaos.faults.fault import Fault
from tests.chaos.scene import Scene, Setup

MOST_MEMBERS = 4
THAW_SECONDS = 3.0
"""A member is frozen for so much longer than its session lasts."""


class Kill(Fault):
    """kill -9 at a random moment, one time in five again while it starts."""

    name, times = "kill", 100
    setup = Setup(records=1_000_000)

    def strike(self, scene: Scene) -> None:
        scene.live(scene.random.uniform(0, 2))
        since = scene.kill(scene.members[0])
        if scene.random.random() < 0.2:
            again = scene.start()
            scene.live(scene.random.uniform(0, 4))
            scene.kill(again)
            since = scene.kill(scene.start())
        scene.start()
        scene.await_progress(since)


class KillGrouped(Kill):
    """The same, with incidents to be counted across it."""

    name, times = "kill-grouped", 20
    setup = Setup(records=100_000, grouped=True)


class Terminate(Fault):
    """SIGTERM at a random moment."""

    name, times = "terminate", 20

    def strike(self, scene: Scene) -> None:
        scene.live(scene.random.uniform(0, 2))
        scene.stop(scene.members[0])
        since = scene.now()
        scene.start()
        scene.await_progress(since)


class Rebalance(Fault):
    """Members join, leave, die and freeze past their session, to wake as zombies."""

    name, times = "rebalance", 50
    resume_s = 30.0
    setup = Setup(members=2, partitions=6)

    def strike(self, scene: Scene) -> None:
        since = scene.now()
        changes = [_freeze]
        if len(scene.members) < MOST_MEMBERS:
            changes += [lambda scene: scene.start()] * 2
        if len(scene.members) > 1:
            changes += [self._kill, self._stop]
        scene.random.choice(changes)(scene)
        scene.await_progress(since)

    def _kill(self, scene: Scene) -> None:
        scene.kill(scene.random.choice(scene.members))

    def _stop(self, scene: Scene) -> None:
        scene.stop(scene.random.choice(scene.members))


class RebalanceGrouped(Rebalance):
    """The same, with incidents that move along with their partitions."""

    name, times = "rebalance-grouped", 10
    setup = Setup(members=2, partitions=6, grouped=True)


class Freeze(Fault):
    """A member sleeps past its session and wakes as a zombie, its hands full of records."""

    name, times = "freeze", 20
    resume_s = 30.0
    setup = Setup(members=2, session_timeout_ms=2000)

    def strike(self, scene: Scene) -> None:
        scene.live(scene.random.uniform(0, 2))
        since = scene.now()
        _freeze(scene)
        scene.await_progress(since)


class Mayhem(Fault):
    """While a member sleeps past its session the other is killed, and starts again."""

    name, times = "mayhem", 20
    resume_s = 30.0
    setup = Setup(members=2, session_timeout_ms=2000)

    def strike(self, scene: Scene) -> None:
        scene.live(scene.random.uniform(0, 1))
        sleeper, other = scene.random.sample(scene.members, 2)
        sleeper.process.send_signal(signal.SIGSTOP)
        scene.live(scene.random.uniform(0, 1))
        since = scene.kill(other)
        scene.start()
        scene.live(scene.setup.session_timeout_ms / 1000 + THAW_SECONDS)
        sleeper.process.send_signal(signal.SIGCONT)
        scene.await_progress(since)


class Twins(Fault):
    """Two copies are started by mistake; later one is stopped."""

    name, times = "twins", 5
    resume_s = 30.0
    setup = Setup()

    def strike(self, scene: Scene) -> None:
        since = scene.now()
        twin = scene.start()
        scene.await_progress(since)
        scene.live(scene.random.uniform(1, 4))
        if twin in scene.members:
            scene.stop(twin)
        scene.await_progress(scene.now())


def _freeze(scene: Scene) -> None:
    """Until the others have taken over; the time counts until every partition goes on."""
    frozen = scene.random.choice(scene.members).process
    frozen.send_signal(signal.SIGSTOP)
    try:
        scene.live(scene.setup.session_timeout_ms / 1000 + THAW_SECONDS)
    finally:
        frozen.send_signal(signal.SIGCONT)


ALL = (Kill, KillGrouped, Terminate, Rebalance, RebalanceGrouped, Freeze, Mayhem, Twins)
