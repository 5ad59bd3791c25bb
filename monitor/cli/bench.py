"""`monitor bench`: how fast, on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from monitor.cli.options import LabelColumn

STAGES = (  # those of monitor.bench.run, which loads torch
    *("decode", "score", "device", "start", "idle"),
    *("pipeline", "arrow", "latency", "memory", "scaling", "growth"),
)
WIDTH = 160


def bench(
    stage: Annotated[
        list[str],
        typer.Option(help=f"{', '.join(STAGES)}, or all; may be repeated."),
    ] = ["all"],  # noqa: B006  # typer copies it
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    broker: Annotated[
        str, typer.Option(help="host:port of a Kafka to use instead of the embedded broker.")
    ] = "",
    bundle: Annotated[
        Path | None, typer.Option(help="A bundle of yours, instead of the two that it trains.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Traffic for that bundle, in any format that train reads.")
    ] = None,
    label_column: LabelColumn = None,
    client: Annotated[
        str, typer.Option(help="What the daemon and the loops poll with: see kafka.client.")
    ] = "kafka-python",
    vectors: Annotated[
        int | None,
        typer.Option(min=1, help="Decode or send so many. Default: what each stage takes."),
    ] = None,
    full: Annotated[
        bool,
        typer.Option("--full", help="The whole range: 10 minutes for memory, 10 M vectors."),
    ] = False,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the JSON file and the plot.")
    ] = Path("bench-results"),
) -> None:
    """Measure each stage alone and the whole pipeline, beside the least that there is to do.

    What is compared runs in turns, so the ratios hold on a busy machine. Without a bundle it trains
    two: on the demo's NSL-KDD traffic, and on a synthetic stream of 115 features.
    """
    import sys
    from json import dumps

    from rich.console import Console

    from monitor.bench.bench import Extent
    from monitor.bench.run import run, stages
    from monitor.errors import SettingsError

    for name in stage:
        if name not in (*STAGES, "all"):
            raise SettingsError(
                f"--stage {name}: no such stage; there are {', '.join((*STAGES, 'all'))}."
            )
    if (bundle is None) != (data is None):
        raise SettingsError("--bundle and --data go together: traffic, and what judges it.")
    names = STAGES if "all" in stage else tuple(dict.fromkeys(stage))
    console = Console(stderr=True, width=None if sys.stderr.isatty() else WIDTH)
    extent = Extent(broker or None, client, vectors, full, bundle, data, label_column)
    found = run(stages(names), extent, console, output)
    if json:
        typer.echo(dumps(found))
    if found["failed"]:
        raise typer.Exit(1)
