"""One port with /metrics, /healthz and /readyz.

Each request has its own thread and a few seconds, so that a slow client holds up no other.
"""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET6
from socketserver import TCPServer
from threading import Thread
from typing import ClassVar

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from monitor.config import TelemetrySettings
from monitor.errors import PortError
from monitor.telemetry.health import Parts

CLIENT_TIMEOUT_SECONDS = 5.0


class TelemetryServer:
    """Serves from `start` to `close`, on a thread of its own.

    Raises:
        PortError: the address cannot be bound.
    """

    def __init__(
        self, settings: TelemetrySettings, registry: CollectorRegistry, health: Parts
    ) -> None:
        handler = type("Handler", (_Handler,), {"registry": registry, "health": health})
        server = type("Server", (_Server,), {"address_family": AF_INET6})
        address = (settings.host, settings.port)
        try:
            self._server = (server if ":" in settings.host else _Server)(address, handler)
        except OSError as error:
            raise PortError(
                f"telemetry: {settings.host}:{settings.port} cannot be listened on "
                f"({error.strerror}); set telemetry.port to a free port, or to 0 for any."
            ) from error
        self._thread = Thread(target=self._server.serve_forever, name="telemetry", daemon=True)

    @property
    def url(self) -> str:
        """Where it is, with the port that it got."""
        host, port = self._server.server_address[:2]
        return f"http://[{host!s}]:{port}" if ":" in str(host) else f"http://{host!s}:{port}"

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Stop serving; a request in hand is not waited for."""
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def server_bind(self) -> None:
        # HTTPServer would look up its own name in the DNS here, which can take seconds.
        TCPServer.server_bind(self)

    def handle_error(self, *_: object) -> None:
        """A client that went away is no event."""


class _Handler(BaseHTTPRequestHandler):
    registry: ClassVar[CollectorRegistry]
    health: ClassVar[Parts]
    timeout = CLIENT_TIMEOUT_SECONDS
    server_version = "anomaly-monitor"
    sys_version = ""

    def do_GET(self) -> None:
        pages = {"/metrics": self._metrics, "/healthz": self._alive, "/readyz": self._ready}
        page = pages.get(self.path.partition("?")[0])
        status, kind, body = page() if page else (404, "text/plain", b"not found\n")
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815

    def _metrics(self) -> tuple[int, str, bytes]:
        encode, kind = choose_encoder(self.headers.get("Accept", ""))
        return 200, kind, encode(self.registry)

    def _alive(self) -> tuple[int, str, bytes]:
        return 200, "application/json", b'{"alive": true}\n'

    def _ready(self) -> tuple[int, str, bytes]:
        parts = self.health.parts
        ready = all(state == "ok" for state in parts.values())
        body = json.dumps({"ready": ready, "parts": parts}) + "\n"
        return 200 if ready else 503, "application/json", body.encode()

    def log_message(self, *_: object) -> None:
        """Scrapes are no events."""
