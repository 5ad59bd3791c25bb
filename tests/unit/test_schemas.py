"""Published schemas: generated from the models, and true of what is published."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from monitor.contracts.dead_letter import DeadLetterHeaders
from monitor.contracts.schemas import CONTRACTS, check_schemas, write_schemas
from monitor.reasons import Reason
from tests.support.alerts import DETECTION, NOW_MS, alert_of

PUBLISHED = Path(__file__).parents[2] / "schemas"


def published(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((PUBLISHED / f"{name}.schema.json").read_bytes())
    return schema


@pytest.mark.parametrize("name", CONTRACTS)
def test_published_schemas_are_valid(name: str) -> None:
    Draft202012Validator.check_schema(published(name))


def test_an_alert_satisfies_the_published_schema() -> None:
    alert = json.loads(alert_of(DETECTION).to_bytes())
    Draft202012Validator(published("alert")).validate(alert)


def test_an_alert_without_a_required_attribute_does_not() -> None:
    alert = json.loads(alert_of(DETECTION).to_bytes())
    validator = Draft202012Validator(published("alert"))
    for name in ("class_uid", "type_uid", "is_alert", "finding_info", "unmapped"):
        assert not validator.is_valid({k: v for k, v in alert.items() if k != name})


def test_dead_letter_headers_satisfy_the_published_schema() -> None:
    headers = DeadLetterHeaders(
        reason=Reason.EMPTY,
        error="no bytes",
        topic="vectors",
        partition=0,
        offset=1,
        record_time_ms=-1,
        time_ms=NOW_MS,
        version="1",
    )
    validator = Draft202012Validator(published("dead-letter-headers"))
    validator.validate(headers.model_dump(mode="json", by_alias=True, exclude_none=True))
    assert published("dead-letter-headers")["$defs"]["Reason"]["enum"] == list(Reason)


def test_every_schema_of_a_contract_is_up_to_date(tmp_path: Path) -> None:
    write_schemas(tmp_path)
    for path in tmp_path.iterdir():
        assert (PUBLISHED / path.name).read_bytes() == path.read_bytes(), "run `monitor schemas`"


def test_what_was_just_written_has_no_differences(tmp_path: Path) -> None:
    assert len(write_schemas(tmp_path / "new")) == len(CONTRACTS)
    assert check_schemas(tmp_path / "new") == []
    assert write_schemas(tmp_path / "new") == []


def test_a_missing_a_changed_and_a_foreign_file_are_each_named(tmp_path: Path) -> None:
    write_schemas(tmp_path)
    (tmp_path / "alert.schema.json").unlink()
    (tmp_path / "bundle-manifest.schema.json").write_text("{}\n")
    (tmp_path / "old.schema.json").write_text("{}\n")
    assert check_schemas(tmp_path) == [
        f"{tmp_path}/alert.schema.json is missing.",
        f"{tmp_path}/bundle-manifest.schema.json differs from its model.",
        f"{tmp_path}/old.schema.json belongs to no contract.",
    ]
