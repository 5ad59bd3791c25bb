"""Logs on standard error: a line for people on a terminal, else a JSON object a line.

configure_logs(LogSettings())
structlog.get_logger().info("ready", broker="127.0.0.1:9092")
"""

import logging
import sys

import structlog
from kafka.errors import KafkaError
from structlog.typing import EventDict, Processor

from monitor.config import LogSettings


def configure_logs(settings: LogSettings, **always: object) -> None:
    """Send all logs, ours and the libraries', through one formatter.

    Args:
        always: what each event says as well, such as worker=1.
    """
    human = settings.format == "human" or (settings.format == "auto" and sys.stderr.isatty())
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=not human),
        lambda _logger, _method, event: {**always, **event},
    ]
    render: list[Processor] = (
        [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
        if human
        else [structlog.processors.format_exc_info, _in_order, structlog.processors.JSONRenderer()]
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    handler.addFilter(_Quiet(debug=settings.level == "debug"))
    # Libraries may only warn: some tell every flow they hash. Below INFO the Kafka client logs its
    # requests, and with them passwords.
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("monitor").setLevel(settings.level.upper())
    logging.getLogger("kafka").setLevel(logging.INFO)


def _in_order(_logger: object, _method: str, event: EventDict) -> EventDict:
    """When, how grave and what come first."""
    first = {key: event.pop(key) for key in ("timestamp", "level", "event") if key in event}
    return {**first, **event}


class _Quiet(logging.Filter):
    """Drops the Kafka client's running commentary, except when debugging.

    While a broker is away it logs several errors a second; the monitor itself says once that the
    broker went and once that it is back. What comes with a traceback other than of a connection is
    a defect, and is shown.
    """

    def __init__(self, debug: bool) -> None:
        super().__init__()
        self._debug = debug

    def filter(self, record: logging.LogRecord) -> bool:
        if self._debug or not record.name.startswith("kafka"):
            return True
        error = record.exc_info[1] if record.exc_info else None
        return error is not None and not isinstance(error, (OSError, KafkaError))
