"""Runs a fault as often as asked, and balances the books."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import reduce
from pathlib import Path
from time import monotonic

from tests.chaos.books import Books
from tests.chaos.faults.fault import Fault
from tests.chaos.scene import HangError, Scene, World


@dataclass(frozen=True)
class Outcome:
    """What one fault showed.

    Attributes:
        times: how often it struck.
        slowest_resume_s: None where it never struck.
        memory_mb: the most that a daemon held.
        problems: what must not be, in words; empty where all is well.
    """

    fault: str
    seed: int
    client: str
    delivery: str
    times: int
    records: int
    odd: int
    lost: int
    double: int
    slowest_resume_s: float | None
    memory_mb: float
    seconds: float
    problems: list[str]
    logs: str
    further: Mapping[str, float] = field(default_factory=dict)

    @property
    def well(self) -> bool:
        return not self.problems

    def save(self, folder: Path) -> None:
        """Add it to the fault's file, a JSON object a line."""
        folder.mkdir(exist_ok=True)
        with (folder / f"{self.fault}.jsonl").open("a") as file:
            file.write(json.dumps(asdict(self)) + "\n")


def saved(folder: Path) -> Iterator[Outcome]:
    """By fault the sum of all runs that are in the folder."""
    for file in sorted(folder.glob("*.jsonl")):
        runs = [Outcome(**json.loads(line)) for line in file.read_text().splitlines()]
        yield reduce(_added, runs)


def _added(one: Outcome, another: Outcome) -> Outcome:
    resumes = [o.slowest_resume_s for o in (one, another) if o.slowest_resume_s is not None]
    return replace(
        another,
        times=one.times + another.times,
        records=one.records + another.records,
        odd=one.odd + another.odd,
        lost=one.lost + another.lost,
        double=one.double + another.double,
        slowest_resume_s=max(resumes, default=None),
        memory_mb=max(one.memory_mb, another.memory_mb),
        seconds=one.seconds + another.seconds,
        problems=[*one.problems, *another.problems],
        logs=another.logs if another.problems else one.logs,
    )


def run(
    world: World,
    fault: Fault,
    times: int,
    on_look: Callable[[Scene, int], None] = lambda *_: None,
) -> Outcome:
    """Strike so many times under load, then see whether nothing is lost and nothing double."""
    started, struck, books = monotonic(), 0, Books()
    further: Mapping[str, float] = {}
    setup = replace(fault.setup, records=fault.setup.records * times // fault.times)
    scene = Scene(world, fault.name, setup, lambda scene: on_look(scene, struck))
    try:
        with scene:
            while struck < times:
                fault.strike(scene)
                struck += 1
            scene.settle()
            books = scene.audit()
            further = fault.conclude(scene)
            for member in list(scene.members):
                scene.stop(member)
    except HangError as hang:
        scene.problems.append(f"hang: {hang}")
    slowest = max(scene.resumes_s, default=None)
    if slowest is not None and slowest > fault.resume_s:
        scene.problems.append(
            f"went on only after {slowest:.1f} s, not {fault.resume_s:.0f}, where in a minute "
            f"{os.getloadavg()[0]:.1f} programs wanted one of {os.cpu_count()} cores"
        )
    if not books.balanced:
        scene.problems.append(str(books))
    return Outcome(
        fault=fault.name,
        seed=world.seed,
        client=world.client,
        delivery=world.delivery,
        times=struck,
        records=books.records,
        odd=books.odd,
        lost=len(books.lost),
        double=len(books.double),
        slowest_resume_s=slowest and round(slowest, 2),
        memory_mb=round(max((size for *_, size in scene.memory), default=0) / 1e6, 1),
        seconds=round(monotonic() - started, 1),
        problems=scene.problems,
        logs=str(scene.folder),
        further=further,
    )
