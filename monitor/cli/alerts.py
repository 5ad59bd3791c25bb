"""`monitor alerts`: watch the output topic."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.text import Text

DEFAULT_BOOTSTRAP_SERVERS = "127.0.0.1:9092"
ACTIVITY_STYLES = {"Create": "bold", "Update": "", "Close": "dim"}
STYLES = {"Low": "", "Medium": "yellow", "High": "red", "Critical": "bold red"}


def alerts(
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Settings file: broker, login and topic.")
    ] = None,
    bootstrap_servers: Annotated[
        str | None,
        typer.Option(
            help=f"Brokers, as host:port with commas. Default: {DEFAULT_BOOTSTRAP_SERVERS}."
        ),
    ] = None,
    topic: Annotated[str | None, typer.Option(help="Topic instead of the settings'.")] = None,
    json_: Annotated[
        bool, typer.Option("--json", help="Print each alert whole, as a JSON object a line.")
    ] = False,
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="Also those that the topic already holds.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option("--max", min=1, help="End after so many alerts.")
    ] = None,
) -> None:
    """Print a line for each alert as it comes: when, how severe, who, why. Ends on Ctrl-C.

    After the severity stands what became of the incident (create, update, close) and how many
    anomalous vectors it has.
    """
    from contextlib import suppress

    from rich.console import Console

    from monitor.config_sources import load_settings
    from monitor.stream.subscribe import subscribe

    kafka_flags: dict[str, Any] = {"bootstrap_servers": bootstrap_servers, "alert_topic": topic}
    flags: dict[str, Any] = {"kafka": {k: v for k, v in kafka_flags.items() if v is not None}}
    if config is None:  # what a daemon needs and this command does not
        flags["bundle"] = "none"
        unneeded = {"bootstrap_servers": DEFAULT_BOOTSTRAP_SERVERS, "input_topics": ["vectors"]}
        flags["kafka"] = unneeded | flags["kafka"]
    kafka = load_settings(config, flags).settings.kafka
    console = Console(highlight=False, soft_wrap=True)
    with suppress(KeyboardInterrupt):
        for record in subscribe(kafka, kafka.alert_topic, from_beginning, limit):
            if json_:
                typer.echo(as_json(record.value or b""))
            else:
                console.print(alert_line(record.key or b"", record.value or b""))


def as_json(value: bytes) -> str:
    """An alert whole, in ASCII, so that nothing in it can steer a terminal."""
    try:
        return json.dumps(json.loads(value))
    except ValueError:
        return json.dumps({"unreadable": value.decode("utf-8", "backslashreplace")})


def alert_line(key: bytes, value: bytes) -> "Text":
    """Time, severity, activity, vectors so far, entity, why, how wrong and how rare."""
    from datetime import UTC, datetime

    from rich.text import Text

    from monitor.contracts.ocsf import DetectionFinding
    from monitor.contracts.text import clean

    try:
        alert = DetectionFinding.from_bytes(value)
    except ValueError:
        return Text(f"not an alert: {clean(value.decode('utf-8', 'backslashreplace'))}", "dim")
    facts = alert.unmapped
    time = datetime.fromtimestamp(alert.time / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    rarity = f"1 in {1 / max(facts.tail_probability, 1e-12):,.0f}"
    return Text.assemble(
        f"{time}  ",
        (f"{alert.severity:<8}", STYLES[alert.severity]),
        (f"  {alert.activity_name.lower():<6}", ACTIVITY_STYLES[alert.activity_name]),
        f"  {facts.incident.vectors:>9,}",
        f"  {clean(key.decode('utf-8', 'backslashreplace')):<24}  {clean(alert.message, 512)}",
        (f"  (error {facts.reconstruction_error:.2f} > {facts.threshold:.2f}, {rarity})", "dim"),
    )
