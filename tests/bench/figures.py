"""What a benchmark finds out, and the machine it found it out on."""

import os
import platform
import re
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

LIBRARIES = ("anomaly-monitor", "torch", "numpy", "kafka-python", "orjson", "crc32c", "lz4")


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the table.

    Attributes:
        values: one, or one of each repetition.
        goal: what the value is to stay below or at least reach, such as (">=", 0.97).
        note: what a reader needs to know to judge it.
        statistic: makes one value of several.
    """

    name: str
    unit: str
    values: float | Sequence[float]
    goal: tuple[str, float] | None = None
    note: str = ""
    statistic: Callable[[Sequence[float]], float] = statistics.median

    @property
    def all(self) -> Sequence[float]:
        return self.values if isinstance(self.values, Sequence) else (self.values,)

    @property
    def value(self) -> float:
        return self.statistic(self.all)

    @property
    def good(self) -> bool | None:
        """Whether the goal is met; None without one."""
        if self.goal is None:
            return None
        relation, bound = self.goal
        return self.value >= bound if relation == ">=" else self.value < bound

    def facts(self) -> dict[str, Any]:
        """As it is written to the file."""
        return {
            "name": self.name,
            "unit": self.unit,
            "value": self.value,
            "statistic": self.statistic.__name__ if len(self.all) > 1 else None,
            "values": list(self.all),
            "goal": self.goal and f"{self.goal[0]} {self.goal[1]:g}",
            "good": self.good,
            "note": self.note,
        }


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": next(_cpu_models(), platform.machine()),
        "cores": os.cpu_count(),
        "memory_gb": round(memory_bytes / 1e9, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
    }


def _cpu_models() -> Iterator[str]:
    info = Path("/proc/cpuinfo")
    if info.exists():
        yield from re.findall(r"model name\s*:\s*(.+)", info.read_text())
