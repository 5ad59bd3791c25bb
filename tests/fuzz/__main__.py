"""`make fuzz`: every decoder and parser against inputs that look for a way around it.

python -m tests.fuzz                                  # some 200,000 inputs a target, 20 s at most
python -m tests.fuzz --inputs 2000000 --seconds 600 --target json
"""

import argparse
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.fuzz.targets import TARGETS

MEMORY_MB = 1_500
"""PyTorch alone takes a third of it."""
STUCK_SECONDS = 20


@dataclass(frozen=True)
class Outcome:
    """What came of one target."""

    inputs: int
    edges: int
    failures: list[str]
    hangs: int
    slowest_ms: float
    peak_mb: int
    ended_well: bool

    @property
    def clean(self) -> bool:
        """Whether nothing is to be looked at."""
        return self.ended_well and not self.failures and not self.hangs


def fuzz(name: str, inputs: int, seconds: int, seed: int, out: Path) -> Outcome:
    """Fuzz a target in a process of its own."""
    folder = out / re.sub(r"\W+", "-", name)
    folder.mkdir(parents=True, exist_ok=True)
    options = {
        "runs": inputs,
        "max_total_time": seconds,
        "seed": seed,
        "timeout": STUCK_SECONDS,
        "rss_limit_mb": MEMORY_MB,
        "print_final_stats": 1,
        "artifact_prefix": f"{folder}/",
    }
    command = [sys.executable, "-m", "tests.fuzz.worker", name, str(folder)]
    command += [f"-{option}={value}" for option, value in options.items()]
    with (folder / "log").open("w") as log:
        code = subprocess.run(command, stdout=log, stderr=log, check=False).returncode
    told = (folder / "log").read_text(errors="replace")
    found = json.loads((folder / "found.json").read_text())
    edges = re.findall(r"\bcov: (\d+)", told)

    def statistic(of: str) -> int:
        [*_, last] = re.findall(rf"stat::{of}: *(\d+)", told) or ["0"]
        return int(last)

    return Outcome(
        inputs=statistic("number_of_executed_units"),
        edges=int(edges[-1]) if edges else 0,
        peak_mb=statistic("peak_rss_mb"),
        ended_well=code == 0,
        **found,
    )


def main() -> int:
    """Fuzz the targets one after another and say what was found."""
    options = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    options.add_argument("--inputs", type=int, default=200_000, help="of each target, at most")
    options.add_argument("--seconds", type=int, default=20, help="for each target, at most")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--target", action="append", choices=list(TARGETS))
    options.add_argument("--out", type=Path, default=Path("fuzz-results"))
    asked = options.parse_args()
    if find_spec("atheris") is None:
        print("fuzzing needs atheris: install the extra fuzz, on Linux with Python 3.11 to 3.13")
        return 2
    table = Table("target", "inputs", "edges", "crashes", "hangs", "slowest ms", "peak MB")
    outcomes = {}
    for name in asked.target or TARGETS:
        print(name, flush=True)
        found = fuzz(name, asked.inputs, asked.seconds, asked.seed, asked.out)
        outcomes[name] = found
        counts = f"{found.inputs:,}", f"{found.edges:,}", str(len(found.failures)), str(found.hangs)
        ended = str(found.peak_mb) if found.ended_well else f"{found.peak_mb}, did not end well"
        table.add_row(name, *counts, f"{found.slowest_ms:.0f}", ended)
    Console(width=100).print(table)
    print(f"{sum(outcome.inputs for outcome in outcomes.values()):,} inputs in all")
    for name, outcome in outcomes.items():
        for failure in outcome.failures:
            print(f"{name}: {failure}")
    return 0 if all(outcome.clean for outcome in outcomes.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
