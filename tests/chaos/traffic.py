"""Vectors that say what must become of them.

Each record begins with its uid, `normal-17`, `odd-18` or `broken-19`: the kind, by which an auditor
knows what a subscriber must see of it, and a number that no other has.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from random import Random
from typing import Literal

import orjson

from monitor.bundle import load
from tests.support.daemons import small_bundle
from tests.support.detectors import PROTOCOLS, normal_vectors

Kind = Literal["normal", "odd", "broken"]
ODD = b'"bytes":9e9,"packets":1,"rate":-5.0,"protocol":"gre","encrypted":false}'
TEMPLATES = 500
CALM = 0.5
"""Normal ones have at most so much of the error that alerts: rounding makes none of them odd."""
_START = b'{"uid":"'


@dataclass
class Traffic:
    """An endless row of records.

    Attributes:
        odd_ratio, broken_ratio: how many of them alert, and become dead letters.
        entities: source addresses that take turns; None invents a new one for each record.
    """

    seed: int
    odd_ratio: float = 0.05
    broken_ratio: float = 0.01
    entities: int | None = 200
    number: int = 0
    _random: Random = field(init=False)

    def __post_init__(self) -> None:
        self._random = Random(self.seed)

    def next(self) -> bytes:
        """The next record."""
        chance = self._random.random()
        if chance < self.broken_ratio:
            return self.record("broken")
        return self.record("odd" if chance < self.broken_ratio + self.odd_ratio else "normal")

    def record(self, kind: Kind, source: str | None = None) -> bytes:
        """One of this kind."""
        number, self.number = self.number, self.number + 1
        if kind == "broken":
            return b'{"uid":"broken-%d","bytes":' % number
        template = ODD if kind == "odd" else _calm()[number % TEMPLATES]
        owner = (source or self._address(number)).encode()
        return b'{"uid":"%b-%d","src":"%b",%b' % (kind.encode(), number, owner, template)

    def _address(self, number: int) -> str:
        host = number if self.entities is None else number % self.entities
        return f"10.{host >> 16 & 255}.{host >> 8 & 255}.{host & 255}"


def uid_of(value: bytes) -> str:
    """The uid of a record, whole or broken."""
    assert value.startswith(_START), value
    return value[len(_START) : value.index(b'"', len(_START))].decode()


@cache
def _calm() -> Sequence[bytes]:
    """Ends of records that surely do not alert."""
    detector, _ = load(small_bundle(), "cpu")
    vectors = normal_vectors(4 * TEMPLATES, seed=1)
    calm = vectors[detector.score(vectors).errors < CALM * detector.threshold][:TEMPLATES]
    assert len(calm) == TEMPLATES, "the detector finds most of what is normal odd"
    names = [feature.name for feature in detector.spec.features]

    def ending(row: Sequence[float]) -> bytes:
        values = dict(zip(names, row, strict=True))
        values |= {"protocol": PROTOCOLS[int(values["protocol"]) - 1]}
        values |= {"encrypted": bool(values["encrypted"])}
        return orjson.dumps(values)[1:]

    return [ending(row) for row in calm.tolist()]
