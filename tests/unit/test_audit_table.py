"""What `monitor audit` prints: every partition by its full name, and only columns that tell."""

from typing import Any

import pytest

from monitor.cli.audit import _console, _print
from monitor.stream.account import Account, Report

TOPIC = "production.network-flows"


def account(partition: int, **others: Any) -> Account:
    facts: dict[str, Any] = {
        **{"topic": TOPIC, "partition": partition, "first_offset": 1_200_000},
        **{"next_offset": 2_345_678, "records": 1_145_678, "records_dead_lettered": 0},
        **{"scored": 1_145_678, "vectors_dead_lettered": 0, "not_selected": 0, "anomalous": 0},
        **{"missing": [], "missing_records": 0, "double": [], "gone": []},
        **{"committed": 2_345_678, "journal_end": 2_345_678, "topic_end": 2_345_678},
        **{"waiting": 0, "letters_found": 0, "letters_repeated": 0, "letters_trimmed": False},
        **{"records_expected": 0, "records_counted": None},
    }
    return Account(**{**facts, **others})


def printed(capsys: pytest.CaptureFixture[str], *accounts: Account) -> str:
    _print(Report("monitor", accounts, [], []), _console())
    return capsys.readouterr().out


@pytest.mark.parametrize("columns", ["80", "40", None])
def test_names_and_numbers_are_whole_at_every_width(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: str | None
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
    all_columns = {"records_dead_lettered": 1, "not_selected": 9, "anomalous": 34, "waiting": 987}
    told = printed(capsys, *(account(n, **all_columns) for n in range(12)))
    for n in range(12):
        [row] = [line for line in told.splitlines() if f"{TOPIC}[{n}]" in line]
        assert row.split()[1:5] == ["1,200,000", "to", "2,345,677", "1,145,678"]
        assert row.split()[-1] == "987"
    assert "…" not in told


def test_columns_without_anything_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    told = printed(capsys, account(0), account(1, anomalous=3))
    assert "anomalous" in told
    assert "missing" in told
    assert "not selected" not in told
    assert "waiting" not in told
