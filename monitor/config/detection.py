"""What is told of anomalous vectors, and how the threshold follows drift."""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from ipaddress import ip_address, ip_network
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    model_validator,
)

from monitor.config.common import STRICT

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


class RecalibrationSettings(BaseModel):
    """Whether the threshold follows slow drift, learning from vectors that are not anomalous."""

    model_config = STRICT

    enabled: bool = Field(
        default=False,
        description="Follow how often vectors that are not anomalous have large errors, up to ten "
        "times and down to a tenth as often as when calibrated. Attacks that stay below the "
        "threshold count as normal: where they are more than the budget, it hides more of them. "
        "A restart goes on from there; another bundle begins where its own calibration was.",
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

    model_config = STRICT

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

    model_config = STRICT

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
        "watches only the stream. Each takes about half a kilobyte, with the longest names three "
        "times as much.",
    )


class Suppression(BaseModel):
    """Anomalous vectors to count but not to tell of: those that meet all conditions of a table.

    A condition is an address, an address range such as 10.0.0.0/8, or a text in which * stands for
    anything.
    """

    model_config = STRICT

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
