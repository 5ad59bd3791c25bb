"""`monitor config show`: the effective settings, and where each came from."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Look at the settings.")


@app.callback()
def config() -> None:
    """Look at the settings."""


@app.command()
def show(
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Settings file (TOML).")
    ] = None,
) -> None:
    """Print the settings that result from file, environment and defaults; secrets are masked."""
    from monitor.config_sources import load_settings, show_settings

    typer.echo(show_settings(load_settings(config)))
