"""`monitor run`: the daemon."""

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monitor.errors import MonitorError

if TYPE_CHECKING:
    from monitor.config import Settings
    from monitor.stream.worker import Place


def run(
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Settings file (TOML).")
    ] = None,
    bundle: Annotated[Path | None, typer.Option(help="Overrides bundle.")] = None,
    workers: Annotated[
        int | None, typer.Option(help="Overrides workers: processes that share the partitions.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="Overrides device: auto, cpu, cuda.")] = None,
    bootstrap_servers: Annotated[
        str | None, typer.Option(help="Overrides kafka.bootstrap_servers: host:port,...")
    ] = None,
    group_id: Annotated[str | None, typer.Option(help="Overrides kafka.group_id.")] = None,
    port: Annotated[int | None, typer.Option(help="Overrides telemetry.port; 0 for any.")] = None,
    log_level: Annotated[str | None, typer.Option(help="Overrides log.level.")] = None,
    log_format: Annotated[
        str | None, typer.Option(help="Overrides log.format: auto, human, json.")
    ] = None,
) -> None:
    """Read vectors from Kafka, score them, publish alerts. Ends on SIGTERM or Ctrl-C.

    SIGHUP makes it read its settings again and take budget and suppressions; no offset moves.
    With several workers this process looks after them: it starts one again that has ended, and its
    telemetry port tells of all.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)  # until the service listens itself: importing torch takes long
    # It waits until the service listens: what it asks to read again may have been read by then.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    from monitor.config_sources import load_settings
    from monitor.stream.worker import Place
    from monitor.telemetry.logs import configure_logs

    flags: dict[str, Any] = {
        "bundle": bundle,
        "workers": workers,
        "device": device,
        "kafka": {"bootstrap_servers": bootstrap_servers, "group_id": group_id},
        "telemetry": {"port": port},
        "log": {"level": log_level, "format": log_format},
    }
    place = Place.here()

    def read_settings() -> "Settings":
        settings = load_settings(config, _given(flags)).settings
        return place.share(settings) if place else settings

    if place:
        _work(place, read_settings)
        return
    settings = read_settings()
    configure_logs(settings.log)
    if settings.workers > 1:
        from monitor.stream.supervisor import Supervisor

        Supervisor(settings, [sys.executable, *sys.orig_argv[1:]]).run()
    else:
        from monitor.stream.assembly import build_service

        build_service(settings, read_settings).run()


def _work(place: "Place", read_settings: Callable[[], "Settings"]) -> None:
    """Be one of several workers: what it has to say to the user goes to the supervisor."""
    from monitor.stream.worker import end_with_parent, tell
    from monitor.telemetry.logs import configure_logs

    end_with_parent()
    try:
        settings = read_settings()
        configure_logs(settings.log, worker=place.number)
        from monitor.stream.assembly import build_service

        service = build_service(settings, read_settings)
        tell(url=service.url)
        service.run(lambda: tell(ready="yes"))
    except MonitorError as error:
        tell(error=str(error))
        sys.exit(error.exit_code)


def _end(_number: int, _frame: FrameType | None) -> None:
    """Nothing has been consumed yet."""
    sys.exit(0)


def _given(flags: dict[str, Any]) -> dict[str, Any]:
    """Without what was not said."""
    pruned = {k: _given(v) if isinstance(v, dict) else v for k, v in flags.items()}
    return {k: v for k, v in pruned.items() if v not in (None, {})}
