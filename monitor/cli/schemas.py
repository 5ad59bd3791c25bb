"""`monitor schemas`: write the published JSON Schemas, or check that they are up to date."""

from pathlib import Path
from typing import Annotated

import typer


def schemas(
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail if a file is out of date.")
    ] = False,
    directory: Annotated[Path, typer.Option(help="Where the schemas are.")] = Path("schemas"),
) -> None:
    """Regenerate the published contracts in schemas/ from the models."""
    from rich.console import Console

    from monitor.config import Settings
    from monitor.contracts.schemas import CONTRACTS, Registry, check_schemas, write_schemas
    from monitor.errors import MonitorError

    registry: Registry = {**CONTRACTS, "settings": Settings}
    if check:
        if problems := check_schemas(directory, registry):
            raise MonitorError(f"{' '.join(problems)} Run `monitor schemas`.")
        return
    console = Console()
    for path in write_schemas(directory, registry):
        console.print(f"wrote {path}")
