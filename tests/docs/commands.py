"""The page of the commands, as their --help has it."""

import os
from collections.abc import Iterator
from typing import Any

INTRODUCTION = """\
# Commands

What `--help` says. In a clone every command is `.venv/bin/monitor`."""


def cli_page() -> str:
    """The help of every command, as plain text of 80 columns."""
    # Whatever the terminal; typer looks when it is imported.
    os.environ |= {"TYPER_USE_RICH": "0", "COLUMNS": "80"}
    import typer
    from typer.testing import CliRunner

    from monitor.cli import app

    def pages(command: Any, path: tuple[str, ...]) -> Iterator[str]:
        said = CliRunner().invoke(app, [*path, "--help"], prog_name="monitor").output.strip()
        assert "╭" not in said, "typer was imported before this page was made"
        yield from ["", f"## `{' '.join(('monitor', *path))}`", "", "```text", said, "```"]
        for name, inner in getattr(command, "commands", {}).items():
            yield from pages(inner, (*path, name))

    return "\n".join([INTRODUCTION, *pages(typer.main.get_command(app), ())])
