"""What becomes of files: full disks, a read-only file system, a bundle that cannot be read."""

import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.chaos.faults.fault import Fault, NotHereError
from tests.chaos.scene import Scene, Setup
from tests.support.daemons import Daemon

REFUSED = "settings are refused, the old ones go on"
END_SECONDS = 60.0
BALLAST_BYTES = 4096
READ_ONLY = (
    *("unshare", "--mount", "--map-root-user", "sh", "-c"),
    'mount --rbind / / && mount -o remount,ro,bind / && exec "$0" "$@"',
)
"""Runs a command to which the whole file system is read-only."""


class BrokerDiskFull(Fault):
    """The broker's disk is full, which ends it; then there is room, and it is started again."""

    name, times = "broker-disk-full", 2
    resume_s = 30.0
    setup = Setup(rate=500)

    @contextmanager
    def ground(self, folder: Path) -> Iterator[None]:
        with small_disk(folder / "kafka", "300m"):
            yield

    def strike(self, scene: Scene) -> None:
        server = scene.world.server
        scene.live(scene.random.uniform(1, 3))
        with full(server.folder):
            if not scene.until(lambda: not server.running, END_SECONDS):
                scene.problems.append("the broker got over a full disk: nothing was tried")
        server.kill()
        server.start()
        scene.await_progress(scene.now())


class LogDiskFull(Fault):
    """The disk that the daemon logs to is full, while it runs and while it starts."""

    name, times = "log-disk-full", 2

    @contextmanager
    def ground(self, folder: Path) -> Iterator[None]:
        with small_disk(folder / self.name, "32m"):
            yield

    def strike(self, scene: Scene) -> None:
        scene.live(scene.random.uniform(1, 3))
        with full(scene.folder):
            scene.members[0].process.send_signal(signal.SIGHUP)
            scene.await_progress(scene.now(), counts=False)
            since = scene.kill(scene.members[0])
            scene.start()
            scene.await_progress(since)


class ReadOnly(Fault):
    """The daemon starts where it can write no file: it works, or says in a sentence why not."""

    name, times = "read-only", 2

    def strike(self, scene: Scene) -> None:
        tried = subprocess.run([*READ_ONLY, "true"], capture_output=True, text=True, timeout=30)
        if tried.returncode:
            raise NotHereError(f"no file system may be made read-only here: {tried.stderr.strip()}")
        scene.live(scene.random.uniform(0, 2))
        since = scene.kill(scene.members[0])
        member = scene.start(through=READ_ONLY)
        if scene.until(lambda: member.process.poll() is not None, 8.0):
            scene.problems.append(f"does not start: {member.log.read_text()}")
            scene.start()
        scene.await_progress(since)
        scene.kill(scene.members[0])
        scene.start()


class UnreadableBundle(Fault):
    """At SIGHUP the bundle is missing, cut short or no bundle: one line says so, and it goes on."""

    name, times = "unreadable-bundle", 5

    def strike(self, scene: Scene) -> None:
        scene.live(scene.random.uniform(0, 2))
        manifest, [member] = scene.bundle / "manifest.json", scene.members
        whole, told = manifest.read_bytes(), member.told(REFUSED)
        harm = scene.random.choice([None, b"", whole[: len(whole) // 2], b"\x00\xff"])
        if harm is None:
            manifest.unlink()
        else:
            manifest.write_bytes(harm)
        _reload(scene, member, told + 1)
        manifest.write_bytes(whole)
        member.process.send_signal(signal.SIGHUP)
        scene.await_progress(scene.now())
        if member.told(REFUSED) > told + 1:
            scene.problems.append(f"a bundle that is whole again is refused: {member.log}")


def _reload(scene: Scene, member: Daemon, count: int) -> None:
    """It refuses what is there now, and says so."""
    member.process.send_signal(signal.SIGHUP)
    if not scene.until(lambda: member.told(REFUSED) == count, 10.0):
        scene.problems.append(f"{member.log} does not say that the bundle cannot be read")


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """A file system of its own, in memory.

    Raises:
        NotHereError: we may not mount one.
    """
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
        raise NotHereError("a small disk cannot be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def full(folder: Path) -> Iterator[None]:
    """Its disk is full to the last byte."""
    ballast = folder / "ballast"
    try:
        with ballast.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(BALLAST_BYTES))
        yield
    finally:
        ballast.unlink()


ALL = (BrokerDiskFull, LogDiskFull, ReadOnly, UnreadableBundle)
