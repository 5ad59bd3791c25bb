"""SIGHUP: the running daemon takes a new budget and new suppressions without a restart.

reload = Reload(settings, manifest, read, take)
reload.ask()            # in the signal's handler
reload.if_asked()       # before the next micro-batch: read, then take
"""

from collections.abc import Callable

import structlog

from monitor.bundle import load_manifest
from monitor.config import Settings
from monitor.config_sources import changed_settings
from monitor.contracts.manifest import Manifest
from monitor.errors import MonitorError

RELOADABLE = ("false_alarm_rate", "alerts_per_day", "recalibration", "suppress")
"""Settings, or whole tables of them, that need no restart."""

log = structlog.get_logger()


class Reload:
    """Settings of a running service, and how it comes to new ones.

    Args:
        read: the settings as they are now, from wherever they came from at the start.
        take: puts them to use; it is given running settings of which only RELOADABLE have changed,
            and the bundle's manifest, of which only the budget has.
    """

    def __init__(
        self,
        settings: Settings,
        manifest: Manifest,
        read: Callable[[], Settings],
        take: Callable[[Settings, Manifest], None],
    ) -> None:
        self._settings, self._manifest = settings, manifest
        self._read, self._take = read, take
        self._asked = False

    def ask(self) -> None:
        """Reload before the next micro-batch."""
        self._asked = True

    def if_asked(self) -> None:
        """Take what needs no restart; settings that are wrong change nothing and are logged."""
        if not self._asked:
            return
        self._asked = False
        try:
            read = self._read()
            manifest = load_manifest(self._settings.bundle)
        except MonitorError as reason:
            log.error("settings are refused, the old ones go on", reason=str(reason))
            return
        waiting = waiting_for_restart(self._settings, read)
        if manifest.weights_sha256 != self._manifest.weights_sha256:
            waiting.append("the bundle's weights")
        else:
            self._manifest = manifest
        self._settings = taken(self._settings, read)
        self._take(self._settings, self._manifest)
        if waiting:
            log.warning("changes wait for a restart", changed=waiting)


def taken(running: Settings, read: Settings) -> Settings:
    """The running settings with what needs no restart of those just read."""
    return running.model_copy(update={name: getattr(read, name) for name in RELOADABLE})


def waiting_for_restart(running: Settings, read: Settings) -> list[str]:
    """The dotted names of the settings that differ and need one."""
    changed = changed_settings(running, read)
    return [name for name in changed if name.partition(".")[0] not in RELOADABLE]
