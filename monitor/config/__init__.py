"""Settings: one typed tree, of which each room takes its own slice.

`monitor.config_sources` reads it from a file, the environment and flags. Secrets come from a file
or the environment, never from the TOML file, and are masked when shown.
"""

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    model_validator,
)

from monitor.config.common import ENV_NESTED, ENV_PREFIX, STRICT
from monitor.config.detection import (
    IncidentSettings,
    RecalibrationSettings,
    SpikeSettings,
    Suppression,
)
from monitor.config.kafka import KafkaSettings

__all__ = [
    "ENV_NESTED",
    "ENV_PREFIX",
    "AlertSettings",
    "BatchSettings",
    "IncidentSettings",
    "InputSettings",
    "KafkaSettings",
    "LogSettings",
    "RecalibrationSettings",
    "Settings",
    "SpikeSettings",
    "Suppression",
    "TelemetrySettings",
]


def _device(name: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise ValueError(f"expected auto, cpu, cuda or cuda:N, got {name!r}")
    return name


class BatchSettings(BaseModel):
    """A micro-batch ends at whichever comes first; sooner where nobody has anything else to do."""

    model_config = STRICT

    max_vectors: int = Field(
        default=4096, ge=1, le=1_000_000, description="Records in a micro-batch."
    )
    max_bytes: int = Field(
        default=8_388_608,
        ge=1,
        le=1_073_741_824,
        description="Their values, in bytes. A micro-batch ends with the poll that reaches it, and "
        "may hold what that poll brings more. Up to six micro-batches are in memory at a time.",
    )
    max_delay_ms: int = Field(
        default=20,
        ge=0,
        le=60_000,
        description="Time a micro-batch waits to be filled. One that is waited for, as under "
        "little load, ends sooner: when nothing came for 2 ms.",
    )


class InputSettings(BaseModel):
    """What is accepted as a record."""

    model_config = STRICT

    format: Literal["auto", "json", "arrow", "float32"] = Field(
        default="auto",
        description="auto tells the formats apart by the first bytes of each record.",
    )
    max_record_bytes: int = Field(
        default=1_048_576,
        ge=1,
        description="Larger values become dead letters (too_large), unread.",
    )
    max_record_vectors: int = Field(
        default=65_536,
        ge=1,
        description="A record of Arrow or float32 rows that says it holds more is a dead letter "
        "(too_large), before any of it is loaded.",
    )
    max_decoded_bytes: int = Field(
        default=67_108_864,
        ge=1,
        description="What such a record may take once it is decompressed, and its vectors too; one "
        "that would take more is a dead letter (too_large), before any of it is decompressed.",
    )


class AlertSettings(BaseModel):
    """What an alert says."""

    model_config = STRICT

    top_features: int = Field(
        default=5, ge=1, le=100, description="Features that an alert names, largest share first."
    )


class TelemetrySettings(BaseModel):
    """Where /metrics, /healthz and /readyz are served."""

    model_config = STRICT

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

    model_config = STRICT

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="From here up."
    )
    format: Literal["auto", "human", "json"] = Field(
        default="auto", description="auto: human on a terminal, else JSON, a line an event."
    )


class Settings(BaseModel):
    """Settings of the anomaly monitor."""

    model_config = STRICT

    bundle: Path = Field(description="Folder of the trained bundle.")
    device: Annotated[str, AfterValidator(_device)] = Field(
        default="auto",
        description="Where to score: cpu, cuda, cuda:N, or auto (CUDA when there is one).",
    )
    workers: int = Field(
        default=1,
        ge=1,
        le=256,
        description="Processes that share the partitions on this host, as members of the group "
        "with one log and one telemetry port. They share what alerts_per_day, [incidents] and "
        "[spikes] allow. More of them than partitions have nothing to do.",
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
        "that may exceed the threshold in a day of the traffic as the monitor measures it; "
        "workers share it, of several hosts in a group each has a budget of its own. The bundle's "
        "rate holds for the first minute of traffic and is loosened ten times at most. A lone "
        "vector makes an incident that opens and closes, hence two alerts.",
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
