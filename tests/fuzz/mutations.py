"""Inputs that are nearly right: what a parser is likely to take the wrong way.

    random = Random(1)
    mutated(random, seeds)

Bytes alone seldom get past the first check of a format. So text is changed token by token, binary
formats at the places where their lengths and offsets stand, and parts of one input are put into
another.
"""

import re
from collections.abc import Callable, Sequence
from random import Random

Mutation = Callable[[Random, bytes, Sequence[bytes]], bytes]

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[-+\w.]+|[^\s\w]')
ODD_TEXT = (
    b"null",
    b"true",
    b"[]",
    b"{}",
    b'""',
    b'"\\ud800"',
    b'"\\u0000"',
    b'"\xff"',
    b'"a":1,"a":2',
    b"-0",
    b"1e400",
    b"-1e400",
    b"1e39",
    b"3.4028236e38",
    b"18446744073709551616",
    b"9" * 400,
    b"NaN",
    b"-Infinity",
    b"01",
    b"1.",
    b".5",
    b"'",
    b'"',
    b"\\",
    b"\x00",
    b"\xef\xbb\xbf",
    b"\xf0\x9f\x92\xa9",
    b"[" * 300,
    b'{"a":' * 200,
    b"]" * 9,
    b"inf",
    b"1979-05-27T07:32:00Z",
    b"0x10",
    b"[[",
    b"]]",
    b"#",
    b"\n",
    b"=",
    b".",
    b"*",
    b"../../etc/passwd",
)
ODD_BYTES = (
    b"\xff\xff\xff\xff",
    b"\0\0\0\0",
    b"\xff\xff\xff\x7f",
    b"\0\0\0\x80",
    b"\1\0\0\0",
    b"\xfe\xff\xff\xff",
    b"\xff" * 8,
    b"\0" * 8,
    b"\0" * 7 + b"\x40",
    b"\0\0\xc0\x7f",
    b"\0\0\x80\x7f",
    b"\0\0\x80\xff",
    b"\x04",
    b"\xff",
    b"\0",
)


def _token(random: Random, value: bytes, others: Sequence[bytes]) -> bytes:
    """Another token, an odd one or one of its own or of another input, in the place of one."""
    if not value or value[0] > 0x7F or b"\0" in value[:64]:
        return _word(random, value, others)
    tokens = list(_TOKEN.finditer(value))
    if not tokens:
        return random.choice(ODD_TEXT)
    old = random.choice(tokens)
    choice = random.random()
    if choice < 0.6:
        new = random.choice(ODD_TEXT)
    elif choice < 0.8:
        new = random.choice(tokens).group()
    else:
        theirs = _TOKEN.findall(random.choice(others))
        new = random.choice(theirs) if theirs else b""
    return value[: old.start()] + new + value[old.end() :]


def _span(random: Random, value: bytes, others: Sequence[bytes]) -> bytes:
    """A part left out, doubled, or put in from another input."""
    start = random.randrange(len(value) + 1)
    end = min(start + random.choice((1, 2, 8, 64)), len(value))
    choice = random.random()
    if choice < 0.4:
        return value[:start] + value[end:]
    if choice < 0.7:
        return value[:end] + value[start:]
    other = random.choice(others)
    at = random.randrange(len(other) + 1)
    return value[:start] + other[at : at + random.choice((4, 16, 256))] + value[end:]


def _word(random: Random, value: bytes, others: Sequence[bytes]) -> bytes:
    """Odd bytes written over some, mostly where a binary format has a number."""
    new = random.choice(ODD_BYTES)
    step = random.choice((1, 4, 8))
    at = random.randrange(len(value) // step + 1) * step
    return value[:at] + new + value[at + len(new) :]


def _bit(random: Random, value: bytes, others: Sequence[bytes]) -> bytes:
    changed = bytearray(value or b"\0")
    changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _cut(random: Random, value: bytes, others: Sequence[bytes]) -> bytes:
    return value[: random.randrange(len(value) + 1)]


MUTATIONS: Sequence[Mutation] = (_token, _token, _token, _span, _word, _word, _bit, _cut)


def mutated(random: Random, seeds: Sequence[bytes], value: bytes | None = None) -> bytes:
    """A seed, or another value, with one to four things changed; sometimes none."""
    value = random.choice(seeds) if value is None else value
    for _ in range(random.choice((0, 1, 1, 1, 2, 2, 4))):
        value = random.choice(MUTATIONS)(random, value, seeds)
    return value
