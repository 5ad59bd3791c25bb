"""`[kafka]`: which broker, which topics, and how to log in."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    SecretStr,
    model_validator,
)
from pydantic_settings import NoDecode

from monitor.config.common import ENV_PREFIX, STRICT
from monitor.errors import SettingsError

_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:,\[\]/]+):(\d{1,5})")


def _topic(name: str) -> str:
    if not _is_name(name):
        raise ValueError(f"{name!r} is no topic name (letters, digits, '.', '_' and '-')")
    return name


def _member(name: str) -> str:
    if not _is_name(name):
        raise ValueError(f"{name!r} is no member name (letters, digits, '.', '_' and '-')")
    return name


def _is_name(text: str) -> bool:
    """As Kafka has them for topics and static members."""
    return bool(re.fullmatch(r"[A-Za-z0-9._-]{1,249}", text)) and text not in (".", "..")


def _some_topics(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names:
        raise ValueError("names no topic")
    return names


def _comma_separated(value: Any) -> Any:
    """A list, or the text that an environment variable can hold: `a,b`."""
    if not isinstance(value, str):
        return value
    return [part.strip() for part in value.split(",") if part.strip()]


def _addresses(value: str) -> str:
    for address in value.split(","):
        found = _ADDRESS.fullmatch(address.strip())
        if not found or not 0 < int(found[2]) < 65536:
            raise ValueError(f"{address.strip()!r} is not host:port")
    return value


def _readable(path: Path) -> Path:
    try:
        path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror})") from error
    return path


Topic = Annotated[str, AfterValidator(_topic)]
Member = Annotated[str, AfterValidator(_member)]


ReadableFile = Annotated[Path, AfterValidator(_readable)]


def _secret(value: SecretStr | None, file: Path | None) -> str | None:
    if file is None:
        return value.get_secret_value() if value else None
    try:
        return file.read_text("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"password file {file}: cannot be read ({error}).") from error


class KafkaSettings(BaseModel):
    """Which Kafka, which topics, and how to log in."""

    model_config = STRICT

    bootstrap_servers: Annotated[str, AfterValidator(_addresses)] = Field(
        description="Brokers to start from, as host:port, separated by commas."
    )
    group_id: str = Field(default="monitor", min_length=1, description="Consumer group to join.")
    group_instance_id: Member | None = Field(
        default=None,
        description="Name of this member, of which there must be no other in the group: after a "
        "restart within session_timeout_ms it has its partitions again. Default: the host's name "
        "and the lowest number that is free there.",
    )
    client: Literal["kafka-python", "confluent-kafka"] = Field(
        default="kafka-python",
        description="Library that reads and writes. confluent-kafka is the extra `confluent`: "
        "small records cost it a fraction of the CPU.",
    )
    delivery: Literal["auto", "exactly_once", "at_least_once"] = Field(
        default="auto",
        description="exactly_once: alerts, dead letters and offsets are committed in one "
        "transaction, so that subscribers that read with isolation.level=read_committed see each "
        "vector's once. at_least_once: after a failure some are published again, with the same "
        "uid. auto: exactly_once where the broker supports it.",
    )
    client_id: str = Field(
        default="anomaly-monitor", min_length=1, description="Name in the broker's log."
    )
    input_topics: Annotated[
        tuple[Topic, ...],
        NoDecode,
        BeforeValidator(_comma_separated),
        AfterValidator(_some_topics),
    ] = Field(description="Topics that hold the vectors.")
    auto_offset_reset: Literal["earliest", "latest"] = Field(
        default="earliest",
        description="Where to start where the group has no offset yet, or one that is out of "
        "range: at the oldest record there is, or at new ones.",
    )
    alert_topic: Topic = Field(default="alerts", description="Where alerts are published.")
    dead_letter_topic: Topic = Field(
        default="dead-letters", description="Where records that are no vectors are kept."
    )
    state_topic: Topic = Field(
        default="monitor-state",
        description="Where open incidents and baselines are kept, with the offsets that they "
        "match. Compacted; made if it does not exist.",
    )
    journal_topic: Topic = Field(
        default="monitor-journal",
        description="Which offsets were dealt with, and what became of them: what "
        "`monitor audit` reads. Made if it does not exist.",
    )
    session_timeout_ms: int = Field(
        default=10_000,
        ge=500,
        description="Silence after which the group gives up on this member. With confluent-kafka "
        "an hour at most: what is more is taken for an hour.",
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT", description="SSL: encrypted. SASL_...: with a login."
    )
    ssl_cafile: ReadableFile | None = Field(
        default=None,
        description="PEM file of the authorities to trust. Default: those of the system.",
    )
    ssl_certfile: ReadableFile | None = Field(
        default=None, description="PEM file of the client's certificate, for mutual TLS."
    )
    ssl_keyfile: ReadableFile | None = Field(
        default=None, description="PEM file of the client's key."
    )
    ssl_key_password: SecretStr | None = Field(
        default=None, description="Password of the key; from the environment."
    )
    ssl_key_password_file: ReadableFile | None = Field(
        default=None, description="File that holds the password of the key."
    )
    ssl_check_hostname: bool = Field(
        default=True, description="Refuse a broker whose certificate is for another host."
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] | None = (
        Field(default=None, description="How to log in.")
    )
    sasl_username: str | None = Field(
        default=None, min_length=1, description="For PLAIN and SCRAM."
    )
    sasl_password: SecretStr | None = Field(
        default=None, description="For PLAIN and SCRAM; from the environment."
    )
    sasl_password_file: ReadableFile | None = Field(
        default=None, description="File that holds the password for PLAIN and SCRAM."
    )
    sasl_oauth_token_file: ReadableFile | None = Field(
        default=None,
        description="For OAUTHBEARER: file that holds the token. It is read again at each login, "
        "so whoever renews the token only has to replace the file.",
    )

    @model_validator(mode="after")
    def _no_feedback(self) -> Self:
        written: dict[str, str] = {}
        for name in ("alert_topic", "dead_letter_topic", "state_topic", "journal_topic"):
            topic = getattr(self, name)
            if topic in self.input_topics:
                raise ValueError(
                    f"{name} {topic!r} is also an input topic, so the monitor would "
                    "read what it writes"
                )
            if topic in written:
                raise ValueError(
                    f"{written[topic]} and {name} are both {topic!r}; give each a topic of its own"
                )
            written[topic] = name
        return self

    @model_validator(mode="after")
    def _login_complete(self) -> Self:
        sasl = {name: getattr(self, name) for name in type(self).model_fields if "sasl_" in name}
        given = [name for name, value in sasl.items() if value is not None]
        if not self.security_protocol.startswith("SASL_"):
            if given:
                raise ValueError(
                    f"{given[0]} needs a security_protocol of SASL_PLAINTEXT or SASL_SSL"
                )
            return self
        if self.sasl_mechanism is None:
            raise ValueError(f"security_protocol {self.security_protocol} needs a sasl_mechanism")
        if self.sasl_mechanism == "OAUTHBEARER":
            if self.sasl_oauth_token_file is None:
                raise ValueError("sasl_mechanism OAUTHBEARER needs a sasl_oauth_token_file")
        elif self.sasl_username is None or not (self.sasl_password or self.sasl_password_file):
            raise ValueError(
                f"sasl_mechanism {self.sasl_mechanism} needs a sasl_username and a "
                f"sasl_password_file (or {ENV_PREFIX}KAFKA__SASL_PASSWORD in the environment)"
            )
        return self

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        for name in ("sasl_password", "ssl_key_password"):
            if getattr(self, name) and getattr(self, f"{name}_file"):
                raise ValueError(f"{name} and {name}_file are both given")
        given = [
            name
            for name in type(self).model_fields
            if name.startswith("ssl_") and name in self.model_fields_set
        ]
        if given and not self.security_protocol.endswith("SSL"):
            raise ValueError(f"{given[0]} needs a security_protocol of SSL or SASL_SSL")
        if self.ssl_keyfile and not self.ssl_certfile:
            raise ValueError("ssl_keyfile needs the ssl_certfile that goes with it")
        return self

    def password(self) -> str | None:
        """The SASL password, read from its file where it has one."""
        return _secret(self.sasl_password, self.sasl_password_file)

    def key_password(self) -> str | None:
        """The password of the TLS key, read from its file where it has one."""
        return _secret(self.ssl_key_password, self.ssl_key_password_file)
