"""Figures as a table, as JSON, and as one file a run."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from monitor.bench.figures import Figure

Figures = Mapping[str, Sequence[Figure]]
"""Of each stage."""

FAILED = "failed: "
"""Begins the note of a stage that ended before its time."""


def table(figures: Figures) -> Table:
    """All of them; those that miss their goal stand out."""
    made = Table("figure", box=None)
    made.add_column("value", justify="right", no_wrap=True)
    made.add_column("from - to", justify="right", no_wrap=True)
    made.add_column("goal", no_wrap=True)
    made.add_column("", style="dim")
    for found in figures.values():
        for figure in found:
            made.add_row(*_cells(figure))
        made.add_row()
    return made


def facts(figures: Figures, about: Mapping[str, Any]) -> dict[str, Any]:
    """What the file says: the run, then each stage's figures."""
    every = [figure for found in figures.values() for figure in found]
    return {
        **about,
        "failed": [figure.name for figure in every if figure.note.startswith(FAILED)],
        "missed": [figure.name for figure in every if figure.good is False],
        "figures": {
            stage: [figure.facts() for figure in found] for stage, found in figures.items()
        },
    }


def write(run: Mapping[str, Any], folder: Path, name: str) -> Path:
    """One JSON file in the folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.json"
    file.write_text(json.dumps(run, indent=2) + "\n", "utf-8")
    return file


def _cells(figure: Figure) -> tuple[str, ...]:
    if figure.value is None:
        return escape(figure.name), "-", "", str(figure.goal or ""), escape(figure.note)
    spread = goal = ""
    if len(figure.all) > 1:
        spread = f"{_number(min(figure.all))} - {_number(max(figure.all))}"
    if figure.goal is not None:
        goal = f"{figure.goal} {'met' if figure.good else '[red]MISSED[/]'}"
    value = f"{_number(figure.value)} {figure.unit}".strip()
    return escape(figure.name), value, spread, goal, escape(figure.note)


def _number(number: float) -> str:
    """Four digits where there are as many."""
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.4g}"
