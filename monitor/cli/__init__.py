"""The `monitor` command: a file a command, which parses, wires and prints.

Commands import what they work with when they are called, so that `monitor --help` loads no torch.
"""

import sys
from typing import Annotated

import typer
from rich.console import Console

from monitor import __version__
from monitor.cli import alerts, config, demo, doctor, evaluate, replay, run, schemas, spec, train
from monitor.errors import MonitorError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
# In the order in which a newcomer meets them.
app.command()(demo.demo)
app.add_typer(spec.app, name="spec")
app.command()(train.train)
app.command()(evaluate.evaluate)
app.command()(run.run)
app.command()(alerts.alerts)
app.command()(replay.replay)
app.command()(doctor.doctor)
app.add_typer(config.app, name="config")
app.command()(schemas.schemas)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"monitor {__version__}")
        raise typer.Exit


@app.callback()
def monitor(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """A streaming anomaly monitor for network security."""


def main() -> None:
    """Run a command; an error that a user can cause is one sentence and an exit code."""
    try:
        app()
    except MonitorError as error:
        Console(stderr=True).print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(0)
