"""FeatureSpec: what a vector is.

A spec names the features in order, each with its kind and transform, and says where an event's
identity (record id, time, entities) is found. It is written by hand or drafted by
`monitor spec infer`, lives in a TOML file or ships as a preset (`preset:zeek-conn`), and is part of
every trained bundle.

    [[features]]
    name = "orig_bytes"
    kind = "numeric"
    transform = "log"
    default = 0

    [identity]
    record_id = "uid"
    source_address = "id.orig_h"

A field is found by its literal key first (`"id.orig_h": ...` as Zeek writes it) and by a dotted
path into nested objects otherwise (`{"flow": {"pkts_toserver": ...}}`).
"""

import hashlib
import json
import tomllib
from collections.abc import Iterator
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from monitor.errors import SpecError

Kind = Literal["numeric", "categorical", "boolean"]
Transform = Literal["log", "linear"]

PRESET_PREFIX = "preset:"
_STRICT = ConfigDict(frozen=True, extra="forbid", strict=True)


class Feature(BaseModel):
    """One input of the network."""

    model_config = _STRICT

    name: str = Field(min_length=1, description="Name, as alerts and reports show it.")
    kind: Kind = Field(
        description="numeric, categorical (any scalar, compared as text) or boolean."
    )
    transform: Transform | None = Field(
        default=None,
        description="For numeric features: log (signed log1p, for heavy tails) or linear. "
        "Both are then centred and scaled on the training data. Default: log.",
    )
    field: str | None = Field(
        default=None, description="Where an event holds it: a key or a dotted path. Default: name."
    )
    column: int | None = Field(
        default=None, ge=1, description="Position, counted from 1, in files without a header line."
    )
    default: float | bool | str | None = Field(
        default=None,
        description="Value where an event lacks the field. Without one such an event is a "
        "dead letter (missing_feature).",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.kind != "numeric" and self.transform is not None:
            raise ValueError(f"feature {self.name!r}: only numeric features take a transform")
        allowed = {"numeric": (int, float), "categorical": (str,), "boolean": (bool,)}[self.kind]
        wrong = self.default is not None and (
            not isinstance(self.default, allowed)
            or (self.kind == "numeric" and isinstance(self.default, bool))
        )
        if wrong:
            raise ValueError(f"feature {self.name!r}: default {self.default!r} is not {self.kind}")
        return self

    @property
    def path(self) -> str:
        """The key or dotted path that holds the feature in an event."""
        return self.field or self.name


class Identity(BaseModel):
    """Where an event says what, when and between whom it was. Every field is optional."""

    model_config = _STRICT

    record_id: str | None = Field(default=None, description="The producer's own id (Zeek uid).")
    event_time: str | None = Field(
        default=None,
        description="Time of the event: seconds, milliseconds, microseconds or nanoseconds since "
        "1970 (told apart by magnitude), or ISO 8601 text.",
    )
    source_address: str | None = Field(
        default=None, description="Address from which it came; alerts are keyed by it."
    )
    source_port: str | None = Field(default=None, description="Port from which it came.")
    destination_address: str | None = Field(default=None, description="Address to which it went.")
    destination_port: str | None = Field(default=None, description="Port to which it went.")
    protocol: str | None = Field(default=None, description="Name or IANA number.")
    entities: dict[str, str] = Field(
        default_factory=dict, description="Further entities: label to field (device, user, ...)."
    )

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """Every field that identifies, in a fixed order."""
        named = (getattr(self, name) for name in type(self).model_fields if name != "entities")
        return tuple(f for f in (*named, *self.entities.values()) if f)


class FeatureSpec(BaseModel):
    """The order, kinds and whereabouts of the features of one kind of event."""

    model_config = _STRICT

    format_version: Literal[1] = Field(default=1, description="Version of this format.")
    name: str = Field(min_length=1, description="Name, as bundles and errors show it.")
    description: str = Field(default="", description="What it reads, for people.")
    unwrap: tuple[str, ...] = Field(
        default=(),
        strict=False,
        description='Keys that may wrap the whole event, as in {"conn": ...} of Zeek and Kafka.',
    )
    select: dict[str, str] = Field(
        default_factory=dict,
        description="Only events with these values are vectors; others in the topic are counted "
        "(outcome not_selected) and passed over.",
    )
    ignore: tuple[str, ...] = Field(
        default=(), strict=False, description="Fields and columns known to be no features."
    )
    identity: Identity = Field(default=Identity(), description="Where an event says what it was.")
    features: tuple[Feature, ...] = Field(
        min_length=1, strict=False, description="The inputs of the network, in order."
    )

    @model_validator(mode="after")
    def _names_unique(self) -> Self:
        for what in ("name", "column"):
            values = [str(getattr(feature, what)) for feature in self.features]
            doubles = sorted({v for v in values if v != "None" and values.count(v) > 1})
            if doubles:
                raise ValueError(f"two features have the {what} {doubles[0]!r}")
        return self

    def __len__(self) -> int:
        return len(self.features)

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(f.name for f in self.features)

    @cached_property
    def paths(self) -> tuple[str, ...]:
        return tuple(f.path for f in self.features)

    def columns_of(self, *kinds: Kind) -> list[int]:
        """Positions, from 0, of the features of these kinds."""
        return [i for i, f in enumerate(self.features) if f.kind in kinds]

    @cached_property
    def digest(self) -> str:
        """sha256 over everything that decides how an event becomes a vector."""
        meaning = self.model_dump(mode="json", exclude={"description", "name", "ignore"})
        return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()

    @classmethod
    def load(cls, source: str | Path) -> Self:
        """Read a spec from a TOML file or, as `preset:NAME`, from those that ship.

        Raises:
            SpecError: naming the file and the field at fault.
        """
        text = preset_text(str(source)) if str(source).startswith(PRESET_PREFIX) else None
        try:
            content = tomllib.loads(text if text is not None else Path(source).read_text("utf-8"))
        except OSError as error:
            raise SpecError(f"spec {source}: cannot be read ({error.strerror}).") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SpecError(f"spec {source}: is not valid TOML ({error}).") from error
        return cls.parse(content, str(source))

    @classmethod
    def parse(cls, content: dict[str, Any], origin: str) -> Self:
        """Validate a spec; `origin` is named in errors."""
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "spec"
            raise SpecError(f"spec {origin}: {where}: {first['msg']}.") from error


def presets() -> Iterator[str]:
    """Names of the specs that ship, as `preset:NAME`."""
    for entry in sorted(_preset_folder().iterdir(), key=lambda e: e.name):
        if entry.name.endswith(".toml"):
            yield PRESET_PREFIX + entry.name.removesuffix(".toml")


def _preset_folder() -> Any:
    return resources.files("monitor") / "presets"


def preset_text(source: str) -> str:
    if source not in (known := list(presets())):
        raise SpecError(f"spec {source}: no such preset; there are {', '.join(known)}.")
    name = source.removeprefix(PRESET_PREFIX)
    text: str = (_preset_folder() / f"{name}.toml").read_text("utf-8")
    return text
