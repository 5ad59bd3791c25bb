"""A stand-in for the group where a test is about the outputs alone."""

from dataclasses import dataclass, field

from monitor.stream.contracts import Assignment, Offsets, RewindError


@dataclass
class Loner:
    """A member of no group, which remembers what is acknowledged."""

    acknowledged: list[Offsets] = field(default_factory=list)

    def acknowledge(self, next_offsets: Offsets) -> None:
        self.acknowledged.append(next_offsets)

    def commit_no_more(self) -> None:
        pass

    def assignment(self) -> Assignment:
        return Assignment()

    def group_metadata(self) -> None:
        raise RewindError("a member of no group")
