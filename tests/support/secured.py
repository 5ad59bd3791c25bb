"""An Apache Kafka that asks who you are: logins, TLS and ACLs.

Users of SECRETS log in with PLAIN, SCRAM or OAUTHBEARER (unsigned tokens); `admin` may do
everything, `nobody` has no rights until a test grants some.
"""

import json
import subprocess
from base64 import urlsafe_b64encode
from pathlib import Path
from time import time
from typing import Any

from kafka.admin import ACL, ACLOperation, ACLPermissionType, ResourcePattern, ResourceType
from kafka.net.sasl.oauth import AbstractTokenProvider

from tests.support.brokers import Broker
from tests.support.kafka_server import KafkaServer

SECRETS = {"admin": "admin-secret", "nobody": "nobody-secret"}
SCRAM = ("SCRAM-SHA-256", "SCRAM-SHA-512")
_LISTENERS = {
    "INTERNAL": "PLAINTEXT",
    "LOGIN": "SASL_PLAINTEXT",
    "TLS": "SSL",
    "TLSLOGIN": "SASL_SSL",
}


def secured_server(folder: Path) -> KafkaServer:
    """A server with a listener for each security protocol, and only `admin` allowed anything.

    INTERNAL and TLS know no user; whoever comes that way is allowed everything too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return KafkaServer(
        folder,
        listeners=_LISTENERS,
        format_arguments=_scram_credentials(),
        properties={
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:admin;User:ANONYMOUS",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(_make_certificate(folder)),
            "sasl.enabled.mechanisms": ",".join(["PLAIN", *SCRAM, "OAUTHBEARER"]),
            **_logins("login"),
            **_logins("tlslogin"),
        },
    )


def log_in(
    server: KafkaServer, user: str, *, mechanism: str = "PLAIN", tls: bool = False
) -> Broker:
    """The server as this user sees it, logged in by PLAIN, SCRAM or OAUTHBEARER."""
    security: dict[str, Any] = {
        "security_protocol": "SASL_SSL" if tls else "SASL_PLAINTEXT",
        "sasl_mechanism": mechanism,
    }
    if mechanism == "OAUTHBEARER":
        security["sasl_oauth_token_provider"] = UnsignedTokens(user)
    else:
        security |= {"sasl_plain_username": user, "sasl_plain_password": SECRETS[user]}
    if tls:
        security["ssl_cafile"] = str(certificate(server))
    address = server.address("TLSLOGIN" if tls else "LOGIN")
    return Broker(f"Apache Kafka as {user}", address, security, server)


class UnsignedTokens(AbstractTokenProvider):  # type: ignore[misc]
    """Gives kafka-python the tokens of a user."""

    def __init__(self, user: str) -> None:
        self._user = user

    def token(self) -> str:
        return unsigned_token(self._user)


def unsigned_token(user: str, lifetime_s: float = 3600.0) -> str:
    """A token that the server's OAUTHBEARER logins take for this user."""
    # Whole seconds, a minute ago: the server refuses what looks issued in its future, which a
    # fraction of a second is when its clock has only milliseconds.
    issued = int(time()) - 60
    claims = {"sub": user, "iat": issued, "exp": issued + 60 + lifetime_s}
    parts = (json.dumps(part).encode() for part in ({"alg": "none"}, claims))
    return ".".join(urlsafe_b64encode(part).decode().rstrip("=") for part in parts) + "."


def over_tls(server: KafkaServer) -> Broker:
    """The server through TLS without a login."""
    security = {"security_protocol": "SSL", "ssl_cafile": str(certificate(server))}
    return Broker("Apache Kafka over TLS", server.address("TLS"), security, server)


def certificate(server: KafkaServer) -> Path:
    """The server's certificate, its own authority, for 127.0.0.1 and localhost."""
    return server.folder / "certificate.pem"


def allow(
    server: KafkaServer,
    user: str,
    resource: ResourceType,
    name: str,
    *operations: ACLOperation,
) -> None:
    """Grant a user operations on one topic or group."""
    admin = log_in(server, "admin").admin()
    try:
        admin.create_acls(
            [
                ACL(
                    f"User:{user}",
                    "*",
                    operation,
                    ACLPermissionType.ALLOW,
                    ResourcePattern(resource, name),
                )
                for operation in operations
            ]
        )
    finally:
        admin.close()


def _scram_credentials() -> list[str]:
    return [
        argument
        for mechanism in SCRAM
        for user, secret in SECRETS.items()
        for argument in ("--add-scram", f"{mechanism}=[name={user},password={secret}]")
    ]


def _logins(listener: str) -> dict[str, str]:
    users = " ".join(f'user_{user}="{secret}"' for user, secret in SECRETS.items())
    security = "org.apache.kafka.common.security"
    modules = {
        "plain": f"{security}.plain.PlainLoginModule required {users};",
        "oauthbearer": f"{security}.oauthbearer.OAuthBearerLoginModule required"
        ' unsecuredLoginStringClaim_sub="admin";',
        **{name.lower(): f"{security}.scram.ScramLoginModule required;" for name in SCRAM},
    }
    return {
        f"listener.name.{listener}.{mechanism}.sasl.jaas.config": module
        for mechanism, module in modules.items()
    }


def _make_certificate(folder: Path) -> Path:
    """Make a certificate and return the file with it and its key, as the broker wants them."""
    key, made, both = (folder / name for name in ("key.pem", "certificate.pem", "keystore.pem"))
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    command += ["-keyout", str(key), "-out", str(made)]
    subprocess.run(command, check=True, capture_output=True)
    both.write_text(key.read_text() + made.read_text())
    return both
