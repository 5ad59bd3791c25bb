"""A bad network: a TCP proxy that delays, throttles, freezes, cuts and resets what passes it.

with Proxy() as proxy:
    proxy.target = server.address("PROXIED")
    proxy.weather = Weather(delay_s=0.3)
    proxy.reset()
"""

import asyncio
import socket
import struct
from collections.abc import Coroutine
from dataclasses import dataclass
from threading import Thread
from types import TracebackType
from typing import Any, Self

CHUNK_BYTES = 64 * 1024
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of no time: closing sends RST, not FIN."""


@dataclass(frozen=True)
class Weather:
    """What becomes of bytes.

    Attributes:
        delay_s: each way.
        upload_bytes_per_s: towards the broker; None is without a limit.
        frozen: nothing passes, and nobody is told.
        cut: connections are closed, and new ones refused at once.
    """

    delay_s: float = 0.0
    upload_bytes_per_s: float | None = None
    frozen: bool = False
    cut: bool = False


FAIR = Weather()


class Proxy:
    """Listens on a port of 127.0.0.1 from the beginning to the end of its block."""

    target = ""
    """host:port to connect to."""

    def __init__(self) -> None:
        self._weather, self._writers = FAIR, set[asyncio.StreamWriter]()
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._changed = asyncio.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._do(asyncio.start_server(self._serve, "127.0.0.1", 0))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        self.reset()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    @property
    def address(self) -> str:
        """host:port that it listens on."""
        host, port = self._server.sockets[0].getsockname()
        return f"{host}:{port}"

    @property
    def weather(self) -> Weather:
        return self._weather

    @weather.setter
    def weather(self, weather: Weather) -> None:
        self._weather = weather
        self._loop.call_soon_threadsafe(self._changed.set)
        if weather.cut:
            self.reset(politely=True)

    def reset(self, politely: bool = False) -> None:
        """End every connection: with RST, or politely with FIN."""
        self._do(self._end_all(politely))

    async def _end_all(self, politely: bool) -> None:
        for writer in self._writers:
            if not politely:
                writer.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, _RESET
                )
            writer.close() if politely else writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = self.target.rpartition(":")
        try:
            if self._weather.cut:
                raise ConnectionRefusedError
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, far_writer}
        self._writers |= ends
        await asyncio.gather(
            self._pump(reader, far_writer, upload=True),
            self._pump(far_reader, writer, upload=False),
        )
        self._writers -= ends

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, upload: bool
    ) -> None:
        try:
            while chunk := await reader.read(CHUNK_BYTES):
                await self._hold(len(chunk), upload)
                writer.write(chunk)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def _hold(self, size: int, upload: bool) -> None:
        """Keep bytes back for as long as the weather has it."""
        while self._weather.frozen:
            self._changed.clear()
            await self._changed.wait()
        limit = self._weather.upload_bytes_per_s
        seconds = self._weather.delay_s + (size / limit if limit and upload else 0.0)
        if seconds:
            await asyncio.sleep(seconds)

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)
