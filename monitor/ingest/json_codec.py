"""JSON records become vectors.

A record is an object of named features, an array in spec order, or any event that the spec can find
its fields in. Objects may nest; a field is looked up by its literal key first, then as a dotted
path.

The records of a micro-batch that are laid out as those before were become arrays together
(`monitor.ingest.json_layout`), which is many times faster. All others are read one by one
(`monitor.ingest.json_reader`), which decides what is right.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import orjson

from monitor.batch import Decoded, EventIdentity
from monitor.features import FeatureSpec
from monitor.ingest.json_document import find
from monitor.ingest.json_layout import Layout
from monitor.ingest.json_learning import layout_of_arrays, learn
from monitor.ingest.json_reader import (
    DEFAULT_MAX_RECORD_BYTES,
    DOCUMENTS_KEPT,
    Found,
    Part,
    RecordReader,
    joined,
)
from monitor.ingest.json_values import FLOAT32_MAX as FLOAT32_MAX
from monitor.ingest.textfile import BYTE_ORDER_MARK

FEW_RECORDS, FEW_RATIO = 64, 1 / 16
"""With no more of a micro-batch than these to be read one by one, no layout is learnt."""
WORTHWHILE_RATIO, RECORDS_PASSED_OVER = 1 / 8, 8
"""Where fewer records of a micro-batch than these could be read together, the next ones, so many
times as many, are read one by one at once."""
_BRACKET = ord("[")


class JsonCodec:
    """Decodes JSON by one spec and the vocabularies of its categorical features.

    Args:
        vocabularies: known values of each feature in spec order, empty where not categorical.
        max_record_bytes: larger values are refused unread.
        read_origins: also read who each vector is about, and when it was.
    """

    def __init__(
        self,
        spec: FeatureSpec,
        vocabularies: Sequence[Sequence[str]],
        max_record_bytes: int = DEFAULT_MAX_RECORD_BYTES,
        read_origins: bool = False,
    ) -> None:
        self.spec = spec
        self._max_record_bytes, self._read_origins = max_record_bytes, read_origins
        codes = [{word: code for code, word in enumerate(words, 1)} for words in vocabularies]
        self._reader = RecordReader(spec, codes, max_record_bytes, read_origins)
        self._arrays = layout_of_arrays(spec)
        self._objects: Layout | None = None
        self._pass_over = 0

    def decode(self, values: Sequence[bytes | None]) -> Decoded:
        """Decode the values of a micro-batch; bad input becomes rejects, never an exception."""
        parts: list[Part] = []
        found: list[Found] = []
        left: Sequence[int] = range(len(values))
        if self._pass_over > 0:
            self._pass_over -= len(values)
        else:
            left = self._read_together(values, parts, found)
        self._read_singly(values, left, parts, found)
        rejects = sorted(chain.from_iterable(f.rejects for f in found), key=lambda r: r.row)
        passed_over = dict.fromkeys(chain.from_iterable(f.passed_over for f in found), 1)
        batch = joined(parts, self._read_origins)
        return Decoded(batch, rejects, len(passed_over), passed_over)

    def identify(self, value: bytes, within: int = -1) -> EventIdentity:  # noqa: ARG002
        """Read again a record that decoded: who and when it was, and its values as they stand."""
        document = orjson.loads(value.removeprefix(BYTE_ORDER_MARK))
        observed = tuple(self._reader.features(document))
        if not isinstance(document, dict):
            return EventIdentity(observed)
        event = self._reader.unwrap(document)
        return self._reader.identity.read(observed, lambda path: find(event, path))

    def _read_singly(
        self,
        values: Sequence[bytes | None],
        rows: Sequence[int],
        parts: list[Part],
        found: list[Found],
    ) -> None:
        part, rest = self._reader.read(values, rows)
        parts.append(part)
        found.append(rest)

    def _read_together(
        self, values: Sequence[bytes | None], parts: list[Part], found: list[Found]
    ) -> Sequence[int]:
        """Read what has a layout, known or learnt now; the rows that are left."""
        left = self._read_known(values, range(len(values)), parts)
        if len(left) > max(FEW_RECORDS, FEW_RATIO * len(values)):
            step = max(len(left) // DOCUMENTS_KEPT, 1)  # from all over: producers come in turns
            self._read_singly(values, left[::step], parts, found)
            left = [row for n, row in enumerate(left) if n % step]
            if self._learn(found[0].documents, afresh=len(left) > len(values) / 2):
                left = self._read_known(values, left, parts)
        if self._objects and len(left) > (1 - WORTHWHILE_RATIO) * len(values):
            self._pass_over = RECORDS_PASSED_OVER * len(values)
        return left

    def _read_known(
        self, values: Sequence[bytes | None], rows: Sequence[int], parts: list[Part]
    ) -> Sequence[int]:
        """Read those of some rows that have a known layout; the rows that are left."""
        objects: dict[int, bytes] = {}
        arrays: dict[int, bytes] = {}
        for row in rows:
            value = values[row]
            if value and len(value) <= self._max_record_bytes:
                (arrays if value[0] == _BRACKET else objects)[row] = value
        left = np.zeros(len(values), bool)
        left[rows] = True
        for layout, chosen in ((self._objects, objects), (self._arrays, arrays)):
            if layout and chosen:
                read = layout.read(list(chosen.values()), self._reader.encode)
                kept = np.fromiter(chosen, np.int64, len(chosen))[read.kept]
                parts.append(Part(kept, read.matrix, read.names, read.times))
                left[kept] = False
        return np.flatnonzero(left).tolist()

    def _learn(self, documents: Sequence[Any], afresh: bool) -> bool:
        """Learn the layout of documents that are vectors; whether there is a new one."""
        objects = [document for document in documents if isinstance(document, dict)]
        known, identity = self._objects, self._reader.identity if self._read_origins else None
        if objects:
            self._objects = learn(self.spec, identity, objects, known, afresh) or known
        return self._objects not in (None, known)
