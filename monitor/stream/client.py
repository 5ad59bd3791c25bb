"""The Kafka client: how settings reach it, and what it does not tell by itself.

    connection = connect(KafkaConsumer, settings, "monitor-source", group_id="monitor")
    connection.client.poll()

kafka-python says why a connection fails only in its log, and keeps retrying a constructor that
cannot succeed. `connect` collects the reason, closes what a failed constructor leaves behind, and
tells a broker that is away, which mends itself, from one that refuses, which does not.
"""

import logging
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from kafka import KafkaProducer
from kafka.errors import (
    AuthorizationError,
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    KafkaProtocolError,
    KafkaTimeoutError,
    RequestTimedOutError,
    SaslAuthenticationFailedError,
    UnsupportedSaslMechanismError,
)
from kafka.net.compat import KafkaNetClient
from kafka.net.sasl.oauth import AbstractTokenProvider
from kafka.net.selector import NetworkSelector
from kafka.net.transport import KafkaSSLTransport, KafkaTCPTransport
from kafka.record.default_records import DefaultRecord, DefaultRecordBatch

from monitor.config import KafkaSettings
from monitor.contracts.dead_letter import MAX_HEADERS, kept_headers
from monitor.errors import BrokerError, SettingsError
from monitor.stream import decompression

CONNECT_SECONDS = 3.0
RECONNECT_BACKOFF_MAX_MS = 2_000
"""kafka-python's own 30 s would leave a broker that is back unnoticed for as long."""

REFUSALS = (AuthorizationError, SaslAuthenticationFailedError, UnsupportedSaslMechanismError)
"""What no retry mends."""

_IN_WORDS = {
    "ECONNREFUSED": "the connection is refused",
    "DNS Resolution": "the name cannot be resolved",
    "Unable to bootstrap": "there is no answer",
    "disconnected": "the connection is closed; is kafka.security_protocol right?",
    "Handshake failed": "there is no TLS on this port; is kafka.security_protocol right?",
}
_OTHER_PROTOCOL = (IllegalSaslStateError, KafkaProtocolError)
_TIMEOUTS = (KafkaTimeoutError, RequestTimedOutError)
_TLS_REFUSALS = ("CERTIFICATE_VERIFY_FAILED", "WRONG_VERSION_NUMBER", "_ALERT_")

C = TypeVar("C")


class BrokerAwayError(Exception):
    """No broker answers; it is retried, and never leaves the stream."""


@dataclass(frozen=True, slots=True)
class Connection(Generic[C]):
    """A consumer, producer or admin client, with its network underneath."""

    client: C
    network: KafkaNetClient
    loop: NetworkSelector

    def coordinator_connected(self, group_id: str) -> bool:
        """Whether the broker that looks after the group is known and connected."""
        node = self.network.cluster.get_coordinator(group_id)
        return node is not None and bool(self.network.connected(node))


def connect(kind: type[C], kafka: KafkaSettings, **options: Any) -> Connection[C]:
    """Make a client of kafka-python that has found its cluster.

    Raises:
        BrokerAwayError: no broker answers in time.
        BrokerError: a broker answers and refuses: login, certificate.
        SettingsError: a certificate or key cannot be used.
    """
    made: list[tuple[KafkaNetClient, NetworkSelector]] = []

    def remember(**configs: Any) -> KafkaNetClient:
        loop = NetworkSelector(**configs)
        made.append((KafkaNetClient(net=loop, **configs), loop))
        return made[-1][0]

    options = {
        **client_options(kafka),
        "bootstrap_timeout_ms": int(CONNECT_SECONDS * 1000),
        "kafka_client": remember,
        **options,
    }
    with _Reasons() as reasons:
        try:
            return Connection(kind(**options), *made[0])
        except KafkaError as error:
            for client, _ in made:
                client.close()
            raise _explained(reasons.best(error), kafka) from error


@contextmanager
def told_apart(kafka: KafkaSettings) -> Iterator[None]:
    """Around what is asked of a client: tells a refusal from a broker that is away.

    Raises:
        BrokerAwayError: the broker does not answer, or not yet.
        BrokerError: it refuses.
    """
    try:
        yield
    except AuthorizationError as error:
        raise BrokerError(
            f"kafka.bootstrap_servers {kafka.bootstrap_servers}: does not allow this ({error})."
        ) from error
    except KafkaError as error:
        raise BrokerAwayError(str(error)) from error


def close_producer(producer: KafkaProducer, timeout_s: float) -> None:
    """Close a producer, and drop what cannot be sent in time.

    kafka-python 3.0.12 raises instead, before it has closed anything: its thread runs on, sends
    those records whenever the broker is back, and the producer complains again when it is freed.
    """
    try:
        producer.close(timeout_s)
    except KafkaError:
        producer._sender.force_close()
        producer._closed = True


def client_options(kafka: KafkaSettings) -> dict[str, Any]:
    """What every client is told.

    Raises:
        SettingsError: a certificate, key or password file cannot be used.
    """
    options: dict[str, Any] = {
        "bootstrap_servers": [address.strip() for address in kafka.bootstrap_servers.split(",")],
        "client_id": kafka.client_id,
        "security_protocol": kafka.security_protocol,
        "reconnect_backoff_max_ms": RECONNECT_BACKOFF_MAX_MS,
    }
    if kafka.security_protocol.endswith("SSL"):
        options["ssl_context"] = _tls(kafka)
    if kafka.sasl_mechanism == "OAUTHBEARER":
        assert kafka.sasl_oauth_token_file is not None
        options["sasl_oauth_token_provider"] = _TokenFile(kafka.sasl_oauth_token_file)
    elif kafka.sasl_mechanism:
        options["sasl_plain_username"] = kafka.sasl_username
        options["sasl_plain_password"] = kafka.password()
    if kafka.sasl_mechanism:
        options["sasl_mechanism"] = kafka.sasl_mechanism
    return options


def _tls(kafka: KafkaSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=kafka.ssl_cafile)
    except (ssl.SSLError, OSError) as error:
        raise SettingsError(
            f"kafka.ssl_cafile: {kafka.ssl_cafile} holds no certificate in PEM form ({error})."
        ) from error
    context.check_hostname = kafka.ssl_check_hostname
    if kafka.ssl_certfile:
        # Without a password OpenSSL would ask for it on the terminal.
        password = kafka.key_password() or ""
        try:
            context.load_cert_chain(kafka.ssl_certfile, kafka.ssl_keyfile, password)
        except (ssl.SSLError, OSError) as error:
            raise SettingsError(
                f"kafka.ssl_certfile: {kafka.ssl_certfile} cannot be used with its key; is the "
                f"key's password right? ({error})."
            ) from error
    return context


def _explained(reason: Exception, kafka: KafkaSettings) -> Exception:
    """Tell what mends itself from what does not."""
    where = f"kafka.bootstrap_servers {kafka.bootstrap_servers}"
    text = str(reason).removeprefix(f"{type(reason).__name__}: ")
    if isinstance(reason, SaslAuthenticationFailedError):
        return BrokerError(
            f"{where}: refuses the login with {kafka.sasl_mechanism}; check the user name and "
            "password, or the token."
        )
    if isinstance(reason, UnsupportedSaslMechanismError):
        return BrokerError(f"{where}: does not take sasl_mechanism {kafka.sasl_mechanism}.")
    if isinstance(reason, AuthorizationError):
        return BrokerError(f"{where}: does not allow this ({text}).")
    if isinstance(reason, _OTHER_PROTOCOL):
        return BrokerError(
            f"{where}: does not speak {kafka.security_protocol} on this port ({text}); check "
            "kafka.security_protocol."
        )
    if any(mark in text for mark in _TLS_REFUSALS):
        return BrokerError(
            f"{where}: TLS fails ({text}); check kafka.security_protocol, kafka.ssl_cafile and the "
            "name in the broker's certificate."
        )
    for mark, words in _IN_WORDS.items():
        text = words if mark in text else text
    return BrokerAwayError(text)


class _Reasons(logging.Handler):
    """Collects the errors that the client, while it retries, only logs."""

    _LOGGER = logging.getLogger("kafka.net.manager")

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._found: list[Exception] = []

    def emit(self, record: logging.LogRecord) -> None:
        arguments = record.args if isinstance(record.args, tuple) else ()
        self._found += [
            error
            for error in arguments
            if isinstance(error, Exception) and not isinstance(error, _TIMEOUTS)
        ]

    def best(self, otherwise: Exception) -> Exception:
        """The first refusal, else the latest error: a refusal is not always heard."""
        refusals = [error for error in self._found if isinstance(error, REFUSALS)]
        return next(iter([*refusals, *reversed(self._found)]), otherwise)

    def __enter__(self) -> "_Reasons":
        self._LOGGER.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._LOGGER.removeHandler(self)


RECEIVE_BYTES = 65_536
_NOTHING_YET = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


def _receive(self: KafkaTCPTransport) -> tuple[bytes, Exception | None]:
    """What a socket holds, or why there will be no more.

    kafka-python 3.0.12 reads 4 KiB at a time, and each read lets other threads take the GIL. And it
    drops bytes that arrive together with the end of the stream, which are the very answer to a
    failed login: now they are handed on first, and the next read finds the end.
    """
    received: list[bytes] = []
    ended: Exception | None = None
    while ended is None:
        try:
            data = self._sock.recv(RECEIVE_BYTES)
        except _NOTHING_YET:
            break
        except OSError as error:
            ended = KafkaConnectionError(error)
        else:
            received.append(data)
            ended = None if data else KafkaConnectionError("socket disconnected")
    together = b"".join(received)
    return together, None if together else ended


for _transport in (KafkaTCPTransport, KafkaSSLTransport):
    _transport._sock_recv = _receive


class _HeaderName(str):
    """The name of a header that is not UTF-8, escaped; it is written again as it came."""

    raw: bytes

    def encode(self, *_: object) -> bytes:
        return self.raw


class _Bytes(bytearray):
    def decode(self, *_: object) -> str:
        try:
            return super().decode()
        except UnicodeDecodeError:
            name = _HeaderName(super().decode("utf-8", "backslashreplace"))
            name.raw = bytes(self)
            return name


class _Lenient(_Bytes):
    def __getitem__(self, index: Any) -> Any:
        part = super().__getitem__(index)
        return _Bytes(part) if isinstance(index, slice) else part


_read_strictly = DefaultRecordBatch._read_msg


def _read_record(self: DefaultRecordBatch) -> DefaultRecord:
    """The next record of a batch, whatever its headers are called and however many there are.

    kafka-python 3.0.12 takes one whose name is not UTF-8 for a damaged record, and does not get
    past it: anyone who may produce could stop the stream.
    """
    try:
        record = _read_strictly(self)
    except UnicodeDecodeError:
        self._buffer = _Lenient(self._buffer)
        record = _read_strictly(self)
    if len(record._headers) > MAX_HEADERS:
        record._headers = kept_headers(record._headers)
    return record


DefaultRecordBatch._read_msg = _read_record
decompression.bound()


class _TokenFile(AbstractTokenProvider):  # type: ignore[misc]
    """The token as the file holds it at each login."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._file = file

    def token(self) -> str:
        return self._file.read_text("utf-8").strip()
