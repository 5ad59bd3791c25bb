"""What a fault is."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import ClassVar, Protocol

from tests.chaos.scene import Scene, Setup


class NotHereError(Exception):
    """This machine does not allow it."""


class Fault(Protocol):
    """Something that goes wrong, again and again, while the daemons work.

    Attributes:
        name: what it is called on the command line.
        times: how often it strikes unless the command says otherwise.
        resume_s: within so long each partition must go on after it.
    """

    name: ClassVar[str]
    times: ClassVar[int]
    resume_s: ClassVar[float] = 10.0
    setup: ClassVar[Setup] = Setup()

    def ground(self, folder: Path) -> AbstractContextManager[None]:
        """What its broker and its daemons, in folders of their names, are to stand on.

        Raises:
            NotHereError: it cannot be had.
        """
        return nullcontext()

    def strike(self, scene: Scene) -> None:
        """Do harm once, and see that the daemons get over it."""

    def conclude(self, scene: Scene) -> Mapping[str, float]:
        """Figures of its own, once the books are closed."""
        return {}
