"""Dead letters: the record as it came, with the reason beside it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from monitor.contracts.dead_letter import (
    MAX_HEADERS,
    DeadLetterHeaders,
    Header,
    kept_headers,
    render_dead_letter,
)
from monitor.reasons import Reason

NOW_MS = 1_767_225_602_500
HEADERS: Sequence[Header] = [("trace", b"\x00\xff"), ("trace", b"again"), ("empty", b"")]


@dataclass(frozen=True)
class KafkaRecord:
    """As the client returns it."""

    key: bytes | None = b"10.0.0.1"
    value: bytes | None = b'{"broken'
    headers: Sequence[Header] = ()
    topic: str = "vectors"
    partition: int = 3
    offset: int = 81_290
    timestamp: int = 1_767_225_602_000


def wire_bytes(key: bytes | None, value: bytes | None, headers: Sequence[Header]) -> int:
    return len(key or b"") + len(value or b"") + sum(len(n.encode()) + len(v) for n, v in headers)


@pytest.mark.parametrize("key", [None, b"", b"\xff\x00"])
@pytest.mark.parametrize("value", [None, b"", b"\xff\x00 not utf-8"])
def test_key_value_and_headers_stay_as_they_came(key: bytes | None, value: bytes | None) -> None:
    record = KafkaRecord(key, value, HEADERS)
    letter = render_dead_letter(record, Reason.NOT_UTF8, "not UTF-8", NOW_MS)
    assert (letter.key, letter.value) == (key, value)
    assert letter.headers[:3] == HEADERS


def test_headers_say_why_whence_and_when() -> None:
    letter = render_dead_letter(KafkaRecord(), Reason.MALFORMED_JSON, "ends too early", NOW_MS)
    headers = dict(letter.headers)
    assert headers.pop("anomaly-monitor.version")
    assert headers == {
        "anomaly-monitor.reason": b"malformed_json",
        "anomaly-monitor.error": b"ends too early",
        "anomaly-monitor.topic": b"vectors",
        "anomaly-monitor.partition": b"3",
        "anomaly-monitor.offset": b"81290",
        "anomaly-monitor.record_time_ms": b"1767225602000",
        "anomaly-monitor.time_ms": b"1767225602500",
    }


def test_headers_read_back() -> None:
    letter = render_dead_letter(KafkaRecord(headers=HEADERS), Reason.EMPTY, "no bytes", NOW_MS)
    read = DeadLetterHeaders.from_headers(letter.headers)
    assert (read.reason, read.partition, read.offset) == (Reason.EMPTY, 3, 81_290)
    assert read.to_headers() == letter.headers[3:]


def test_a_record_that_is_no_dead_letter_is_told_apart() -> None:
    with pytest.raises(ValidationError):
        DeadLetterHeaders.from_headers(HEADERS)


def test_a_dead_letter_produced_again_gets_new_headers_instead_of_more() -> None:
    first = render_dead_letter(KafkaRecord(headers=HEADERS), Reason.EMPTY, "first", NOW_MS)
    again = KafkaRecord(headers=first.headers, topic="retries", offset=7)
    second = render_dead_letter(again, Reason.TOMBSTONE, "second", NOW_MS + 1)
    assert len(second.headers) == len(first.headers)
    read = DeadLetterHeaders.from_headers(second.headers)
    assert (read.reason, read.topic, read.offset) == (Reason.TOMBSTONE, "retries", 7)


def test_the_error_is_a_short_printable_excerpt() -> None:
    error = "bad value \x1b[31m\ud800" + "secret" * 10_000
    letter = render_dead_letter(KafkaRecord(), Reason.WRONG_TYPE, error, NOW_MS)
    text = dict(letter.headers)["anomaly-monitor.error"].decode()
    assert text.startswith("bad value \\x1b[31m\\ud800secret")
    assert len(text) == 256
    assert text.isprintable()


def test_a_value_too_large_for_the_topic_is_cut_and_identified() -> None:
    value = bytes(range(256)) * 10_000
    record = KafkaRecord(value=value, headers=HEADERS)
    letter = render_dead_letter(record, Reason.TOO_LARGE, "too large", NOW_MS, max_bytes=100_000)
    assert letter.value
    assert value.startswith(letter.value)
    assert 99_000 < len(letter.value) < 100_000
    assert letter.headers[:3] == HEADERS
    read = DeadLetterHeaders.from_headers(letter.headers)
    assert read.truncated == "value"
    assert read.original_value_bytes == len(value)
    assert read.original_value_sha256 == hashlib.sha256(value).hexdigest()


@pytest.mark.parametrize(
    ("record", "truncated"),
    [
        (KafkaRecord(headers=[("h", b"x" * 20_000)]), "value,headers"),
        (KafkaRecord(key=b"k" * 20_000), "value,headers,key"),
        (KafkaRecord(key=b"k" * 20_000, value=None), "value,headers,key"),
    ],
)
def test_headers_and_keys_too_large_for_the_topic_do_not_block_it(
    record: KafkaRecord, truncated: str
) -> None:
    letter = render_dead_letter(record, Reason.EMPTY, "no bytes", NOW_MS, max_bytes=10_000)
    assert wire_bytes(letter.key, letter.value, letter.headers) <= 10_000
    assert DeadLetterHeaders.from_headers(letter.headers).truncated == truncated


@given(
    key=st.none() | st.binary(max_size=9_000),
    value=st.none() | st.binary(max_size=9_000),
    headers=st.lists(st.tuples(st.text(max_size=50), st.binary(max_size=3_000)), max_size=4),
    error=st.text(st.characters(exclude_categories=()), max_size=300),
    topic=st.from_regex(r"[a-zA-Z0-9._-]{1,249}", fullmatch=True),
)
def test_any_record_gives_a_dead_letter_that_fits(
    key: bytes | None, value: bytes | None, headers: list[Header], error: str, topic: str
) -> None:
    record = KafkaRecord(key, value, headers, topic)
    letter = render_dead_letter(record, Reason.WRONG_SHAPE, error, NOW_MS, max_bytes=4_000)
    assert wire_bytes(letter.key, letter.value, letter.headers) <= 4_000
    read = DeadLetterHeaders.from_headers(letter.headers)
    if read.truncated is None:
        assert (letter.key, letter.value) == (key, value)
        assert letter.headers[: len(headers)] == headers


def test_of_many_headers_the_letter_says_how_many_there_were() -> None:
    many = [("h", b"x")] * 100_000
    record = KafkaRecord(headers=kept_headers(many))
    letter = render_dead_letter(record, Reason.EMPTY, "flooded", NOW_MS)
    assert letter.headers[:MAX_HEADERS] == many[:MAX_HEADERS]
    assert DeadLetterHeaders.from_headers(letter.headers).original_headers == len(many)
    few = KafkaRecord(headers=kept_headers(many[:MAX_HEADERS]))
    letter = render_dead_letter(few, Reason.EMPTY, "not flooded", NOW_MS)
    assert letter.headers[:MAX_HEADERS] == many[:MAX_HEADERS]
    assert DeadLetterHeaders.from_headers(letter.headers).original_headers is None


@pytest.mark.parametrize("claim", [b"", b"-1", b"many", b"9" * 5_000, b"\xff"])
def test_a_number_of_headers_that_a_producer_makes_up_does_no_harm(claim: bytes) -> None:
    record = KafkaRecord(headers=[("anomaly-monitor.original_headers", claim)])
    letter = render_dead_letter(record, Reason.EMPTY, "a lie", NOW_MS)
    assert DeadLetterHeaders.from_headers(letter.headers).original_headers is None
