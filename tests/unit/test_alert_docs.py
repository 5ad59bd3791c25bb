"""docs/alerts.md holds what the code does."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from monitor.contracts.dead_letter import DeadLetterHeaders
from monitor.contracts.ocsf import Severity
from monitor.contracts.severity import LONGER_MS, MORE_VECTORS, RARER_BY
from monitor.reasons import Reason
from tests.support.alerts import DETECTION, NOW_MS, alert_of, attribute

DOCUMENT = (Path(__file__).parents[2] / "docs" / "alerts.md").read_text("utf-8")


def example() -> dict[str, Any]:
    (block,) = re.findall(r"```json\n(.*?)```", DOCUMENT, re.DOTALL)
    alert: dict[str, Any] = json.loads(block)
    return alert


def table(heading: str) -> list[list[str]]:
    """The rows of the first table below a heading, without its head."""
    _, _, below = DOCUMENT.partition(f" {heading}\n")
    _, _, body = below.partition("|---")
    rows = body.partition("\n\n")[0].splitlines()[1:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def words(cells: list[str]) -> list[str]:
    return [word for cell in cells for word in re.findall(r"`([^`]+)`", cell)]


def test_the_example_is_what_the_code_renders() -> None:
    documented = example()
    rendered = json.loads(alert_of(DETECTION, NOW_MS).to_bytes())
    version = documented["metadata"]["product"]["version"]
    rendered["metadata"]["product"]["version"] = version
    rendered["finding_info"]["analytic"]["version"] = version
    assert rendered == documented, json.dumps(rendered, indent=2, ensure_ascii=False)


@pytest.mark.parametrize("path", words([row[1] for row in table("Where each fact is")]))
def test_each_fact_is_where_the_table_says(path: str) -> None:
    assert attribute(example(), path) is not None


def test_every_reason_is_explained_with_what_to_do() -> None:
    rows = table("Reasons")
    assert words([row[0] for row in rows]) == list(Reason)
    assert all(meaning and remedy for _, meaning, remedy in rows)


def test_every_dead_letter_header_is_documented() -> None:
    names = [field.alias for field in DeadLetterHeaders.model_fields.values()]
    assert words([row[0] for row in table("A dead letter")]) == names


def test_every_severity_is_documented() -> None:
    assert [row[:2] for row in table("Severity")] == [
        [str(severity.value), severity.caption] for severity in Severity
    ]


def test_the_marks_of_severity_are_documented() -> None:
    _, _, below = DOCUMENT.partition("Steps are taken for each mark")
    _, _, body = below.partition("|---")
    marks = body.partition("\n\n")[0]
    for factor in RARER_BY:
        assert f"a {factor}th" in marks
    for vectors in MORE_VECTORS:
        assert f"| {vectors:,} |" in marks
    assert [f"{ms // 60_000} minutes" in marks for ms in LONGER_MS] == [True]
