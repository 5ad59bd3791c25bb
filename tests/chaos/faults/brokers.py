"""What becomes of the broker and of the way to it."""

import signal

from tests.chaos.faults.fault import Fault
from tests.chaos.proxy import FAIR, Weather
from tests.chaos.scene import Scene, Setup

CLIENT_ID = "anomaly-monitor"
SLOW_BYTES_PER_S = 5_000.0
REFUSED_BYTES_PER_S = 2_000
REFUSED_SECONDS = 60.0
STANDS_SHARE = 0.5
"""Of what is produced meanwhile, what may yet get through."""
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


class RefusedOutput(Fault):
    """The broker takes next to nothing from the daemon for a minute: a quota holds it back."""

    name, times = "refused-output", 1
    resume_s = 30.0

    def strike(self, scene: Scene) -> None:
        scene.live(5.0)
        configure = scene.world.server.configure
        client = ("--alter", "--entity-type", "clients", "--entity-name", CLIENT_ID)
        configure(*client, "--add-config", f"producer_byte_rate={REFUSED_BYTES_PER_S}")
        _withstand(scene)
        configure(*client, "--delete-config", "producer_byte_rate")
        scene.await_progress(scene.now())


class SlowOutput(Fault):
    """The way to the broker is too thin for the alerts for a minute."""

    name, times = "slow-output", 1
    resume_s = 30.0
    setup = Setup(proxied=True)

    def strike(self, scene: Scene) -> None:
        scene.live(5.0)
        scene.world.proxy.weather = Weather(upload_bytes_per_s=SLOW_BYTES_PER_S)
        _withstand(scene)
        scene.world.proxy.weather = FAIR
        scene.await_progress(scene.now())


def _withstand(scene: Scene) -> None:
    """Outputs are hardly taken: the input waits for them, and the memory does not grow."""
    scene.live(2.0)
    committed, memory = sum(scene.committed.values()), scene.memory[-1][2]
    scene.live(REFUSED_SECONDS)
    went_on = sum(scene.committed.values()) - committed
    grown = scene.memory[-1][2] - memory
    if went_on > STANDS_SHARE * REFUSED_SECONDS * scene.setup.rate:
        scene.problems.append(f"{went_on:,} records were committed: nothing was held back")
    if grown > GROWTH_BYTES:
        scene.problems.append(f"memory grew by {grown / 1e6:.0f} MB while outputs were not taken")


ALL = (BrokerRestart, BrokerFreeze, Network, RefusedOutput, SlowOutput)
