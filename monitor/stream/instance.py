"""The name under which this process is a static member of its group.

    instance = take_instance(settings.kafka)
    instance.name                             # web-1-0
    instance.release()

A static member that comes back within the session timeout has its partitions again, and nobody else
notices. So each process has a name by default: the host's, and the lowest number that no other
process of the group on this host has. Two with one name would throw each other out of the group,
so a name is locked for as long as the process lives, also one that was chosen by a user.

The lock is a file in the temporary folder; the system lets go of it with the process, however that
ends. It does not reach over to another host, nor to a container with a folder of its own.
"""

import fcntl
import os
import re
from dataclasses import dataclass
from hashlib import sha256
from itertools import count
from pathlib import Path
from socket import gethostname
from tempfile import gettempdir

import structlog

from monitor.config import KafkaSettings
from monitor.errors import SettingsError

NO_NAMES = ("", "localhost")
"""What hosts are called that were given no name of their own."""
MAX_HOST_CHARACTERS = 200

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Lock:
    """A file that this process alone has locked."""

    path: Path
    descriptor: int

    def release(self) -> None:
        """Let others have it."""
        self.path.unlink(missing_ok=True)
        os.close(self.descriptor)


@dataclass(frozen=True, slots=True)
class Instance:
    """A name within the group; None where this is a dynamic member."""

    name: str | None
    lock: Lock | None = None

    def release(self) -> None:
        """Let others have the name."""
        if self.lock:
            self.lock.release()


def take_instance(kafka: KafkaSettings, host: str | None = None) -> Instance:
    """The name that is set, or the first free one of this host.

    Args:
        host: the host's name, if not as the system says.

    Raises:
        SettingsError: another process on this host has the name that is set.
    """
    try:
        if kafka.group_instance_id:
            return _take_the_one(kafka.group_id, kafka.group_instance_id)
        return _take_a_free_one(kafka.group_id, gethostname() if host is None else host)
    except OSError as error:
        log.warning("names cannot be locked on this host", reason=str(error))
        return Instance(kafka.group_instance_id)


def _take_the_one(group_id: str, name: str) -> Instance:
    path = _file(group_id, name)
    if lock := _try_to_lock(path):
        return Instance(name, lock)
    raise SettingsError(
        f"kafka.group_instance_id {name!r}: another process on this host is that member of the "
        f"group {group_id!r} (it has locked {path}); stop it, or leave the setting out and each "
        "has a name of its own."
    )


def _take_a_free_one(group_id: str, host: str) -> Instance:
    host = re.sub(r"[^A-Za-z0-9._-]", "-", host)[:MAX_HOST_CHARACTERS]
    if host.partition(".")[0] in NO_NAMES:
        log.warning("this host has no name of its own, so a restart moves partitions", host=host)
        return Instance(None)
    names = (f"{host}-{number}" for number in count())
    taken = ((name, _try_to_lock(_file(group_id, name))) for name in names)
    return next(Instance(name, lock) for name, lock in taken if lock)


def _file(group_id: str, name: str) -> Path:
    digest = sha256(f"{group_id}/{name}".encode()).hexdigest()[:16]
    return Path(gettempdir(), f"anomaly-monitor-{digest}.lock")


def _try_to_lock(path: Path) -> Lock | None:
    """None where another has it.

    Raises:
        OSError: no file can be made, or none can be locked.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError:
        if path.exists():  # another user's
            return None
        raise
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            return None
        raise
    if _is_at(path, descriptor):
        return Lock(path, descriptor)
    os.close(descriptor)  # whoever had it has let go of it just now, and of the file too
    return _try_to_lock(path)


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
