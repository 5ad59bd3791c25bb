"""What subscribers find twice: dead letters of one record, alerts of one uid.

letters = Letters()
letters.add(offset)                      # of each letter of a partition
alerts = Alerts()
alerts.add(record)                       # of each record of the alert topic
alerts.twice()
"""

from array import array

import numpy as np
import orjson

from monitor.batch import Record

PAGE = 4_096
NAMED = 5


class Letters:
    """The offsets of which there are dead letters: a bit an offset, in pages where there are any.

    Attributes:
        records: how many offsets; twice: how many letters more than that.
    """

    def __init__(self) -> None:
        self._pages: dict[int, int] = {}
        self.records = self.twice = 0

    def add(self, offset: int) -> None:
        """There is a letter of this record."""
        page, bit = offset // PAGE, 1 << offset % PAGE
        marks = self._pages.get(page, 0)
        if marks & bit:
            self.twice += 1
        else:
            self.records += 1
            self._pages[page] = marks | bit


class Alerts:
    """The uids of alerts, 20 bytes each."""

    def __init__(self) -> None:
        self._uids, self._partitions, self._offsets = array("q"), array("i"), array("q")
        self.unreadable = 0

    def add(self, record: Record) -> None:
        """Enter what is in the alert topic."""
        try:
            uid = orjson.loads(record.value or b"")["metadata"]["uid"]
        except (ValueError, KeyError, TypeError):
            self.unreadable += 1
            return
        self._uids.append(hash(uid))
        self._partitions.append(record.partition)
        self._offsets.append(record.offset)

    def twice(self) -> tuple[int, list[str]]:
        """How many alerts were published before with the same uid, and where some of them are."""
        uids = np.array(self._uids, np.int64)
        order = np.argsort(uids, kind="stable")
        again = order[1:][uids[order][1:] == uids[order][:-1]]
        named = [f"[{self._partitions[n]}] at {self._offsets[n]}" for n in again[:NAMED].tolist()]
        return len(again), named
