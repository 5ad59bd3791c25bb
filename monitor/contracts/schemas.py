"""The published JSON Schemas: one file a contract, generated from its model."""

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from monitor.contracts.dead_letter import DeadLetterHeaders
from monitor.contracts.journal import JournalEntry
from monitor.contracts.manifest import Manifest
from monitor.contracts.ocsf import DetectionFinding
from monitor.errors import MonitorError

JSON_SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"
SUFFIX = ".schema.json"

Registry = Mapping[str, type[BaseModel]]

CONTRACTS: Registry = {
    "alert": DetectionFinding,
    "bundle-manifest": Manifest,
    "dead-letter-headers": DeadLetterHeaders,
    "journal-entry": JournalEntry,
}


class _Untitled(GenerateJsonSchema):
    """Without the titles that pydantic makes of the names: they repeat them."""

    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002
        return False


def write_schemas(directory: Path, registry: Registry = CONTRACTS) -> list[Path]:
    """Write `NAME.schema.json` for each contract; returns the paths that changed.

    Raises:
        MonitorError: the directory cannot be written.
    """
    changed = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for path, content in _files(directory, registry).items():
            if _content(path) != content:
                path.write_bytes(content)
                changed.append(path)
    except OSError as error:
        raise MonitorError(f"schemas {directory}: cannot be written ({error.strerror}).") from error
    return changed


def check_schemas(directory: Path, registry: Registry = CONTRACTS) -> list[str]:
    """A sentence for each file that is missing, differs from its model or belongs to none."""
    expected = _files(directory, registry)
    paths = sorted({*expected, *directory.glob(f"*{SUFFIX}")})
    problems = {path: _problem(_content(path), expected.get(path)) for path in paths}
    return [f"{path} {problem}." for path, problem in problems.items() if problem]


def _problem(found: bytes | None, expected: bytes | None) -> str | None:
    if found == expected:
        return None
    if expected is None:
        return "belongs to no contract"
    return "is missing" if found is None else "differs from its model"


def _files(directory: Path, registry: Registry) -> dict[Path, bytes]:
    return {directory / f"{name}{SUFFIX}": _schema(model) for name, model in registry.items()}


def _schema(model: type[BaseModel]) -> bytes:
    schema = model.model_json_schema(schema_generator=_Untitled)
    return (
        json.dumps({"$schema": JSON_SCHEMA_DIALECT, **schema}, indent=2, ensure_ascii=False) + "\n"
    ).encode()


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
