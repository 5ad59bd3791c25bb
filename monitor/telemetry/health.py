"""Whether the monitor can do its work, and if not, what is wrong."""

from collections.abc import Mapping
from threading import Lock
from typing import Protocol


class Parts(Protocol):
    """What must be in order for readiness."""

    @property
    def parts(self) -> Mapping[str, str]:
        """Each part: "ok", or what is wrong."""


class Health:
    """The parts that must be in order, each with what is wrong with it."""

    def __init__(self, *parts: str) -> None:
        self._problems: dict[str, str | None] = dict.fromkeys(parts, "not started yet")
        self._lock = Lock()

    def ok(self, part: str) -> None:
        """This part is in order."""
        self.problem(part, None)

    def problem(self, part: str, problem: str | None) -> None:
        """This part is not in order, and why; None where it is."""
        with self._lock:
            self._problems[part] = problem

    @property
    def parts(self) -> dict[str, str]:
        """Each part: "ok", or what is wrong."""
        with self._lock:
            return {part: problem or "ok" for part, problem in self._problems.items()}

    @property
    def ready(self) -> bool:
        with self._lock:
            return not any(self._problems.values())
