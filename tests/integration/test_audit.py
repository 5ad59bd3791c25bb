"""`monitor audit` finds in Kafka alone what was lost, told twice, or never was a record."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from kafka.errors import CoordinatorNotAvailableError, NoError
from kafka.structs import OffsetAndMetadata

from monitor.config import KafkaSettings
from monitor.contracts.dead_letter import render_dead_letter
from monitor.contracts.journal import journal_key, render_entry
from monitor.errors import BrokerError, SettingsError
from monitor.reasons import Reason
from monitor.stream.account import Account, Report
from monitor.stream.audit import Bound, audit
from tests.support.brokers import Broker, fresh_name, wait_until

pytestmark = pytest.mark.kafka

DAY_MS = 86_400_000


@dataclass(frozen=True)
class Letter:
    """A Kafka record that was refused."""

    topic: str
    offset: int
    partition: int = 0
    value: bytes | None = b"bad"
    timestamp: int = 0
    key: bytes | None = None
    headers: list[tuple[str, bytes]] = field(default_factory=list)


class Past:
    """An input topic, and what a daemon is to have written of it."""

    def __init__(self, broker: Broker, topic: str) -> None:
        self.broker, self.topic = broker, topic
        self.kafka = KafkaSettings(
            bootstrap_servers=broker.bootstrap_servers,
            group_id=fresh_name("group"),
            input_topics=(topic,),
            alert_topic=f"{topic}-alerts",
            dead_letter_topic=f"{topic}-letters",
            state_topic=f"{topic}-state",
            journal_topic=f"{topic}-journal",
        )
        admin = broker.admin()
        names = [f"{topic}-{name}" for name in ("alerts", "letters", "state", "journal")]
        admin.create_topics({name: {"num_partitions": 1} for name in names}, wait_for_metadata=True)
        admin.close()
        self._producer = KafkaProducer(**broker.client())

    def holds(self, count: int, partition: int = 0, key: bytes | None = None) -> None:
        for n in range(count):
            self._send(self.topic, f"{n}".encode(), key, partition=partition)
        self._producer.flush()

    def told(self, first: int, end: int, partition: int = 0, **counts: int) -> None:
        """A journal entry; every record was a vector, unless it says otherwise."""
        letters = counts.get("records_dead_lettered", 0)
        records = counts.pop("records", end - first)
        facts: dict[str, Any] = {
            **{"group": self.kafka.group_id, "topic": self.topic, "partition": partition},
            **{"first_offset": first, "next_offset": end, "records": records},
            **{"records_dead_lettered": 0, "vectors_dead_lettered": letters},
            **{
                "scored": records - letters,
                "not_selected": 0,
                "anomalous": 0,
                "time_ms": 1_790_000_000_000,
            },
            **{"member": "m", "bundle_id": "b", "version": "1"},
        }
        key = journal_key(self.kafka.group_id, self.topic, partition)
        self._send(self.kafka.journal_topic, render_entry(**{**facts, **counts}), key)

    def letter(self, offset: int) -> None:
        letter = render_dead_letter(Letter(self.topic, offset), Reason.NOT_UTF8, "bad", 1)
        self._send(self.kafka.dead_letter_topic, letter.value or b"", headers=letter.headers)

    def alert(self, uid: str) -> None:
        self._send(self.kafka.alert_topic, json.dumps({"metadata": {"uid": uid}}).encode())

    def committed(self, *offsets: int) -> None:
        self._producer.flush()
        admin = self.broker.admin()
        positions = {
            TopicPartition(self.topic, n): OffsetAndMetadata(offset, "", -1)
            for n, offset in enumerate(offsets)
        }
        wait_until(partial(_commit, admin, self.kafka.group_id, positions), "offsets are committed")
        admin.close()

    def loses(self, topic: str, before: int) -> None:
        """Retention takes what is before this offset of a topic's first partition."""
        admin = self.broker.admin()
        admin.delete_records({TopicPartition(topic, 0): before})
        admin.close()

    def audit(self, **how: Any) -> Report:
        return audit(self.kafka, [self.topic], **how)

    def account(self, **how: Any) -> Account:
        [account, *_] = self.audit(**how).accounts
        return account

    def close(self) -> None:
        self._producer.close()

    def _send(self, topic: str, value: bytes, key: bytes | None = None, **options: Any) -> None:
        self._producer.send(topic, value, key, **options)


def _commit(admin: KafkaAdminClient, group: str, positions: dict[TopicPartition, Any]) -> bool:
    """Whether the group's coordinator is there yet, and has taken them."""
    try:
        answers = admin.alter_group_offsets(group, positions).values()
    except CoordinatorNotAvailableError:
        return False
    return all(answer is NoError for answer in answers)


@pytest.fixture
def past(kafka_broker: Broker) -> Iterator[Past]:
    made = Past(kafka_broker, kafka_broker.create_topic(partitions=2))
    yield made
    made.close()


def transaction(broker: Broker, topic: str, count: int, end: str) -> KafkaProducer:
    """Records in a transaction that is committed, aborted, or left open."""
    producer = KafkaProducer(**broker.client(transactional_id=fresh_name("tx")))
    producer.init_transactions()
    producer.begin_transaction()
    for n in range(count):
        producer.send(topic, f"{n}".encode(), partition=0)
    producer.flush()
    if end == "abort":
        producer.abort_transaction()
    if end == "commit":
        producer.commit_transaction()
    return producer


def test_what_is_told_of_once_balances(past: Past) -> None:
    past.holds(100)
    past.holds(20, partition=1)
    past.told(0, 60, anomalous=2)
    past.told(60, 100, records_dead_lettered=1)
    past.told(0, 20, partition=1)
    past.letter(77)
    past.alert("one")
    past.alert("two")
    past.committed(100, 20)
    report = past.audit(count=True)
    assert report.balanced, report.problems
    assert not report.notes
    first, second = report.accounts
    assert (first.records, first.records_dead_lettered) == (100, 1)
    assert (first.scored, first.anomalous) == (99, 2)
    assert (first.first_offset, first.next_offset, first.records_counted) == (0, 100, 100)
    assert (second.records, second.waiting, second.records_counted) == (20, 0, 20)


def test_a_planted_gap_and_a_planted_double_are_found_exactly(past: Past) -> None:
    past.holds(100)
    past.told(0, 30)
    past.told(35, 70)
    past.told(60, 90)
    past.committed(100)
    report = past.audit()
    account = report.accounts[0]
    assert account.missing == [(30, 35), (90, 100)]
    assert account.missing_records == 15
    assert account.double == [(60, 70)]
    assert [problem.split(": ", 1)[1] for problem in report.problems] == [
        "15 records are missing: nobody tells of offsets 30 to 34, 90 to 99.",
        "offsets 60 to 69 were dealt with more than once.",
    ]


def test_offsets_of_aborted_transactions_are_nobody_s(past: Past) -> None:
    past.holds(10)
    transaction(past.broker, past.topic, 5, "abort").close()  # 10 to 14, and its marker at 15
    transaction(past.broker, past.topic, 5, "commit").close()  # 16 to 20, and 21
    past.holds(5)
    past.told(0, 10)
    past.told(16, 27, records=10)
    past.committed(27)
    report = past.audit(count=True)
    assert report.balanced, report.problems
    assert report.accounts[0].records_counted == 20


def test_what_follows_an_open_transaction_waits(past: Past) -> None:
    past.holds(10)
    producer = transaction(past.broker, past.topic, 3, "leave open")
    try:
        past.told(0, 10)
        past.committed(10)
        report = past.audit()
        assert report.balanced, report.problems
        assert any("a transaction is open and holds 3 offsets back" in n for n in report.notes)
    finally:
        producer.abort_transaction()
        producer.close()


def test_records_that_compaction_took_since_are_no_loss(kafka_broker: Broker) -> None:
    topic = kafka_broker.create_topic(config={"cleanup.policy": "compact"})
    past = Past(kafka_broker, topic)
    past.holds(20, key=b"key")
    past.told(0, 20, records=25)  # as if five more had been there
    past.committed(20)
    report = past.audit(count=True)
    assert report.balanced, report.problems
    past.close()


def test_a_topic_that_was_made_anew_is_said(past: Past) -> None:
    past.holds(20)
    past.told(0, 30)
    past.committed(30)
    [problem] = past.audit().problems
    assert "the topic ends at 20, before what was dealt with: it was made anew" in problem


def test_more_records_than_are_told_of_are_found_by_counting(past: Past) -> None:
    past.holds(10)
    past.told(0, 10, records=9)
    past.committed(10)
    assert past.audit().balanced
    [problem] = past.audit(count=True).problems
    assert "holds 10 records where the journal tells of 9" in problem


def test_a_trimmed_journal_is_said_and_is_wrong_only_where_it_was_asked_for(past: Past) -> None:
    past.holds(100)
    past.told(0, 50)
    past.told(50, 80)
    past.told(80, 100)
    past.committed(100)
    past.loses(past.kafka.journal_topic, before=1)
    report = past.audit()
    assert report.balanced, report.problems
    assert "the journal begins at 50; what was before cannot be accounted for" in report.notes[0]
    assert not past.audit(since=Bound(offset=10)).balanced
    assert past.audit(since=Bound(offset=60)).balanced


def test_records_that_retention_took_before_they_were_dealt_with_are_said(past: Past) -> None:
    past.holds(100)
    past.told(0, 20)
    past.told(50, 100)
    past.committed(100)
    past.loses(past.topic, before=40)
    account = past.account()
    assert account.gone == [(20, 40)]
    assert account.missing == [(40, 50)]


def test_a_range_is_of_whole_micro_batches(past: Past) -> None:
    past.holds(100)
    for first in range(0, 100, 10):
        past.told(first, first + 10)
    past.committed(100)
    account = past.account(since=Bound(offset=25), until=Bound(offset=41))
    assert (account.first_offset, account.next_offset, account.records) == (20, 50, 30)
    report = past.audit(since=Bound(time_ms=0), until=Bound(time_ms=2_000_000_000_000))
    assert report.balanced
    assert report.accounts[0].records == 100


def test_a_group_that_stands_before_the_journal_s_end_will_do_it_again(past: Past) -> None:
    past.holds(100)
    past.told(0, 100)
    past.committed(40)
    [problem] = past.audit().problems
    assert "stands at 40 and the journal ends at 100" in problem


def test_dead_letters_and_alerts_that_are_lost_or_double_are_counted(past: Past) -> None:
    past.holds(100)
    past.told(0, 100, records_dead_lettered=3)
    past.committed(100)
    for offset in (5, 5, 9):
        past.letter(offset)
    for uid in ("a", "b", "a"):
        past.alert(uid)
    problems = "\n".join(past.audit().problems)
    assert "3 records are dead letters by the journal, and 2 are in" in problems
    assert "holds 1 of the letters once more" in problems
    assert "1 alerts were published before with the same uid, as those at [0] at 2" in problems


def test_a_group_that_nothing_tells_of_is_refused(past: Past) -> None:
    past.holds(10)
    past.told(0, 10)
    past.committed(10)
    stranger = past.kafka.model_copy(update={"group_id": "another"})
    with pytest.raises(SettingsError, match=r"kafka.group_id 'another': neither .* --group"):
        audit(stranger, [past.topic])


def test_a_group_that_the_journal_does_not_know_is_no_balance(past: Past) -> None:
    past.holds(10)
    past.told(0, 10)
    past.kafka = past.kafka.model_copy(update={"group_id": fresh_name("another")})
    past.committed(10)
    report = past.audit()
    assert f"tells of nothing that group '{past.kafka.group_id}' dealt" in report.problems[0]
    assert any("1 entries are of other groups" in note for note in report.notes)


@pytest.mark.parametrize(
    ("since", "until"),
    [
        (Bound(offset=200), Bound(offset=100)),
        (Bound(offset=100), Bound()),
        (Bound(), Bound(offset=0)),
        (Bound(offset=50), Bound(time_ms=0)),
    ],
)
def test_a_range_without_an_offset_is_refused(past: Past, since: Bound, until: Bound) -> None:
    past.holds(100)
    past.told(0, 100)
    past.committed(100)
    with pytest.raises(SettingsError, match="--from and --to: there is no offset"):
        past.audit(since=since, until=until)


def test_a_time_in_which_nothing_was_produced_balances(past: Past) -> None:
    past.holds(100)
    past.told(0, 40)
    past.told(40, 100)
    past.committed(100)
    later = 4_000_000_000_000
    for since, until in ((later, later + 1), (1, 2)):
        report = past.audit(since=Bound(time_ms=since), until=Bound(time_ms=until))
        assert report.balanced, report.problems
        assert report.accounts[0].records == 0
        assert "there was nothing to deal with in this range." in report.notes


def test_records_that_nobody_tells_of_in_a_range_are_no_balance(past: Past) -> None:
    past.holds(100)
    past.told(50, 100)
    past.committed(100)
    report = past.audit(since=Bound(offset=10), until=Bound(offset=40))
    assert any("tells of nothing that group" in problem for problem in report.problems)


def test_a_topic_of_ours_that_is_not_there_names_its_setting(past: Past) -> None:
    past.holds(1)
    elsewhere = past.kafka.model_copy(update={"journal_topic": "elsewhere"})
    with pytest.raises(BrokerError, match=r"if kafka.journal_topic is another, name it with --con"):
        audit(elsewhere, [past.topic])


def test_a_topic_that_is_not_there_is_named(past: Past) -> None:
    with pytest.raises(BrokerError, match="topic 'missing': does not exist"):
        audit(past.kafka, ["missing"])
