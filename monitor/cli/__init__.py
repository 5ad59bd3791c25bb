"""The `monitor` command: a file a command, which parses, wires and prints.

Commands import what they work with when they are called, so that `monitor --help` loads no torch.
"""

import sys
from typing import Annotated

import typer
from rich.console import Console

from monitor import __version__
from monitor.cli.alerts import alerts
from monitor.cli.audit import audit
from monitor.cli.bench import bench
from monitor.cli.compare import compare
from monitor.cli.config import app as config
from monitor.cli.demo import demo
from monitor.cli.doctor import doctor
from monitor.cli.embed import embed
from monitor.cli.evaluate import evaluate
from monitor.cli.replay import replay
from monitor.cli.run import run
from monitor.cli.schemas import schemas
from monitor.cli.spec import app as spec
from monitor.cli.threshold import threshold
from monitor.cli.train import train
from monitor.errors import MonitorError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
# In the order in which a newcomer meets them.
app.command()(demo)
app.add_typer(spec, name="spec")
app.command()(train)
app.command()(evaluate)
app.command()(compare)
app.command()(embed)
app.command()(threshold)
app.command()(run)
app.command()(alerts)
app.command()(audit)
app.command()(replay)
app.command()(doctor)
app.command()(bench)
app.add_typer(config, name="config")
app.command()(schemas)


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
