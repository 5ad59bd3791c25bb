"""Settings: one typed tree, of which each room takes its own slice.

`monitor.config_sources` reads it from a file, the environment and flags. Secrets come from a file
or the environment, never from the TOML file, and are masked when shown.
"""

import re
from collections.abc import Callable
from datetime import datetime
from functools import partial
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    model_validator,
)
from pydantic_settings import NoDecode

from monitor.errors import SettingsError

ENV_PREFIX = "MONITOR_"
ENV_NESTED = "__"

_STRICT = ConfigDict(frozen=True, extra="forbid")
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:,\[\]/]+):(\d{1,5})")


def _topic(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", name) or name in (".", ".."):
        raise ValueError(f"{name!r} is no topic name (letters, digits, '.', '_' and '-')")
    return name


def _some_topics(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names:
        raise ValueError("names no topic")
    return names


def _device(name: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise ValueError(f"expected auto, cpu, cuda or cuda:N, got {name!r}")
    return name


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


_network = partial(ip_network, strict=False)


def _parses(parse: Callable[[str], object], text: str) -> bool:
    try:
        parse(text)
    except ValueError:
        return False
    return True


def _condition(pattern: str) -> str:
    if not pattern:
        raise ValueError("is empty, which nothing matches")
    address, slash, bits = pattern.rpartition("/")
    if slash and _parses(ip_address, address) and not _parses(_network, pattern):
        raise ValueError(f"{pattern!r} is no address range: {bits!r} is no prefix length")
    return pattern


Topic = Annotated[str, AfterValidator(_topic)]
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

    model_config = _STRICT

    bootstrap_servers: Annotated[str, AfterValidator(_addresses)] = Field(
        description="Brokers to start from, as host:port, separated by commas."
    )
    group_id: str = Field(default="monitor", min_length=1, description="Consumer group to join.")
    group_instance_id: Topic | None = Field(
        default=None,
        description="Makes a static member of the group: a restart then moves no partition.",
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
    session_timeout_ms: int = Field(
        default=10_000, ge=500, description="Silence after which the group gives up on this member."
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
        for name in ("alert_topic", "dead_letter_topic"):
            if getattr(self, name) in self.input_topics:
                raise ValueError(
                    f"{name} {getattr(self, name)!r} is also an input topic, so the monitor would "
                    "read what it writes"
                )
        if self.alert_topic == self.dead_letter_topic:
            raise ValueError(f"alert_topic and dead_letter_topic are both {self.alert_topic!r}")
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


class BatchSettings(BaseModel):
    """A micro-batch ends at whichever of the two comes first."""

    model_config = _STRICT

    max_vectors: int = Field(
        default=4096, ge=1, le=1_000_000, description="Records in a micro-batch."
    )
    max_delay_ms: int = Field(
        default=20, ge=0, le=60_000, description="Time a micro-batch waits to be filled."
    )


class InputSettings(BaseModel):
    """What is accepted as a record."""

    model_config = _STRICT

    max_record_bytes: int = Field(
        default=1_048_576,
        ge=1,
        description="Larger values become dead letters (too_large), unread.",
    )


class AlertSettings(BaseModel):
    """What an alert says."""

    model_config = _STRICT

    top_features: int = Field(
        default=5, ge=1, le=100, description="Features that an alert names, largest share first."
    )


class RecalibrationSettings(BaseModel):
    """Whether the threshold follows slow drift, learning from vectors that are not anomalous."""

    model_config = _STRICT

    enabled: bool = Field(
        default=False,
        description="Follow how often vectors that are not anomalous have large errors, up to ten "
        "times and down to a tenth as often as when calibrated. Attacks that stay below the "
        "threshold count as normal: where they are more than the budget, it hides more of them. "
        "Each start of the daemon begins where the calibration was.",
    )
    max_change_per_day: float = Field(
        default=0.2,
        gt=0,
        le=1,
        description="How fast those odds may move: 0.2 is 20 % a day, a doubling in four days. "
        "Whoever floods the monitor with errors just below the threshold raises it no faster, and "
        "in the end to that of a tenth of the budget.",
    )


class IncidentSettings(BaseModel):
    """How anomalous vectors become alerts, in the time that events claim."""

    model_config = _STRICT

    group_by: Literal["entity", "none"] = Field(
        default="entity",
        description="entity: one alert when an entity becomes anomalous, further ones while it "
        "stays so, one when it is over. none: an alert for each anomalous vector, for those whose "
        "SIEM groups them.",
    )
    update_seconds: float = Field(
        default=60,
        ge=30,
        le=86_400,
        description="An incident that goes on is told of again after so long, if it has grown.",
    )
    quiet_seconds: float = Field(
        default=300,
        ge=1,
        le=86_400,
        description="An incident is over after so long without an anomalous vector.",
    )
    max_incidents_per_minute: int = Field(
        default=60,
        ge=1,
        description="New incidents in a minute. Beyond it anomalous vectors are counted to their "
        "destination's incident and then to one of the whole stream, so that invented addresses "
        "make no flood of alerts.",
    )
    max_open_incidents: int = Field(
        default=2000,
        ge=1,
        le=100_000,
        description="Incidents that are open at a time; beyond it the same holds.",
    )


class SpikeSettings(BaseModel):
    """Whether to tell of rises of the level, of the whole stream and of each entity."""

    model_config = _STRICT

    enabled: bool = Field(
        default=True,
        description="Watch the share of anomalous vectors and the mean error against what they "
        "were in the last hour.",
    )
    false_alarm_interval_days: float = Field(
        default=30,
        gt=0,
        le=3650,
        description="Mean time between rises that mean nothing: for the stream, and again for all "
        "entities together.",
    )
    window_seconds: float = Field(
        default=10,
        ge=1,
        le=3600,
        description="Vectors are counted in windows of so long; a rise is told after three to six.",
    )
    max_entities: int = Field(
        default=50_000,
        ge=0,
        le=10_000_000,
        description="Entities that are watched; whoever was not seen for longest makes room. 0 "
        "watches only the stream. Takes 240 bytes and the name for each.",
    )


class Suppression(BaseModel):
    """Anomalous vectors to count but not to tell of: those that meet all conditions of a table.

    A condition is an address, an address range such as 10.0.0.0/8, or a text in which * stands for
    anything.
    """

    model_config = _STRICT

    reason: str = Field(
        min_length=1, max_length=100, description="Why; also the label of the metric."
    )
    expires: datetime | None = Field(
        default=None,
        description="When it ends; without an offset in UTC. Default: never.",
    )
    entity: Annotated[str, AfterValidator(_condition)] | None = Field(
        default=None, description="The entity that the alert would be about, such as the source."
    )
    feature: Annotated[str, AfterValidator(_condition)] | None = Field(
        default=None, description="The feature that the alert would name first."
    )
    labels: dict[str, Annotated[str, AfterValidator(_condition)]] = Field(
        default_factory=dict,
        description="Entities of the event by their label in the spec, or by source and "
        'destination: { sensor = "edge-2" }.',
    )

    @model_validator(mode="after")
    def _some_condition(self) -> Self:
        if self.entity is None and self.feature is None and not self.labels:
            raise ValueError(
                f"{self.reason!r} has no condition: give it an entity, a feature or labels"
            )
        return self


class TelemetrySettings(BaseModel):
    """Where /metrics, /healthz and /readyz are served."""

    model_config = _STRICT

    host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="Address to listen on. There is no password, so loopback unless a firewall "
        "stands before it.",
    )
    port: int = Field(
        default=9464, ge=0, le=65535, description="Port; 0 takes a free one and says which."
    )


class LogSettings(BaseModel):
    """What is logged, on standard error."""

    model_config = _STRICT

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="From here up."
    )
    format: Literal["auto", "human", "json"] = Field(
        default="auto", description="auto: human on a terminal, else JSON, a line an event."
    )


class Settings(BaseModel):
    """Settings of the anomaly monitor."""

    model_config = _STRICT

    bundle: Path = Field(description="Folder of the trained bundle.")
    device: Annotated[str, AfterValidator(_device)] = Field(
        default="auto",
        description="Where to score: cpu, cuda, cuda:N, or auto (CUDA when there is one).",
    )
    false_alarm_rate: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Share of normal vectors that may exceed the threshold. Moves the threshold "
        "without training again. Default: the bundle's own.",
    )
    alerts_per_day: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="The same budget in other words, instead of false_alarm_rate: normal vectors "
        "that may exceed the threshold in a day of the traffic as this process measures it; of "
        "several members of a group each has a budget of its own. The bundle's rate holds for the "
        "first minute of traffic.",
    )
    spec: str | None = Field(
        default=None,
        description="Feature spec (file or preset:NAME) that the bundle must have been trained "
        "for; another one is refused. Default: whatever the bundle's is.",
    )
    kafka: KafkaSettings
    batch: BatchSettings = BatchSettings()
    input: InputSettings = InputSettings()
    alerts: AlertSettings = AlertSettings()
    incidents: IncidentSettings = IncidentSettings()
    spikes: SpikeSettings = SpikeSettings()
    suppress: tuple[Suppression, ...] = Field(
        default=(), description="What to count but not to tell of."
    )
    recalibration: RecalibrationSettings = RecalibrationSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    log: LogSettings = LogSettings()

    @model_validator(mode="after")
    def _one_budget(self) -> Self:
        if self.false_alarm_rate is not None and self.alerts_per_day is not None:
            raise ValueError(
                "false_alarm_rate and alerts_per_day are two words for one budget: keep one of them"
            )
        return self
