"""Do the books balance? What Kafka alone says of the offsets that were dealt with.

    report = audit(settings.kafka, ["vectors"])
    report.balanced, report.accounts, report.problems

The journal says what became of each offset; it is held against the topic, the dead letters, the
alerts and the group's committed offsets. Only what is committed is read. Offsets that the journal
does not tell of are looked up in the topic: most are of control records, aborted transactions or
compaction, and nobody had anything to deal with there.

The daemon may run meanwhile: what is demanded is what was committed when the audit began, and the
journal is read to where it ended after that.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic, sleep

from monitor.batch import Partition, Record
from monitor.config import KafkaSettings
from monitor.contracts.dead_letter import origin_of
from monitor.contracts.journal import journal_key, read_entry
from monitor.errors import SettingsError
from monitor.stream.account import Account, Report
from monitor.stream.books import Books
from monitor.stream.checks import cluster
from monitor.stream.published import Alerts, Letters
from monitor.stream.ranges import Range, Sought
from monitor.stream.reader import Progress, Reader, reader
from monitor.stream.topics import own_topics, topic_configs

SKEW_MS = 60_000
"""How far the clocks of brokers and members may differ."""
COMMIT_SECONDS = 3.0
"""Where offsets are committed after the outputs, they may come as much later."""
LOOKED_UP_TOGETHER = 10_000
"""Gaps that are no further apart are read with what is between."""


@dataclass(frozen=True, slots=True)
class Bound:
    """Where a range begins or ends: at an offset of each partition, or at a time."""

    offset: int | None = None
    time_ms: int | None = None


OPEN = Bound()


def audit(
    kafka: KafkaSettings,
    topics: Sequence[str],
    since: Bound = OPEN,
    until: Bound = OPEN,
    count: bool = False,
    progress: Progress = lambda *_: None,
) -> Report:
    """Account for the offsets of some input topics.

    Args:
        count: also count the records that the topics hold, which reads all of them.

    Raises:
        BrokerError: no broker answers, or it refuses; a topic does not exist.
        StreamError: it stopped answering on the way.
    """
    with reader(kafka, progress) as source:
        return _Audit(kafka, source, topics, since, until).report(count)


class _Audit:
    """One audit."""

    def __init__(
        self,
        kafka: KafkaSettings,
        source: Reader,
        topics: Sequence[str],
        since: Bound,
        until: Bound,
    ) -> None:
        self._kafka, self._source = kafka, source
        self._since, self._until = since, until
        self._inputs = [p for topic in topics for p in source.partitions(topic)]
        self._starts = source.starts(self._inputs)
        committed = {p: source.committed(p) for p in self._inputs}
        self._known = any(offset is not None for offset in committed.values())
        self._owed = {p: offset or 0 for p, offset in committed.items()}
        froms, tos = self._offsets(since), self._offsets(until)
        self._check_range(froms, tos)
        self._books = {p: Books(froms.get(p), tos.get(p), self._starts[p]) for p in self._inputs}
        self._letters = {p: Letters() for p in self._inputs}
        self._problems: list[str] = []
        self._notes: list[str] = []

    def report(self, count: bool) -> Report:
        """Take all steps."""
        self._read_journal()
        committed = self._stand()
        self._ends = self._source.ends(self._inputs)
        letters_trimmed = self._read_letters()
        self._read_alerts()
        self._look_for_entries()
        missing = self._look_up("gaps", {p: self._gaps(p) for p in self._inputs})
        counted = self._count(missing) if count else {}
        self._look_at_the_beginning()
        self._look_for_transactions()
        accounts = [
            self._account(p, committed[p], missing[p], letters_trimmed, counted.get(p))
            for p in self._inputs
        ]
        for account in accounts:
            self._problems += [f"{account.name}: {problem}" for problem in account.problems()]
            self._notes += [f"{account.name}: {note}" for note in account.notes()]
        return Report(self._kafka.group_id, accounts, self._problems, self._notes)

    def _offsets(self, bound: Bound) -> dict[Partition, int]:
        """The offset in each partition where a bound is; nothing where it is open."""
        if bound.time_ms is not None:
            return self._source.at(bound.time_ms, self._inputs)
        return {} if bound.offset is None else dict.fromkeys(self._inputs, bound.offset)

    def _check_range(self, froms: Mapping[Partition, int], tos: Mapping[Partition, int]) -> None:
        """There is something between two offsets; a time may well pass with nothing.

        Raises:
            SettingsError: there is not.
        """
        ends = self._source.ends(self._inputs)
        last = {p: max(ends[p], self._owed[p]) for p in self._inputs}
        timed = self._since.offset is None and self._until.offset is None
        if timed or any(froms.get(p, 0) < tos.get(p, last[p]) for p in self._inputs):
            return
        raise SettingsError(
            "--from and --to: there is no offset from the one to the other; the longest partition "
            f"ends at {max(last.values())}."
        )

    def _own(self, setting: str) -> list[Partition]:
        """The partitions of a topic that the monitor writes."""
        return self._source.partitions(getattr(self._kafka, setting), f"kafka.{setting}")

    def _read_journal(self) -> None:
        topic, group = self._kafka.journal_topic, self._kafka.group_id
        mine = {journal_key(group, *p): self._books[p] for p in self._inputs}
        others = unreadable = 0
        for record in self._records("journal_topic", self._since.time_ms):
            key = record.key or b""
            if key not in mine:
                others += not key.startswith(group.encode() + b"/")
            elif entry := read_entry(record.value):
                self._known = True
                mine[key].add(entry)
            else:
                unreadable += 1
        if not (self._known or unreadable):
            raise SettingsError(
                f"kafka.group_id {group!r}: neither {topic} nor a committed offset tells of this "
                "group here; name another with --group."
            )
        if unreadable:
            self._problems.append(f"{topic}: {unreadable:,} entries cannot be read.")
        if others:
            self._notes.append(
                f"{topic}: {others:,} entries are of other groups; what these write to the same "
                "topics cannot be told apart."
            )

    def _records(self, setting: str, time_ms: int | None) -> Iterator[Record]:
        """The records of a topic of ours, from a time on or from its beginning."""
        topic, partitions = getattr(self._kafka, setting), self._own(setting)
        ends, starts = self._source.ends(partitions), self._source.starts(partitions)
        if time_ms is not None:
            starts |= self._source.at(max(time_ms, 0), partitions)
        for records in self._source.read(topic, {p: (starts[p], ends[p]) for p in partitions}):
            yield from records

    def _stand(self) -> dict[Partition, int | None]:
        """Where the group stands, given time to be where the journal ends."""
        deadline = monotonic() + COMMIT_SECONDS
        while True:
            committed = {p: self._source.committed(p) for p in self._inputs}
            behind = any((at or 0) < (self._books[p].ends or 0) for p, at in committed.items())
            if not behind or monotonic() > deadline:
                return committed
            sleep(0.1)

    def _read_letters(self) -> bool:
        """Enter the dead letters; whether their topic no longer holds all that there were."""
        for record in self._records("dead_letter_topic", self._first_ms()):
            if origin := origin_of(record.headers):
                at, offset = Partition(*origin[:2]), origin[2]
                if at in self._books and self._books[at].begin <= offset < self._books[at].end:
                    self._letters[at].add(offset)
        return any(self._source.starts(self._own("dead_letter_topic")).values())

    def _read_alerts(self) -> None:
        topic, alerts = self._kafka.alert_topic, Alerts()
        for record in self._records("alert_topic", self._first_ms()):
            alerts.add(record)
        again, places = alerts.twice()
        if again:
            self._problems.append(
                f"{topic}: {again:,} alerts were published before with the same uid, as those at "
                f"{', '.join(places)}."
            )
        if alerts.unreadable:
            self._notes.append(f"{topic}: {alerts.unreadable:,} records are no alerts.")

    def _first_ms(self) -> int | None:
        """From when on there may be anything of what the journal tells of."""
        times = [books.first_ms for books in self._books.values() if books.first_ms is not None]
        return min(times) - SKEW_MS if times else self._since.time_ms

    def _gaps(self, p: Partition) -> list[Range]:
        """What the journal does not tell of, from where it begins to where the group stood."""
        books = self._books[p]
        if not books.covered:
            return []
        return books.covered.gaps(books.begin, max(books.end, self._owed_end(p)))

    def _owed_end(self, p: Partition) -> int:
        """Before which offset of the range all was to be dealt with when the audit began."""
        to = self._books[p].to_offset
        return self._owed[p] if to is None else min(to, self._owed[p])

    def _look_up(
        self, what: str, gaps: Mapping[Partition, Sequence[Range]]
    ) -> dict[Partition, Sought]:
        """The records that the topics hold in these ranges."""
        sought = {p: Sought(ranges) for p, ranges in gaps.items()}
        left = {p: sought[p].spans(LOOKED_UP_TOGETHER) for p in gaps}
        while left := {p: spans for p, spans in left.items() if spans}:
            spans = {p: spans.pop(0) for p, spans in left.items()}
            held = {
                p: (max(start, self._starts[p]), min(end, self._ends[p]))
                for p, (start, end) in spans.items()
            }
            for records in self._source.read(what, held):
                for record in records:
                    sought[Partition(record.topic, record.partition)].see(record.offset)
        return sought

    def _count(self, missing: Mapping[Partition, Sought]) -> dict[Partition, int]:
        """How many records the topics hold where the journal tells of them.

        Compaction may have removed some since.
        """
        whole = {
            p: [(books.compared_from, books.end)]
            for p, books in self._books.items()
            if books.compared_from is not None
        }
        found = self._look_up("records", whole)
        with cluster(self._kafka) as admin:
            configs = topic_configs(admin, {p.topic for p in whole})
        counted = {p: found[p].records - missing[p].records for p in whole}
        return {
            p: max(n, self._books[p].records_expected)
            if "compact" in configs[p.topic].get("cleanup.policy", "")
            else n
            for p, n in counted.items()
        }

    def _look_for_entries(self) -> None:
        """Say that the journal tells of nothing in the range, and whether it should."""
        if any(books.covered for books in self._books.values()):
            return
        spans = {
            p: (self._starts[p] if books.from_offset is None else books.from_offset)
            for p, books in self._books.items()
        }
        found = self._look_up("range", {p: [(s, self._owed_end(p))] for p, s in spans.items()})
        if any(sought.records for sought in found.values()):
            self._problems.append(
                f"{self._kafka.journal_topic}: tells of nothing that group "
                f"{self._kafka.group_id!r} dealt with here."
            )
        else:
            self._notes.append("there was nothing to deal with in this range.")

    def _look_at_the_beginning(self) -> None:
        """Say where the journal begins, if that is late.

        What was asked for is looked up: there may have been nothing to deal with.
        """
        late: dict[Partition, Range] = {}
        for p, books in self._books.items():
            first = self._starts[p] if books.from_offset is None else books.from_offset
            begin = books.begin if books.covered else self._owed_end(p)
            if first < begin:
                late[p] = first, begin
        said, asked = self._notes, self._since.offset is not None
        if asked:
            found = self._look_up("beginning", {p: [span] for p, span in late.items()})
            late = {p: s for p, s in late.items() if found[p].records or s[0] < self._starts[p]}
            said = self._problems
        said += [
            f"{p.topic}[{p.partition}]: the journal begins at {begin}; what was before cannot be "
            "accounted for."
            for p, (_, begin) in late.items()
        ]

    def _look_for_transactions(self) -> None:
        """Say what open transactions hold back."""
        own = [p for topic in own_topics(self._kafka) for p in self._own(topic.setting)]
        for p, offsets in self._source.held_back([*self._inputs, *own]).items():
            self._notes.append(
                f"{p.topic}[{p.partition}]: a transaction is open and holds {offsets:,} offsets "
                "back from readers; one of the monitor's ends within seconds."
            )

    def _account(
        self,
        p: Partition,
        committed: int | None,
        missing: Sought,
        letters_trimmed: bool,
        counted: int | None,
    ) -> Account:
        books, letters = self._books[p], self._letters[p]
        gaps = ((start, min(end, self._starts[p])) for start, end in self._gaps(p))
        return Account(
            topic=p.topic,
            partition=p.partition,
            first_offset=books.begin,
            next_offset=books.end,
            **books.sums,
            missing=missing.found,
            missing_records=missing.records,
            double=list(books.double),
            gone=[(start, end) for start, end in gaps if start < end],
            committed=committed,
            journal_end=books.ends,
            topic_end=self._ends[p],
            waiting=max(self._ends[p] - max(committed or 0, self._starts[p]), 0),
            letters_found=letters.records,
            letters_repeated=letters.twice,
            letters_trimmed=letters_trimmed,
            records_expected=books.records_expected,
            records_counted=counted,
        )
