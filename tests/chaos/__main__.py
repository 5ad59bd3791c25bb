"""`make chaos`: faults under load, on Apache Kafka and the real daemon, and the books afterwards.

python -m tests.chaos                              # every fault as often as it should be
python -m tests.chaos --only kill --times 20       # one of them, so often; or several --only
python -m tests.chaos --seed 7                     # the same chances again
python -m tests.chaos --report                     # what all runs so far add up to
python -m tests.chaos --delivery at_least_once     # which must not balance
"""

import argparse
import secrets
import shutil
import signal
import sys
from pathlib import Path
from tempfile import mkdtemp

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests.chaos.faults import FAULTS
from tests.chaos.faults.fault import NotHereError
from tests.chaos.run import Outcome, run, saved
from tests.chaos.scene import Scene, open_world
from tests.support.kafka_server import KafkaMissingError

RESULTS = Path("chaos-results")
WIDTH = 160


def main() -> None:
    asked = _arguments()
    console = Console(stderr=True, width=None if sys.stderr.isatty() else WIDTH)
    if asked.report:
        console.print(_table(list(saved(RESULTS))))
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # mounts and processes are let go of
    console.print(f"seed {asked.seed}; what happens is in {RESULTS}", highlight=False)
    outcomes = []
    for name in asked.only or FAULTS:
        try:
            outcome = _run(name, asked, console)
        except NotHereError as reason:
            console.print(f"{name} is left out: {reason}", highlight=False)
            continue
        outcome.save(RESULTS)
        for problem in outcome.problems:
            console.print(f"[red]{name}[/]: {problem}", highlight=False)
        outcomes.append(outcome)
    console.print(_table(outcomes))
    if not all(outcome.well for outcome in outcomes):
        sys.exit(1)


def _run(name: str, asked: argparse.Namespace, console: Console) -> Outcome:
    """One fault in a world of its own, whose logs are kept where it did not go well."""
    fault = FAULTS[name]()
    times = asked.times or fault.times
    folder = Path(mkdtemp(prefix=f"{name}-", dir=_made(RESULTS)))
    columns = (
        TextColumn("{task.description}"),
        BarColumn(20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[told]}"),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(name, total=times, told="starting")

        told = 0

        def on_look(scene: Scene, struck: int) -> None:
            nonlocal told
            progress.update(task, completed=struck, told=_told(scene))
            if struck > told and not console.is_terminal:
                console.print(f"{name} {struck} of {times}: {_told(scene)}", highlight=False)
            told = struck

        with (
            fault.ground(folder),
            open_world(folder, asked.seed, asked.client, asked.delivery) as world,
        ):
            outcome = run(world, fault, times, on_look)
        progress.update(task, completed=outcome.times)
    shutil.rmtree(folder / "kafka", ignore_errors=True)
    if outcome.well:
        shutil.rmtree(folder, ignore_errors=True)
    return outcome


def _told(scene: Scene) -> str:
    slowest = max(scene.resumes_s, default=0.0)
    return (
        f"{len(scene.members)} daemons, {scene.load.produced:,} produced, "
        f"{sum(scene.committed.values()):,} committed, slowest resume {slowest:.1f} s"
    )


def _table(outcomes: list[Outcome]) -> Table:
    table = Table("fault", "times", "records", "lost", "double", "slowest resume", "memory", "", "")
    for found in outcomes:
        slowest = found.slowest_resume_s
        table.add_row(
            found.fault,
            f"{found.times}",
            f"{found.records:,}",
            f"{found.lost}",
            f"{found.double}",
            "" if slowest is None else f"{slowest:.1f} s",
            f"{found.memory_mb:.0f} MB",
            ", ".join(f"{what} {figure:,.4g}" for what, figure in found.further.items()),
            "well" if found.well else f"[red]see {found.logs}[/]",
        )
    return table


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("tests.chaos", description="Faults under load.")
    parser.add_argument("--only", action="append", choices=FAULTS, help="this one alone")
    parser.add_argument("--report", action="store_true", help="only add up the runs so far")
    parser.add_argument("--times", type=int, help="how often each strikes")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10_000), help="of chance")
    parser.add_argument("--client", default="kafka-python", help="as kafka.client")
    parser.add_argument("--delivery", default="auto", help="as kafka.delivery")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except KafkaMissingError as error:
        sys.exit(f"The chaos suite needs Apache Kafka: {error}.")
