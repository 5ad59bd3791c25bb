"""The settings and errors of confluent-kafka, the C client, in the words of the default one.

    find_broker(settings)                       # says why, where there is none
    consumer = Consumer({**options(settings), "group.id": "monitor"}, logger=LOGGER)

What connects says why it fails only in its log, and retries for ever; so kafka-python, which is
always there, looks first whether the broker is there and takes the login.
"""

import logging
import ssl
from functools import partial
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaError as ClientError
from kafka import KafkaAdminClient
from kafka.errors import (
    CorruptRecordError,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    ProducerFencedError,
    for_code,
)

from monitor.config import KafkaSettings
from monitor.errors import MonitorError
from monitor.stream.client import RECONNECT_BACKOFF_MAX_MS, BrokerAwayError, connect
from monitor.stream.clock import now_ms

RECONNECT_BACKOFF_MS = 500
"""Of each of several connections; the client's own 100 ms makes 20 attempts a second."""
TOKEN_SECONDS = 300
"""How soon a token is read again; until when it holds is known to whoever issued it."""
LOGGER = logging.getLogger("kafka.librdkafka")

_OWN_ERRORS: dict[int, type[KafkaError]] = {
    ClientError._BAD_COMPRESSION: CorruptRecordError,
    ClientError._BAD_MSG: CorruptRecordError,
    ClientError._FENCED: ProducerFencedError,
    ClientError._MSG_TIMED_OUT: KafkaTimeoutError,
    ClientError._TIMED_OUT: KafkaTimeoutError,
}


def find_broker(kafka: KafkaSettings) -> None:
    """Connect and log in once.

    Raises: as `monitor.stream.client.connect`.
    """
    connect(KafkaAdminClient, kafka).client.close()


def refuses_login(error: ClientError, kafka: KafkaSettings) -> bool:
    """Whether it is a login that the broker refuses.

    For this client a login that ends with the connection, as when a broker stops, is the same.
    """
    if error.code() != ClientError._AUTHENTICATION:
        return False
    try:
        find_broker(kafka)
    except BrokerAwayError:
        return False
    except MonitorError:
        return True
    return False


def options(kafka: KafkaSettings) -> dict[str, Any]:
    """What every client is told; `find_broker` has seen that files and password can be used."""
    told: dict[str, Any] = {
        "bootstrap.servers": kafka.bootstrap_servers,
        "client.id": kafka.client_id,
        "security.protocol": kafka.security_protocol,
        "reconnect.backoff.ms": RECONNECT_BACKOFF_MS,
        "reconnect.backoff.max.ms": RECONNECT_BACKOFF_MAX_MS,
    }
    if kafka.security_protocol.endswith("SSL"):
        told |= _tls(kafka)
    if kafka.sasl_mechanism:
        told["sasl.mechanism"] = kafka.sasl_mechanism
    if kafka.sasl_oauth_token_file:
        told["oauth_cb"] = partial(_token, kafka.sasl_oauth_token_file)
    elif kafka.sasl_mechanism:
        told |= {"sasl.username": kafka.sasl_username, "sasl.password": kafka.password()}
    return told


def _tls(kafka: KafkaSettings) -> dict[str, Any]:
    ours = ssl.get_default_verify_paths()
    files = {
        "ssl.ca.location": kafka.ssl_cafile or ours.cafile or ours.capath or "probe",
        "ssl.certificate.location": kafka.ssl_certfile,
        "ssl.key.location": kafka.ssl_keyfile or kafka.ssl_certfile,
    }
    told = {option: str(file) for option, file in files.items() if file}
    told["ssl.endpoint.identification.algorithm"] = "https" if kafka.ssl_check_hostname else "none"
    if password := kafka.key_password():
        told["ssl.key.password"] = password
    return told


def _token(file: Path, _config: str) -> tuple[str, float]:
    """The token as the file holds it, and until when it is taken to hold."""
    return file.read_text("utf-8").strip(), now_ms() / 1000 + TOKEN_SECONDS


def in_words(error: ClientError, fatal: type[KafkaError]) -> KafkaError:
    """The same error as kafka-python has it: the broker's codes are the same, the client's not.

    Args:
        fatal: what it means when this client says that it cannot go on, without saying why.
    """
    if error.code() == ClientError._FATAL:
        return fatal(error.str())
    if error.code() > 0:
        return for_code(error.code())(error.str())
    return _OWN_ERRORS.get(error.code(), KafkaConnectionError)(error.str())
