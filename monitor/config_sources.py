"""Where settings come from: a TOML file, then the environment, then flags; the last one wins.

    settings = load_settings(Path("monitor.toml"), {"telemetry": {"port": 0}}).settings

A variable is named after its setting: `MONITOR_BATCH__MAX_VECTORS` is `max_vectors` of `[batch]`.
"""

import difflib
import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import EnvSettingsSource
from pydantic_settings import SettingsError as UnreadableSettingsError

from monitor.config import ENV_NESTED, ENV_PREFIX, Settings
from monitor.errors import SettingsError

MASK = "********"


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and for each dotted name the layer that set it; names not in it are defaults."""

    settings: Settings
    origins: Mapping[str, str]


def load_settings(file: Path | None, flags: Mapping[str, Any] | None = None) -> Loaded:
    """Merge the file, the environment and the flags, and validate what results.

    Args:
        flags: a nested mapping like the file's.

    Raises:
        SettingsError: one sentence naming where a setting came from, which, and what was expected.
    """
    name = f"settings {file}" if file else "settings"
    layers = {
        name: _read_file(file) if file else {},
        "environment": _read_environment(),
        "flag": dict(flags or {}),
    }
    origins: dict[str, str] = {}
    merged: dict[str, Any] = {}
    for origin, layer in layers.items():
        origins |= {name: origin for name, _ in _leaves(layer)}
        merged = _merge(merged, layer)
    try:
        return Loaded(Settings(**merged), origins)
    except ValidationError as error:
        raise SettingsError(_sentence(error, origins, name)) from error


def show_settings(loaded: Loaded) -> str:
    """The effective settings as TOML, with secrets masked and where each came from."""
    sections: dict[str, list[str]] = {}
    for name, value in _leaves(loaded.settings.model_dump()):
        section, _, key = name.rpartition(".")
        origin = loaded.origins.get(name, "default")
        line = f"{key} = {_toml(value)}  # {origin.removeprefix('settings ')}"
        sections.setdefault(section, []).append(
            line if value is not None else f"# {key} is not set"
        )
    return "\n\n".join(
        "\n".join([f"[{section}]", *lines] if section else lines)
        for section, lines in sections.items()
    )


def changed_settings(old: Settings, new: Settings) -> list[str]:
    """The dotted names of the settings that differ."""
    before, after = dict(_leaves(old.model_dump())), dict(_leaves(new.model_dump()))
    return [name for name in before | after if before.get(name) != after.get(name)]


def _read_file(file: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise SettingsError(f"settings {file}: cannot be read ({error.strerror}).") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"settings {file}: is not valid TOML ({error}).") from error
    for name, _ in _leaves(content):
        if _is_secret(name):
            variable = ENV_PREFIX + name.replace(".", ENV_NESTED).upper()
            raise SettingsError(
                f"settings {file}: {name}: a password does not belong in the settings file; name "
                f"a file that holds it with {name}_file, or set {variable} in the environment."
            )
    return content


def _read_environment() -> dict[str, Any]:
    source = EnvSettingsSource(
        Settings,  # type: ignore[arg-type]  # a plain model has all that it looks at
        env_prefix=ENV_PREFIX,
        env_nested_delimiter=ENV_NESTED,
    )
    for variable in source.env_vars:
        name = variable.removeprefix(ENV_PREFIX.lower())
        if name == variable:
            continue
        head, nested, _ = name.partition(ENV_NESTED)
        # Others use this prefix too, such as Kubernetes for a service called "monitor": only what
        # is built like a setting, or nearly is one, can be a mistake.
        if head not in Settings.model_fields and (nested or _closest(head, Settings)):
            known = _closest(head, Settings)
            hint = f"; did you mean {ENV_PREFIX}{known.upper()}?" if known else "."
            raise SettingsError(f"environment: {variable.upper()}: no such setting{hint}")
    try:
        return source()
    except UnreadableSettingsError as error:
        raise SettingsError(
            f"environment: {error}; set the members of a table one by one, such as "
            f"{ENV_PREFIX}KAFKA{ENV_NESTED}GROUP_ID."
        ) from error


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        nested = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[key] = _merge(old or {}, value) if nested else value
    return merged


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _model_at(path: tuple[Any, ...]) -> type[BaseModel] | None:
    model: type[BaseModel] = Settings
    for part in path:
        field = model.model_fields.get(part)
        inner = field.annotation if field else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return None
        model = inner
    return model


def _is_secret(name: str) -> bool:
    *parents, key = name.split(".")
    model = _model_at(tuple(parents))
    field = model.model_fields.get(key) if model else None
    return field is not None and "SecretStr" in str(field.annotation)


def _closest(key: str, model: type[BaseModel] | None) -> str | None:
    known = list(model.model_fields) if model else []
    return next(iter(difflib.get_close_matches(key, known, n=1)), None)


def _sentence(error: ValidationError, origins: Mapping[str, str], file: str) -> str:
    """The first thing that is wrong; unknown names first, for a misspelt one is missing as well."""
    first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    name = ".".join(str(part) for part in first["loc"] if isinstance(part, str))
    origin = next((o for n, o in origins.items() if f"{n}.".startswith(f"{name}.")), file)
    where = f"{origin}: {name}" if name else file
    return f"{where}: {_problem(first, name)}"


def _problem(error: ErrorDetails, name: str) -> str:
    if error["type"] == "extra_forbidden":
        *parents, key = (str(part) for part in error["loc"])
        close = _closest(key, _model_at(tuple(parents)))
        hint = f"; did you mean {'.'.join([*parents, close])}?" if close else "."
        return f"no such setting{hint}"
    if error["type"] == "missing":
        return "is required and missing."
    if error["type"] == "model_type":
        return f"expected a table of settings, [{name}]."
    text = error["msg"].removeprefix("Value error, ")
    if not name:  # of several settings together
        return f"{text}."
    expected = text.replace("Input should be", "expected", 1)
    expected = expected.replace("expected less", "expected a number less")
    expected = expected.replace("expected greater", "expected a number greater")
    if expected == text or _is_secret(name):
        return f"{expected}."
    return f"{expected}, got {json.dumps(error['input'], default=str)[:80]}."


def _toml(value: Any) -> str:
    """A setting as TOML; JSON's strings, numbers and booleans are TOML's."""
    if isinstance(value, SecretStr):
        value = MASK
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, Mapping):
        given = (f"{json.dumps(key)} = {_toml(v)}" for key, v in value.items() if v is not None)
        return f"{{ {', '.join(given)} }}"
    return json.dumps(value, default=str, ensure_ascii=False)
