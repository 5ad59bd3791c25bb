"""`make bench`: what the monitor does, in figures, on this machine and Apache Kafka.

    python -m tests.bench                      # everything, within six minutes
    python -m tests.bench --only latency       # one of them, or several: --only a --only b
    python -m tests.bench --json               # the figures on standard output
    python -m tests.bench --data DIR           # detection on further data sets, where DIR has them

A table at the end, and a file in bench-results/ that also says what machine it was and how busy.
The daemon is watched through /proc, so it takes Linux.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

from rich.console import Console
from rich.table import Table

from tests.bench.bench import Bench
from tests.bench.figures import Figure, machine
from tests.support.kafka_server import KafkaMissingError, version

BENCHMARKS = (
    *("start", "idle", "pipeline", "memory", "latency", "floods", "detection", "explanation"),
)
RESULTS = Path("bench-results")
WIDTH = 160


def main() -> None:
    asked = _arguments()
    console = Console(stderr=True, width=None if sys.stderr.isatty() else WIDTH)
    about = {**machine(), "broker": f"Apache Kafka {version()}"}
    started, clock = datetime.now(UTC), monotonic()
    figures: dict[str, list[Figure]] = {}
    load_before: dict[str, float] = {}
    with (
        TemporaryDirectory(prefix="anomaly-monitor-bench-") as folder,
        Bench(console, Path(folder), asked.data) as bench,
    ):
        for name in asked.only or BENCHMARKS:
            load_before[name] = round(os.getloadavg()[0], 2)
            console.print(f"[bold]{name}[/] (load {load_before[name]})", highlight=False)
            figures[name] = list(import_module(f"tests.bench.{name}").run(bench))
    facts = {
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(monotonic() - clock, 1),
        "machine": about,
        "load_before": load_before,
        "figures": {name: [figure.facts() for figure in found] for name, found in figures.items()},
    }
    file = RESULTS / f"{started:%Y%m%dT%H%M%SZ}.json"
    RESULTS.mkdir(exist_ok=True)
    file.write_text(json.dumps(facts, indent=2) + "\n", "utf-8")
    console.print(_table(figures))
    where = f"{about['cpu']}, {about['cores']} cores, Python {about['python']}, {about['broker']}"
    console.print(f"{where}; {facts['seconds']:.0f} s; {file}", markup=False, soft_wrap=True)
    if asked.json:
        print(json.dumps(facts))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("tests.bench", description="The monitor in figures.")
    parser.add_argument("--only", action="append", choices=BENCHMARKS, help="this one alone")
    parser.add_argument("--json", action="store_true", help="the figures on standard output")
    parser.add_argument("--data", type=Path, help="folder of further data sets for detection")
    return parser.parse_args()


def _table(figures: Mapping[str, Sequence[Figure]]) -> Table:
    table = Table("figure", box=None)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("from - to", justify="right", no_wrap=True)
    table.add_column("goal", no_wrap=True)
    table.add_column("", style="dim")
    for found in figures.values():
        for figure in found:
            table.add_row(*_cells(figure))
        table.add_row()
    return table


def _cells(figure: Figure) -> tuple[str, ...]:
    spread = goal = ""
    if len(figure.all) > 1:
        spread = f"{_number(min(figure.all))} - {_number(max(figure.all))}"
    if figure.goal is not None:
        goal = f"{figure.goal[0]} {figure.goal[1]:g} {'met' if figure.good else '[red]MISSED[/]'}"
    value = f"{_number(figure.value)} {figure.unit}".strip()
    return figure.name, value, spread, goal, figure.note


def _number(number: float) -> str:
    """Four digits where there are as many."""
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.4g}"


if __name__ == "__main__":
    try:
        main()
    except KafkaMissingError as error:
        sys.exit(f"The benchmarks need Apache Kafka: {error}.")
