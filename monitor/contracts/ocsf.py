"""The slice of OCSF 1.8.0 that the monitor publishes: Detection Finding, class 2004.

    finding = DetectionFinding.from_bytes(record.value)
    print(finding.severity, finding.message, finding.unmapped.tail_probability)

Where a subscriber finds what:

    message                     why, in one line: "dst_host_count 255, expected about 3"
    activity_id, activity_name  whether the incident begins, goes on or is over
    severity_id, severity       by rarity, number and duration (`monitor.contracts.severity`)
    count                       anomalous vectors so far, from start_time to end_time
    time                        when it was last seen, milliseconds since 1970
    finding_info.uid            identifies the incident: the same in all that is told of it
    metadata.uid                identifies this alert of it
    finding_info.analytic.uid   the bundle that found it
    metadata.original_event_uid the producer's own id of the event (Zeek uid, Suricata flow_id)
    evidences[0]                endpoints, ports, protocol and Community ID, other entities
    observables                 what to pivot on
    anomaly_analyses[0]         the features as OCSF has them: observed anomalies and baselines
    unmapped                    everything that OCSF has no word for, typed: `AnomalyFacts`

Optional attributes that are unknown are absent, never null. Attributes may be added in a later
minor version of the product.
"""

from enum import IntEnum
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from monitor.contracts.text import MAX_INT, MAX_TEXT, FeatureValue

OCSF_VERSION: Final = "1.8.0"
MAX_LINE = 1024
LATEST_TIME_MS = 253_402_300_799_999
"""The last millisecond of the year 9999."""

Text = Annotated[str, StringConstraints(max_length=MAX_TEXT)]
Line = Annotated[str, StringConstraints(max_length=MAX_LINE)]
TimeMs = Annotated[int, Field(ge=0, le=LATEST_TIME_MS)]
Port = Annotated[int, Field(ge=0, le=65_535)]
Count = Annotated[int, Field(ge=0, le=MAX_INT)]


class Severity(IntEnum):
    """`severity_id` of an alert."""

    LOW = 2
    MEDIUM = 3
    HIGH = 4
    CRITICAL = 5

    @property
    def caption(self) -> "SeverityCaption":
        """OCSF's word for it, also the label of `anomaly_monitor_alerts_total`."""
        return _SEVERITY_CAPTIONS[self]


SeverityCaption = Literal["Low", "Medium", "High", "Critical"]
_SEVERITY_CAPTIONS: dict[Severity, SeverityCaption] = {
    Severity.LOW: "Low",
    Severity.MEDIUM: "Medium",
    Severity.HIGH: "High",
    Severity.CRITICAL: "Critical",
}


class ObservableType(IntEnum):
    """`type_id` of an observable."""

    HOSTNAME = 1
    IP_ADDRESS = 2
    RESOURCE_NAME = 38
    OTHER = 99

    @property
    def caption(self) -> str:
        """OCSF's word for it."""
        return _OBSERVABLE_CAPTIONS[self]


_OBSERVABLE_CAPTIONS = {
    ObservableType.HOSTNAME: "Hostname",
    ObservableType.IP_ADDRESS: "IP Address",
    ObservableType.RESOURCE_NAME: "Resource Details Object: name",
    ObservableType.OTHER: "Other",
}


ActivityCaption = Literal["Create", "Update", "Close"]
ACTIVITY_CAPTIONS: Final[dict[int, ActivityCaption]] = {1: "Create", 2: "Update", 3: "Close"}
"""`activity_name` by `activity_id`."""

STATUS_OF: Final[dict[int, tuple[Literal[1, 2, 4], Literal["New", "In Progress", "Resolved"]]]] = {
    1: (1, "New"),
    2: (2, "In Progress"),
    3: (4, "Resolved"),
}
"""`status_id` and `status` by `activity_id`."""


class _Object(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Product(_Object):
    name: Text
    vendor_name: Text
    version: Text


class Metadata(_Object):
    version: Literal["1.8.0"] = Field(description="Of OCSF.")
    product: Product
    uid: Text = Field(description="Identifies this event about the finding; deterministic.")
    original_event_uid: Text | None = Field(default=None, description="The producer's own id.")
    logged_time: TimeMs | None = Field(default=None, description="Timestamp of the Kafka record.")
    processed_time: TimeMs = Field(description="When the monitor wrote this alert.")


class Analytic(_Object):
    uid: Text = Field(description="The bundle's id.")
    name: Text = Field(description="The detector.")
    type_id: Literal[4]
    type: Literal["Learning (ML/DL)"]
    version: Text = Field(description="The monitor's version.")


class FindingInfo(_Object):
    uid: Text = Field(
        description="Identifies the incident, by the record that opened it and the bundle."
    )
    title: Text
    desc: Line
    types: tuple[Text, ...]
    analytic: Analytic
    data_sources: tuple[Text, ...] = Field(description="The input topic.")
    created_time: TimeMs = Field(description="When the monitor created the incident.")
    modified_time: TimeMs | None = Field(
        default=None, description="When it told of it again: in Update and Close."
    )


class Endpoint(_Object):
    """One side of a flow: `ip` if it is one, else `hostname` or, for any other text, `name`."""

    ip: Text | None = None
    hostname: Text | None = None
    name: Text | None = None
    port: Port | None = None


class ConnectionInfo(_Object):
    uid: Text | None = Field(default=None, description="The producer's own id.")
    community_uid: Text | None = Field(default=None, description="Community ID v1, seed 0.")
    protocol_num: Annotated[int, Field(ge=0, le=255)] | None = None
    protocol_name: Text | None = None
    protocol_ver_id: Literal[0, 4, 6]
    direction_id: Literal[0]


class Resource(_Object):
    """An entity that is no endpoint: its label in the spec is the type."""

    type: Text
    name: Text
    ip: Text | None = None


class Evidence(_Object):
    """What the event says of itself; `data` holds the features where it names no endpoint."""

    src_endpoint: Endpoint | None = None
    dst_endpoint: Endpoint | None = None
    connection_info: ConnectionInfo | None = None
    resources: tuple[Resource, ...] | None = None
    data: dict[Text, FeatureValue] | None = None


class Observable(_Object):
    name: Text = Field(description="Path of the attribute in this alert.")
    type_id: ObservableType
    type: Text
    value: Text


class AnalysisTarget(_Object):
    name: Text
    type: Text


class Observation(_Object):
    value: Text


class ObservedParameter(_Object):
    """OCSF's objects `anomaly` and `baseline`, which have the same attributes."""

    observation_parameter: Text = Field(description="Name of the feature.")
    observation_type: Text
    observations: tuple[Observation]


class AnomalyAnalysis(_Object):
    analysis_targets: tuple[AnalysisTarget]
    anomalies: tuple[ObservedParameter, ...] = Field(description="Observed values.")
    baselines: tuple[ObservedParameter, ...] = Field(description="Expected values, same order.")


class ExplainedFeature(_Object):
    name: Text
    observed: FeatureValue = Field(default=None, description="In natural units; absent if unknown.")
    expected: FeatureValue = Field(default=None, description="What the detector reconstructed.")
    share: float = Field(ge=0, le=1, description="Its part of what is wrong with the vector.")
    usual: tuple[FeatureValue, ...] | None = Field(
        default=None,
        description="Of a categorical feature the most frequent values in training, most frequent "
        "first; of any other the smallest and the largest.",
    )
    unseen: bool | None = Field(
        default=None, description="True where the value lies outside of all that training saw."
    )


class SourceRecord(_Object):
    topic: Text
    partition: Count
    offset: Count
    within: Count | None = Field(
        default=None,
        description="Position of the vector in a record that holds many, counted from 0.",
    )


class SpikeFacts(_Object):
    """How the level rose, of the subject of the incident."""

    measure: Literal["anomaly ratio", "mean error"]
    observed: float = Field(description="Since the rise.")
    usual: float = Field(description="Before.")
    since_ms: TimeMs = Field(description="Event time at which it began to rise.")


class IncidentFacts(_Object):
    """What an incident has come to."""

    type: Text = Field(
        description="What `name` is: source, destination, an entity's label in the spec, "
        "record key, partition or stream."
    )
    name: Text
    vectors: Count = Field(description="Anomalous ones; 0 where only the level rose.")
    span_ms: Count = Field(description="From the first to the last of them.")
    spike: SpikeFacts | None = None


class AnomalyFacts(_Object):
    """`unmapped`: what the monitor knows and OCSF has no attribute for, and what to look up.

    All but `incident` is of one vector: the most anomalous one so far.
    """

    reconstruction_error: float
    threshold: float = Field(description="The error that makes an alert.")
    tail_probability: float = Field(
        ge=0, le=1, description="Share of normal vectors expected to deviate at least this much."
    )
    false_alarm_rate: float = Field(
        ge=0, le=1, description="The budget: share of normal vectors that exceeds the threshold."
    )
    features: tuple[ExplainedFeature, ...] = Field(description="Largest share first.")
    bundle_id: Text
    source: SourceRecord = Field(description="The Kafka record.")
    event_time_ms: TimeMs | None = Field(
        default=None, description="As the event claims it, even where `time` had to differ."
    )
    record_id: Text | None = Field(default=None, description="The producer's own id.")
    community_id: Text | None = Field(default=None, description="Community ID v1, seed 0.")
    incident: IncidentFacts


class DetectionFinding(_Object):
    """An alert: what became of an incident, as an OCSF Detection Finding.

    Create, Update and Close of one incident have the same `finding_info.uid`; each has a
    `metadata.uid` of its own.
    """

    category_uid: Literal[2]
    category_name: Literal["Findings"]
    class_uid: Literal[2004]
    class_name: Literal["Detection Finding"]
    activity_id: Literal[1, 2, 3]
    activity_name: ActivityCaption
    type_uid: Annotated[int, Field(ge=200_401, le=200_403)]
    type_name: Text
    time: TimeMs = Field(description="When it was last seen, milliseconds since 1970.")
    start_time: TimeMs = Field(description="When it was first seen.")
    end_time: TimeMs = Field(description="When it was last seen.")
    duration: Count = Field(description="From the first to the last, milliseconds.")
    count: Annotated[int, Field(ge=1, le=MAX_INT, description="Anomalous vectors so far.")]
    severity_id: Severity
    severity: SeverityCaption
    status_id: Literal[1, 2, 4]
    status: Literal["New", "In Progress", "Resolved"]
    is_alert: Literal[True]
    message: Line = Field(description="Why, in one line.")
    metadata: Metadata
    finding_info: FindingInfo
    evidences: tuple[Evidence]
    observables: tuple[Observable, ...]
    anomaly_analyses: tuple[AnomalyAnalysis] | None = None
    unmapped: AnomalyFacts

    def to_bytes(self) -> bytes:
        """UTF-8 JSON, without the attributes that are unknown."""
        return self.model_dump_json(exclude_none=True).encode()

    @classmethod
    def from_bytes(cls, value: bytes) -> Self:
        """Read an alert back.

        Raises:
            pydantic.ValidationError: it is none.
        """
        return cls.model_validate_json(value)
