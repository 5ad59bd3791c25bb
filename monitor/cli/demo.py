"""`monitor demo`: the whole monitor on real traffic, from training to alerts."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console


def demo(
    broker: Annotated[
        str, typer.Option(help="host:port of a Kafka to use instead of the embedded broker.")
    ] = "",
    keep: Annotated[bool, typer.Option("--keep", help="Stay up until Ctrl-C.")] = False,
    folder: Annotated[
        Path, typer.Option(help="Where the bundle, settings and logs of the run are left.")
    ] = Path("demo-run"),
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of metrics and health; 0 takes a free one.")
    ] = 0,
) -> None:
    """Run the whole monitor on real traffic, on an embedded broker.

    Trains on the benign rows of NSL-KDD's 20 % training file, starts the daemon as its own process,
    replays the test set through Kafka, and compares the alerts with the labels that the monitor
    never saw.
    """
    import json
    from dataclasses import asdict

    from rich.console import Console

    from monitor.cli.options import training_progress
    from monitor.demo.run import Demo

    console = Console(record=True)
    with Demo(console, folder, broker or None, port, training_progress) as run:
        result = run.guided()
        console.print(result.table())
        (folder / "demo.svg").write_text(_picture(console), "utf-8")
        typer.echo(json.dumps(asdict(result)))
        if keep:
            run.keep()


def _picture(console: "Console") -> str:
    """What was printed so far, as an SVG that fetches no fonts from anywhere."""
    svg = console.export_svg(title="monitor demo")
    return re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)
