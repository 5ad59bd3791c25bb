"""`monitor audit`: do the books balance?"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monitor.errors import SettingsError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from monitor.config import KafkaSettings
    from monitor.stream.account import Account, Report
    from monitor.stream.audit import Bound
    from monitor.stream.ranges import Range

DEFAULT_BOOTSTRAP_SERVERS = "127.0.0.1:9092"
PIPED_WIDTH = 160


def audit(
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="Settings file: brokers, login, group and topics."),
    ] = None,
    topic: Annotated[
        list[str] | None,
        typer.Option(help="Input topic; may be given several times. Default: the settings'."),
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Offset, or time in ISO 8601 (UTC unless it says otherwise). Default: where the "
            "journal begins.",
        ),
    ] = None,
    to: Annotated[
        str | None, typer.Option(help="Offset or time before which to end. Default: now.")
    ] = None,
    group: Annotated[str | None, typer.Option(help="Overrides kafka.group_id.")] = None,
    bootstrap_servers: Annotated[
        str | None,
        typer.Option(
            help=f"Brokers, as host:port with commas. Default: {DEFAULT_BOOTSTRAP_SERVERS}."
        ),
    ] = None,
    count: Annotated[
        bool,
        typer.Option(
            "--count", help="Also count the records that the topic holds; reads all of them."
        ),
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print it all as a JSON object.")] = False,
) -> None:
    """Say of each partition what became of its offsets, and which are missing or double.

    It reads Kafka alone: topic, journal, dead letters, alerts and committed offsets. The monitor
    may run meanwhile. Exit code 0 if the books balance, 1 if they do not, 2 if it cannot be told.
    """
    from monitor.stream.audit import audit

    since, until = _bound("--from", from_), _bound("--to", to)
    _check_order(since, until, from_, to)
    kafka = _kafka_settings(config, topic, group, bootstrap_servers)
    with _progress() as progress:
        report = audit(kafka, topic or kafka.input_topics, since, until, count, progress)
    if json_:
        typer.echo(_as_json(report))
    else:
        _print(report, _console())
    raise typer.Exit(0 if report.balanced else 1)


def _kafka_settings(
    config: Path | None,
    topics: list[str] | None,
    group: str | None,
    bootstrap_servers: str | None,
) -> "KafkaSettings":
    from monitor.config_sources import load_settings

    if config is None and not topics:
        raise SettingsError("--topic: name the input topic, or a settings file with --config.")
    kafka: dict[str, Any] = {"group_id": group, "bootstrap_servers": bootstrap_servers}
    flags: dict[str, Any] = {"kafka": {k: v for k, v in kafka.items() if v is not None}}
    if config is None:  # what a daemon needs and this command does not
        flags["bundle"] = "none"
        unneeded = {"bootstrap_servers": DEFAULT_BOOTSTRAP_SERVERS, "input_topics": topics}
        flags["kafka"] = unneeded | flags["kafka"]
    return load_settings(config, flags).settings.kafka


def _bound(option: str, text: str | None) -> "Bound":
    """An offset, or a time.

    Raises:
        SettingsError: it is neither.
    """
    from datetime import UTC, datetime

    from monitor.stream.audit import Bound

    if text is None:
        return Bound()
    if text.isdecimal():
        return Bound(offset=int(text))
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise SettingsError(
            f"{option} {text!r}: expected an offset or a time such as 2026-01-31T12:00:00Z."
        ) from error
    return Bound(time_ms=int(time.replace(tzinfo=time.tzinfo or UTC).timestamp() * 1000))


def _check_order(since: "Bound", until: "Bound", from_: str | None, to: str | None) -> None:
    for start, end in ((since.offset, until.offset), (since.time_ms, until.time_ms)):
        if start is not None and end is not None and start >= end:
            raise SettingsError(f"--from {from_}: is not before --to {to}; exchange them.")


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each topic that is read, on standard error while it lasts."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what)
            bar.update(tasks[what], completed=done, total=total)

        yield show


def _as_json(report: "Report") -> str:
    import json
    from dataclasses import asdict

    return json.dumps({"balanced": report.balanced, **asdict(report)})


def _print(report: "Report", console: "Console") -> None:
    console.print(_table(report.accounts))
    for note in report.notes:
        console.print(f"note: {note}", style="dim", markup=False)
    for problem in report.problems:
        console.print(f"problem: {problem}", style="red", markup=False)
    records = sum(account.records for account in report.accounts)
    vectors = sum(account.scored for account in report.accounts)
    console.print(
        f"group {report.group}: {records:,} records, {vectors:,} vectors scored; "
        + ("the books balance." if report.balanced else "the books do not balance."),
        style="bold green" if report.balanced else "bold red",
        markup=False,
    )


def _console() -> "Console":
    """As wide as the terminal, and wide enough for the table where there is none."""
    import os
    import sys

    from rich.console import Console

    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(highlight=False, soft_wrap=True, width=None if known else PIPED_WIDTH)


def _table(accounts: "Sequence[Account]") -> "Table":
    """A row for each partition; columns that are 0 in all of them are left out."""
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE, pad_edge=False)
    table.add_column("partition", min_width=max(len(account.name) for account in accounts))
    spans = [_span(account) for account in accounts]
    table.add_column("offsets", justify="right", min_width=max(map(len, spans)))
    counts = {name: list(map(count, accounts)) for name, count in COUNTS.items()}
    shown = {name: found for name, found in counts.items() if any(found) or name in ALWAYS}
    for name, found in shown.items():
        words = [*name.split(), f"{max(found):,}"]
        table.add_column(name, justify="right", min_width=max(map(len, words)))
    for n, account in enumerate(accounts):
        cells = [
            Text(f"{found[n]:,}", "bold red" if name in WRONG and found[n] else "")
            for name, found in shown.items()
        ]
        table.add_row(Text(account.name), spans[n], *cells)
    return table


def _span(account: "Account") -> str:
    first, last = account.first_offset, account.next_offset - 1
    return f"{first:,} to {last:,}" if account.next_offset else "none"


def _offsets(ranges: "Sequence[Range]") -> int:
    return sum(end - start for start, end in ranges)


COUNTS: "dict[str, Callable[[Account], int]]" = {
    "records": lambda account: account.records,
    "scored": lambda account: account.scored,
    "dead letters": lambda account: account.records_dead_lettered,
    "not selected": lambda account: account.not_selected,
    "anomalous": lambda account: account.anomalous,
    "missing": lambda account: account.missing_records + _offsets(account.gone),
    "double": lambda account: _offsets(account.double),
    "waiting": lambda account: account.waiting,
}
"""The columns of the table."""
ALWAYS, WRONG = ("records", "scored", "missing", "double"), ("missing", "double")
