"""The journal: which offsets were dealt with, and what became of them.

    producer.send(topic, key=journal_key(entry), value=render_entry(entry))
    JournalEntry.model_validate_json(value)

It is written together with what came of the offsets, so that whoever reads Kafka alone can add up
the books: `monitor audit` does.
"""

import orjson
from pydantic import BaseModel, ConfigDict, Field


class JournalEntry(BaseModel):
    """What became of the offsets of one input partition in one micro-batch.

    The entries of a partition tile its offsets: each begins where the one before ended, unless the
    group's offsets were moved or reset meanwhile. Fields may be added; a reader passes over those
    that it does not know.
    """

    model_config = ConfigDict(frozen=True)

    group: str = Field(description="Consumer group that dealt with them.")
    topic: str
    partition: int = Field(ge=0)
    first_offset: int = Field(
        ge=0,
        description="Where it was read on from. No record need have it: offsets of control "
        "records, of aborted transactions and of what compaction removed have none to read.",
    )
    next_offset: int = Field(
        ge=0, description="Where to go on from: one more than the offset of its last record."
    )
    records: int = Field(ge=0, description="Records between the two that were read.")
    records_dead_lettered: int = Field(
        ge=0, description="Records of these that went to the dead-letter topic."
    )
    scored: int = Field(ge=0, description="Vectors scored; a record may hold many.")
    vectors_dead_lettered: int = Field(
        ge=0, description="Vectors that the dead-lettered records say they hold."
    )
    not_selected: int = Field(ge=0, description="Vectors that the spec passes over.")
    anomalous: int = Field(ge=0, description="Vectors scored whose error is past the threshold.")
    time_ms: int = Field(ge=0, description="When, in milliseconds since 1970.")
    member: str = Field(description="Which member of the group.")
    bundle_id: str = Field(description="Of the bundle that scored.")
    version: str = Field(description="Of the monitor.")


def journal_key(group: str, topic: str, partition: int) -> bytes:
    """The same for all entries of a partition, which thus stay in order."""
    return f"{group}/{topic}/{partition}".encode()


def render_entry(**fields: str | int) -> bytes:
    """The fields of a `JournalEntry` as JSON."""
    return orjson.dumps(fields)


def read_entry(value: bytes | None) -> JournalEntry | None:
    """An entry, or None where it is none that we can read."""
    try:
        return JournalEntry.model_validate_json(value or b"")
    except ValueError:
        return None
