"""A whole run: stages in order, a table, a file.

run(("decode", "score"), Extent(), console, Path("bench-results"))
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any

from rich.console import Console

from monitor.bench.bench import Bench, Extent
from monitor.bench.figures import Figure, machine
from monitor.bench.plots import draw
from monitor.bench.processes import UnwatchableError
from monitor.bench.report import FAILED, facts, table, write
from monitor.errors import SetupError

Stage = Callable[[Bench], Iterable[Figure]]

STAGES = (
    *("decode", "score", "device", "start", "idle"),
    *("pipeline", "arrow", "latency", "memory", "scaling", "growth"),
)


def run(
    stages: Mapping[str, Stage],
    extent: Extent,
    console: Console,
    results: Path,
    broker: str = "",
) -> dict[str, Any]:
    """Measure, print the table, write the file; returns what is in it.

    Args:
        broker: what to call it, where its address says little.
    """
    broker = broker or extent.broker or "the embedded broker"
    started, clock = datetime.now(UTC), monotonic()
    figures: dict[str, Sequence[Figure]] = {}
    load: dict[str, float] = {}
    with (
        TemporaryDirectory(prefix="anomaly-monitor-bench-") as folder,
        Bench(console, Path(folder), extent) as bench,
    ):
        for name, stage in stages.items():
            load[name] = round(os.getloadavg()[0], 2)
            console.print(f"[bold]{name}[/] (load {load[name]})", highlight=False)
            figures[name] = _figures(bench, name, stage)
    about = {
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(monotonic() - clock, 1),
        "machine": machine(),
        "broker": broker,
        "load_before": load,
    }
    made = facts(figures, about)
    file = write(made, results, f"{started:%Y%m%dT%H%M%SZ}")
    draw(figures, file.with_suffix(".svg"))
    console.print(table(figures))
    cpu, cores = made["machine"]["cpu"], made["machine"]["cores"]
    where = f"{cpu}, {cores} cores; {broker}; {about['seconds']:.0f} s; {file}"
    console.print(where, markup=False, soft_wrap=True)
    return made


def stages(names: Iterable[str]) -> dict[str, Stage]:
    """Those of this package."""
    return {name: import_module(f"monitor.bench.{name}").run for name in names}


def _figures(bench: Bench, name: str, stage: Stage) -> Sequence[Figure]:
    """What a stage found out; of one that fails, so far, and a row that says why it ended.

    The others go on: a run is long. What must be put right first ends it.
    """
    found: list[Figure] = []
    try:
        found.extend(stage(bench))
    except UnwatchableError as error:
        found.append(Figure.skipped(name, str(error)))
    except SetupError:
        raise
    except Exception as error:
        found.append(Figure(name, "", (), note=f"{FAILED}{type(error).__name__}: {error}"))
    return found
