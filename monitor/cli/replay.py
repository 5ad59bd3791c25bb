"""`monitor replay`: produce a data file into a topic, as its producer would have."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from monitor.cli.options import LabelColumn

if TYPE_CHECKING:
    from monitor.config import KafkaSettings

DEFAULT_BOOTSTRAP_SERVERS = "127.0.0.1:9092"
DEFAULT_BATCH_ROWS = 1024
PackedFormat = Literal["json", "arrow", "float32"]


def replay(
    file: Annotated[Path, typer.Argument(help="CSV, Zeek TSV, Parquet or JSON lines; gz or xz.")],
    spec: Annotated[str, typer.Option(help="Feature spec: a TOML file or preset:NAME.")],
    topic: Annotated[str, typer.Option(help="Topic to produce to.")],
    bootstrap_servers: Annotated[
        str | None,
        typer.Option(
            help=f"Brokers, as host:port with commas. Default: {DEFAULT_BOOTSTRAP_SERVERS}."
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Settings file: brokers and login.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(help="Vectors a second. Default: as fast as it goes.")
    ] = None,
    label_column: LabelColumn = None,
    format: Annotated[
        PackedFormat, typer.Option(help="json: a row a record; the others hold many.")
    ] = "json",
    batch: Annotated[
        int | None,
        typer.Option(min=1, help=f"Rows of a record. Default: {DEFAULT_BATCH_ROWS}; json: 1."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=0, help="Send only so many rows.")] = None,
) -> None:
    """Send a file's rows into a topic as vectors, without their label.

    What is no vector of the spec is sent as JSON whatever the format.
    """
    from itertools import islice

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from monitor.errors import SettingsError
    from monitor.features import FeatureSpec
    from monitor.ingest.formats import row_count
    from monitor.ingest.packing import pack
    from monitor.ingest.replay import vector_records
    from monitor.stream.feed import feed

    if rate is not None and not rate > 0:
        raise SettingsError(f"--rate {rate:g}: expected a number of vectors a second above 0.")
    if format == "json" and (batch or 1) > 1:
        raise SettingsError(f"--batch {batch}: json holds one row a record; add --format arrow.")
    kafka, spec_read = _kafka_settings(config, bootstrap_servers), FeatureSpec.load(spec)
    records = islice(vector_records(file, spec_read, label_column), limit)
    packed = pack(records, spec_read, format, batch or DEFAULT_BATCH_ROWS)
    rows = row_count(file)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    with Progress(*columns, TimeElapsedColumn(), console=console) as bar:
        task = bar.add_task(topic, total=rows if limit is None else min(rows, limit))
        sent = feed(kafka, topic, packed, rate, lambda n: bar.update(task, completed=n))
        bar.update(task, total=sent)
    console.print(f"{sent:,} rows are in topic {topic}.", markup=False)


def _kafka_settings(config: Path | None, bootstrap_servers: str | None) -> "KafkaSettings":
    """Those of the settings file and the environment, which hold a login where one is needed."""
    from monitor.config_sources import load_settings

    flags: dict[str, Any] = {}
    if config is None:  # what a daemon needs and this command does not
        flags = {"bundle": "none", "kafka": {"input_topics": ["vectors"]}}
        bootstrap_servers = bootstrap_servers or DEFAULT_BOOTSTRAP_SERVERS
    if bootstrap_servers:
        flags.setdefault("kafka", {})["bootstrap_servers"] = bootstrap_servers
    return load_settings(config, flags).settings.kafka
