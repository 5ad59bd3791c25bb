"""`monitor spec`: draft a feature spec from a file, list and show those that ship."""

from pathlib import Path
from typing import Annotated

import typer

from monitor.cli.options import LabelColumn, split_list

app = typer.Typer(no_args_is_help=True, help="Draft and show feature specs.")


@app.command()
def infer(
    file: Annotated[Path, typer.Argument(help="CSV, Zeek TSV, Parquet or JSON lines; gz or xz.")],
    label_column: LabelColumn = None,
    ignore: Annotated[
        str, typer.Option(help="Columns that are no features: names or positions, with commas.")
    ] = "",
    name: Annotated[str | None, typer.Option(help="Name of the spec. Default: the file's.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to write it. Default: the screen.")
    ] = None,
) -> None:
    """Draft a spec from a data file, with the reason for every choice as a comment."""
    from rich.console import Console

    from monitor.errors import DataError
    from monitor.ingest.infer import infer_spec

    draft = infer_spec(file, name, label_column, split_list(ignore))
    console = Console(stderr=True)
    for warning in draft.warnings:
        console.print(f"warning: {warning}", style="yellow", markup=False, soft_wrap=True)
    if output is None:
        typer.echo(draft.toml, nl=False)
        return
    try:
        output.write_text(draft.toml, "utf-8")
    except OSError as error:
        raise DataError(f"file {output}: cannot be written ({error.strerror}).") from error
    console.print(
        f"wrote {output}: {draft.features} features; read its comments before training with it.",
        markup=False,
        soft_wrap=True,
    )


@app.command()
def show(
    spec: Annotated[str, typer.Argument(help="A TOML file or preset:NAME.")],
) -> None:
    """Print a spec, once it has been checked."""
    from monitor.features import PRESET_PREFIX, FeatureSpec, preset_text

    FeatureSpec.load(spec)
    ships = spec.startswith(PRESET_PREFIX)
    typer.echo(preset_text(spec) if ships else Path(spec).read_text("utf-8"), nl=False)


@app.command()
def digest(
    spec: Annotated[str, typer.Argument(help="A TOML file or preset:NAME.")],
) -> None:
    """Print the SHA-256 by which bundles and float32 records name a spec."""
    from monitor.features import FeatureSpec

    typer.echo(FeatureSpec.load(spec).digest)


@app.command("list")
def list_() -> None:
    """List the specs that ship."""
    from rich.console import Console
    from rich.table import Table

    from monitor.features import FeatureSpec, presets

    table = Table("spec", "features", "what it reads", box=None)
    for preset in presets():
        spec = FeatureSpec.load(preset)
        table.add_row(preset, str(len(spec)), spec.description)
    Console().print(table)
