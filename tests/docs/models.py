"""Pages made from pydantic models: the settings and the feature spec."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from monitor.config import ENV_NESTED, ENV_PREFIX, Settings
from monitor.features import PRESET_PREFIX, FeatureSpec, presets
from tests.docs.markdown import table

SETTINGS_INTRODUCTION = """\
# Settings

Of `monitor run` and `monitor doctor`, in a TOML file that `--config` names. An environment
variable goes before the file, and a flag before both; `monitor config show` prints what results,
and where each value came from. A list is written in a variable as `a,b`. A password is never in
the file: it comes from the environment, or from a file of its own that a setting names.

An unknown setting is refused, so that a misspelt one is not silently the default. For editors
the same is a JSON Schema: [settings.schema.json](../schemas/settings.schema.json)."""

SPEC_INTRODUCTION = """\
# The feature spec

A TOML file that says what a vector is: which features, in which order, and where an event holds
them. Draft one from data with `monitor spec infer`, or take one that ships. It is part of each
bundle that is trained with it.

```toml
name = "flows"

[identity]
record_id = "uid"
event_time = "ts"
source_address = "src"
destination_address = "dst"

[[features]]
name = "bytes"           # numeric, on a logarithmic scale
kind = "numeric"

[[features]]
name = "load"
kind = "numeric"
transform = "linear"
field = "stats.load"     # {"stats": {"load": 0.3}}
default = 0              # where an event has none

[[features]]
name = "protocol"        # a value that training never met is scored as unseen, not refused
kind = "categorical"

[[features]]
name = "encrypted"
kind = "boolean"
```

A field is found by its literal key first (`"id.orig_h": ...`, as Zeek writes it), else by its
dotted path into nested objects (`{"flow": {"age": ...}}`). In tables it is the column's name;
`column` serves files without a header line. An array is a vector in the order of the features."""

PRESETS_INTRODUCTION = """
## Specs that ship

`--spec preset:NAME` takes one, and `monitor spec show preset:NAME` prints it, to be saved and
changed."""

UNITS = {
    "_ms": "milliseconds",
    "_bytes": "bytes",
    "_vectors": "vectors",
    "_features": "features",
    "_rate": "share",
    "alerts_per_day": "alerts a day",
    "_change_per_day": "share a day",
    "_seconds": "seconds",
    "_days": "days",
    "_incidents": "incidents",
    "_incidents_per_minute": "incidents a minute",
    "_entities": "entities",
    "port": "TCP port",
    "workers": "processes",
}
"""Of a numeric setting, by the end of its name."""

_TYPES = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "`true` or `false`",
    "array": "list",
    "object": "table",
    "path": "path",
    "date-time": "date and time",
    "password": "text, only in the environment",
}
_LIMITS = {
    "minimum": "from",
    "exclusiveMinimum": "above",
    "maximum": "to",
    "exclusiveMaximum": "below",
}
Schema = Mapping[str, Any]


def settings_page() -> str:
    """Every setting, a table of the file after the other."""
    schema = Settings.model_json_schema()
    top = {k: v for k, v in schema["properties"].items() if not _is_table(v)}
    lines = [SETTINGS_INTRODUCTION, "", "## At the top of the file", ""]
    lines += _settings("", {**schema, "properties": top})
    for name, field in schema["properties"].items():
        if _is_table(field):
            section, many = _target(schema, field.get("items", field)), "items" in field
            title = f"[[{name}]]" if many else f"[{name}]"
            lines += ["", f"## `{title}`", "", section["description"], ""]
            lines += _settings(f"{name}.", section, variables=not many)
    return "\n".join(lines)


def _is_table(field: Schema) -> bool:
    """Whether a setting is a table of settings, or a list of tables."""
    return "$ref" in field or "$ref" in field.get("items", ())


def _settings(prefix: str, section: Schema, variables: bool = True) -> Iterator[str]:
    rows = []
    for name, type_, default, meaning in _fields(section):
        variable = ENV_PREFIX + f"{prefix}{name}".replace(".", ENV_NESTED).upper()
        also = f"<br>`{variable}`" if variables else ""
        rows.append([f"`{prefix}{name}`{also}", type_, default, meaning])
    head = "setting and variable" if variables else "setting"
    return table([head, "type", "default", "what it does"], rows)


def spec_page() -> str:
    """Every field of a spec, and the specs that ship."""
    schema = FeatureSpec.model_json_schema()
    lines = [SPEC_INTRODUCTION]
    for title, section in (
        ("At the top of the file", schema),
        ("`[[features]]`", schema["$defs"]["Feature"]),
        ("`[identity]`", schema["$defs"]["Identity"]),
    ):
        lines += ["", f"## {title}", "", section["description"], ""]
        rows = [[f"`{name}`", *rest] for name, *rest in _fields(section)]
        lines += table(["field", "type", "default", "what it says"], rows)
    lines.append(PRESETS_INTRODUCTION)
    for preset in presets():
        lines += _preset(preset, FeatureSpec.load(preset))
    return "\n".join(lines)


def _preset(name: str, spec: FeatureSpec) -> Iterator[str]:
    file = f"monitor/presets/{name.removeprefix(PRESET_PREFIX)}.toml"
    kinds = Counter(feature.kind for feature in spec.features)
    yield from ["", f"### `{name}`", "", f"{spec.description}: [{file}](../{file}).", ""]
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    yield f"- {len(spec)} features ({counts}): {_words(spec.names)}."
    if identity := spec.identity.model_dump(exclude_defaults=True):
        yield f"- Identity: {', '.join(f'{k} `{v}`' for k, v in identity.items())}."
    if spec.unwrap:
        yield f"- Unwraps {_words(spec.unwrap)}."
    if spec.select:
        yield f"- Selects {', '.join(f'{k} `{v}`' for k, v in spec.select.items())}."
    if spec.ignore:
        yield f"- Ignores {_words(spec.ignore)}."


def _words(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _fields(section: Schema) -> Iterator[tuple[str, str, str, str]]:
    """Name, type, default and meaning of each field of a model."""
    for name, field in section["properties"].items():
        required = name in section.get("required", ())
        default = "required" if required else _default(field.get("default"))
        yield name, _type(name, field), default, field["description"]


def _type(name: str, field: Schema) -> str:
    """A type with its unit and range, such as "whole number, milliseconds, from 0 to 60000"."""
    if _is_table(field):
        return "list of tables" if "items" in field else "table"
    options = [option for option in field.get("anyOf", [field]) if option.get("type") != "null"]
    if "const" in field or "enum" in options[0]:
        return ", ".join(f"`{value}`" for value in options[0].get("enum", [field.get("const")]))
    words = [" or ".join(_TYPES[option.get("format", option["type"])] for option in options)]
    if options[0]["type"] in ("integer", "number"):
        words += [unit for end, unit in UNITS.items() if name.endswith(end)]
        limits = [f"{word} {options[0][k]}" for k, word in _LIMITS.items() if k in options[0]]
        words += [" ".join(limits)] if limits else []
    return ", ".join(words)


def _default(value: Any) -> str:
    if value is None or isinstance(value, (list, dict)) or value == "":
        return "not set"
    return f"`{str(value).lower()}`" if isinstance(value, bool) else f"`{value}`"


def _target(schema: Schema, field: Schema) -> Schema:
    target: Schema = schema["$defs"][field["$ref"].rpartition("/")[2]]
    return target
