"""Logging in, and telling a broker that is away from one that refuses."""

import base64
import json
import time
from pathlib import Path

import pytest
from confluent_kafka import KafkaError as ClientError
from kafka import KafkaAdminClient
from pydantic import SecretStr

from monitor.config import KafkaSettings
from monitor.errors import BrokerError, SettingsError
from monitor.stream.client import BrokerAwayError, client_options, connect
from monitor.stream.confluent_client import refuses_login
from tests.support.kafka_server import KafkaServer
from tests.support.secured import certificate

pytestmark = pytest.mark.kafka

LOGIN = {"sasl_username": "admin", "sasl_password": "admin-secret"}


def settings(address: str, protocol: str, **options: object) -> KafkaSettings:
    return KafkaSettings(
        bootstrap_servers=address,
        input_topics=("vectors",),
        security_protocol=protocol,
        **options,
    )


def connects(kafka: KafkaSettings) -> bool:
    admin = connect(KafkaAdminClient, kafka).client
    try:
        return bool(admin.describe_cluster()["brokers"])
    finally:
        admin.close()


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_passwords_reach_the_broker(secured_kafka: KafkaServer, mechanism: str) -> None:
    address = secured_kafka.address("LOGIN")
    assert connects(settings(address, "SASL_PLAINTEXT", sasl_mechanism=mechanism, **LOGIN))


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
def test_a_wrong_password_is_heard(secured_kafka: KafkaServer, mechanism: str) -> None:
    wrong = {**LOGIN, "sasl_password": "guess"}
    kafka = settings(
        secured_kafka.address("LOGIN"), "SASL_PLAINTEXT", sasl_mechanism=mechanism, **wrong
    )
    with pytest.raises(BrokerError, match=f"refuses the login with {mechanism}") as caught:
        connects(kafka)
    assert "guess" not in str(caught.value)


def test_tls_and_a_token_from_a_file_reach_the_broker(
    secured_kafka: KafkaServer, tmp_path: Path
) -> None:
    def part(content: dict) -> str:
        return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")

    now = int(time.time())
    claims = {"sub": "admin", "iat": now, "exp": now + 600}
    token = tmp_path / "token"
    token.write_text(f"{part({'alg': 'none'})}.{part(claims)}.\n")
    kafka = settings(
        secured_kafka.address("TLSLOGIN"),
        "SASL_SSL",
        ssl_cafile=certificate(secured_kafka),
        sasl_mechanism="OAUTHBEARER",
        sasl_oauth_token_file=token,
    )
    assert connects(kafka)
    token.write_text("no token")
    with pytest.raises(BrokerError, match="refuses the login with OAUTHBEARER"):
        connects(kafka)


def test_a_certificate_that_is_not_trusted_is_refused(secured_kafka: KafkaServer) -> None:
    with pytest.raises(BrokerError, match=r"TLS fails .*certificate verify failed"):
        connects(settings(secured_kafka.address("TLS"), "SSL"))


def test_a_login_where_none_is_asked_for_is_said(secured_kafka: KafkaServer) -> None:
    kafka = settings(
        secured_kafka.bootstrap_servers, "SASL_PLAINTEXT", sasl_mechanism="PLAIN", **LOGIN
    )
    with pytest.raises(BrokerError, match="does not speak SASL_PLAINTEXT on this port"):
        connects(kafka)


def test_a_broker_that_is_not_there_is_away() -> None:
    with pytest.raises(BrokerAwayError, match="the connection is refused"):
        connects(settings("127.0.0.1:1", "PLAINTEXT"))


def test_a_login_that_fails_is_refused_only_where_the_broker_says_so(
    secured_kafka: KafkaServer,
) -> None:
    """confluent-kafka says the same of one that a broker cuts short as it stops."""
    failed = ClientError(ClientError._AUTHENTICATION, "disconnected during the handshake")
    login = {"sasl_mechanism": "PLAIN", **LOGIN}
    kafka = settings(secured_kafka.address("LOGIN"), "SASL_PLAINTEXT", **login)
    wrong = kafka.model_copy(update={"sasl_password": SecretStr("guess")})
    away = kafka.model_copy(update={"bootstrap_servers": "127.0.0.1:1"})
    assert refuses_login(failed, wrong)
    assert not refuses_login(failed, away)
    assert not refuses_login(failed, kafka)
    assert not refuses_login(ClientError(ClientError._TRANSPORT), wrong)


def test_a_file_that_is_no_certificate_is_named() -> None:
    with pytest.raises(SettingsError, match=r"kafka.ssl_cafile: .* holds no certificate"):
        client_options(settings("127.0.0.1:1", "SSL", ssl_cafile=Path(__file__)))
