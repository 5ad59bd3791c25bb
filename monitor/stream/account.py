"""What an audit finds: an account of each partition, and what does not balance in it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from monitor.stream.ranges import Range, told


@dataclass(frozen=True, slots=True)
class Account:
    """What became of the records of one input partition.

    Attributes:
        first_offset, next_offset: the range that this is about, in whole micro-batches.
        records: that the journal tells of; records_dead_lettered: those of them that went to the
            dead-letter topic.
        scored, vectors_dead_lettered, not_selected, anomalous: vectors.
        missing: offsets of records that nobody tells of, and missing_records: how many they are.
        double: offsets told of more than once.
        gone: offsets that nobody tells of and that the topic no longer holds.
        committed: where the group stands; journal_end: where its latest entry ends.
        topic_end: one more than the last offset that the topic holds.
        waiting: offsets that are not dealt with yet.
        letters_found: records of which the dead-letter topic holds a letter; letters_repeated:
            letters more than that.
        letters_trimmed: whether that topic no longer holds all that was written to it.
        records_expected: those that the journal tells of where the topic still holds all, and
            records_counted: those that are there; None where they were not counted.
    """

    topic: str
    partition: int
    first_offset: int
    next_offset: int
    records: int
    scored: int
    records_dead_lettered: int
    vectors_dead_lettered: int
    not_selected: int
    anomalous: int
    missing: Sequence[Range]
    missing_records: int
    double: Sequence[Range]
    gone: Sequence[Range]
    committed: int | None
    journal_end: int | None
    topic_end: int
    waiting: int
    letters_found: int
    letters_repeated: int
    letters_trimmed: bool
    records_expected: int
    records_counted: int | None

    @property
    def name(self) -> str:
        """topic[partition]."""
        return f"{self.topic}[{self.partition}]"

    def problems(self) -> Iterator[str]:
        """A sentence for each thing that does not balance."""
        if self.missing:
            yield (
                f"{self.missing_records:,} records are missing: nobody tells of offsets "
                f"{told(self.missing)}."
            )
        if self.gone:
            yield f"nobody tells of offsets {told(self.gone)}, and their records are gone."
        if self.double:
            yield f"offsets {told(self.double)} were dealt with more than once."
        if self.journal_end is not None and (self.committed or 0) < self.journal_end:
            stands = "has no offset" if self.committed is None else f"stands at {self.committed}"
            yield (
                f"the group {stands} and the journal ends at {self.journal_end}: what is between "
                "will be dealt with again."
            )
        if max(self.committed or 0, self.next_offset) > self.topic_end:
            yield (
                f"the topic ends at {self.topic_end}, before what was dealt with: it was made "
                "anew, or has lost records; give the time of that as --from."
            )
        if self.letters_found != self.records_dead_lettered and not self._letters_expired:
            yield (
                f"{self.records_dead_lettered:,} records are dead letters by the journal, and "
                f"{self.letters_found:,} are in the dead-letter topic."
            )
        if self.letters_repeated:
            yield f"the dead-letter topic holds {self.letters_repeated:,} of the letters once more."
        counted, expected = self.records_counted, self.records_expected
        if counted is not None and counted != expected and not self.double:
            yield (f"the topic holds {counted:,} records where the journal tells of {expected:,}.")

    def notes(self) -> Iterator[str]:
        """A sentence for each thing to know."""
        if self._letters_expired:
            yield (
                f"the dead-letter topic still holds {self.letters_found:,} of "
                f"{self.records_dead_lettered:,} letters: it keeps them for a shorter time "
                "than the journal its entries."
            )

    @property
    def _letters_expired(self) -> bool:
        return self.letters_found < self.records_dead_lettered and self.letters_trimmed


@dataclass(frozen=True, slots=True)
class Report:
    """The accounts, and a sentence for each thing that is wrong or to be known."""

    group: str
    accounts: Sequence[Account]
    problems: Sequence[str]
    notes: Sequence[str]

    @property
    def balanced(self) -> bool:
        """Whether every offset is accounted for, once."""
        return not self.problems
