"""What becomes of the broker and of the way to it."""

import signal

from kafka.admin import ConfigResource, ConfigResourceType

from tests.chaos.faults.fault import Fault
from tests.chaos.proxy import FAIR, Weather
from tests.chaos.scene import Scene, Setup
from tests.support.brokers import Broker

SLOW_BYTES_PER_S = 30_000.0
REFUSED_SECONDS = 60.0
GROWTH_BYTES = 60_000_000
"""What a daemon may grow by while its outputs are not taken: its bounded queues fill."""


class BrokerRestart(Fault):
    """The broker stops, in order or by kill -9, and is back after up to five seconds."""

    name, times = "broker", 10
    resume_s = 30.0
    setup = Setup(rate=1000)

    def strike(self, scene: Scene) -> None:
        scene.live(scene.random.uniform(0, 3))
        server = scene.world.server
        scene.random.choice([server.stop, server.kill])()
        scene.live(scene.random.uniform(0, 5))
        server.start()
        scene.await_progress(scene.now())


class BrokerFreeze(Fault):
    """The broker is stopped by SIGSTOP, up to a time past what clients wait for answers."""

    name, times = "broker-freeze", 5
    resume_s = 30.0
    setup = Setup(rate=1000)

    def strike(self, scene: Scene) -> None:
        scene.live(scene.random.uniform(0, 2))
        scene.world.server.signal(signal.SIGSTOP)
        scene.live(scene.random.uniform(1, 14))
        scene.world.server.signal(signal.SIGCONT)
        scene.await_progress(scene.now())


class Network(Fault):
    """Connections are cut, reset, frozen, slow or thin for up to ten seconds."""

    name, times = "network", 50
    resume_s = 30.0
    setup = Setup(proxied=True, rate=1000)

    def strike(self, scene: Scene) -> None:
        proxy, random = scene.world.proxy, scene.random
        scene.live(random.uniform(0, 2))
        weather = random.choice(
            [
                None,
                Weather(cut=True),
                Weather(frozen=True),
                Weather(delay_s=random.uniform(0.05, 1)),
                Weather(upload_bytes_per_s=random.uniform(10_000, 200_000)),
            ]
        )
        if weather is None:
            proxy.reset()
        else:
            proxy.weather = weather
            scene.live(random.uniform(0.2, 10))
            proxy.weather = FAIR
        scene.await_progress(scene.now())


class RefusingOutput(Fault):
    """The alert topic takes nothing for a minute: it wants more replicas than there are."""

    name, times = "refusing-output", 1
    resume_s = 30.0

    def strike(self, scene: Scene) -> None:
        scene.live(5.0)
        _set_replicas(scene, 2)
        _withstand(scene, REFUSED_SECONDS, stands=True)
        _set_replicas(scene, 1)
        scene.await_progress(scene.now())


class SlowOutput(Fault):
    """The way to the broker is too thin for the alerts for a minute."""

    name, times = "slow-output", 1
    resume_s = 30.0
    setup = Setup(proxied=True)

    def strike(self, scene: Scene) -> None:
        scene.live(5.0)
        scene.world.proxy.weather = Weather(upload_bytes_per_s=SLOW_BYTES_PER_S)
        _withstand(scene, REFUSED_SECONDS, stands=False)
        scene.world.proxy.weather = FAIR
        scene.await_progress(scene.now())


def _withstand(scene: Scene, seconds: float, stands: bool) -> None:
    """The input waits, and the memory does not grow."""
    scene.live(2.0)
    committed, memory = sum(scene.committed.values()), scene.memory[-1][2]
    scene.live(seconds)
    went_on = sum(scene.committed.values()) - committed
    grown = scene.memory[-1][2] - memory
    if stands and went_on:
        scene.problems.append(f"{went_on:,} records were committed that could not be told of")
    if grown > GROWTH_BYTES:
        scene.problems.append(f"memory grew by {grown / 1e6:.0f} MB while outputs were not taken")


def _set_replicas(scene: Scene, number: int) -> None:
    """Make the alert topic want so many in-sync replicas."""
    admin = Broker("direct", scene.world.server.bootstrap_servers).admin()
    wanted = {"min.insync.replicas": str(number)}
    alerts = ConfigResource(ConfigResourceType.TOPIC, f"{scene.topic}-alerts", wanted)
    admin.alter_configs([alerts])
    admin.close()


ALL = (BrokerRestart, BrokerFreeze, Network, RefusingOutput, SlowOutput)
