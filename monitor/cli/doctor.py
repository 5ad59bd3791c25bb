"""`monitor doctor`: try everything that `monitor run` needs, and say what to do where it fails."""

from pathlib import Path
from typing import Annotated

import typer


def doctor(
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Settings file (TOML).")
    ] = None,
) -> None:
    """Check settings, bundle, device, broker, topics, rights, codecs and port, a line each.

    Exit code 0 if all is well but for warnings, else 2. It consumes nothing, and creates nothing.
    """
    from rich.console import Console
    from rich.text import Text

    from monitor.stream.diagnosis import diagnose

    console = Console(highlight=False, soft_wrap=True)
    healthy = True
    for finding in diagnose(config):
        healthy = healthy and finding.ok
        mark = ("ok      ", "green") if finding.ok else ("problem ", "bold red")
        mark = ("warning ", "yellow") if finding.warning else mark
        console.print(Text.assemble(mark, f"{finding.subject:<9} {finding.text}"))
    raise typer.Exit(0 if healthy else 2)
