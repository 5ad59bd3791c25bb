"""What every format is to the rest: the values of records become arrays, or rejects."""

from collections.abc import Sequence
from typing import Protocol

from monitor.batch import Decoded, EventIdentity
from monitor.features import FeatureSpec


class Codec(Protocol):
    """Decodes records by one spec and the vocabularies of its categorical features."""

    @property
    def spec(self) -> FeatureSpec: ...

    def decode(self, values: Sequence[bytes | None]) -> Decoded:
        """Decode the values of records; bad input becomes rejects, never an exception.

        A record that holds many vectors is one reject, or gives all of them in order.
        """

    def identify(self, value: bytes, within: int = -1) -> EventIdentity:
        """Read again one vector of a record that decoded: who and when it was, and its values.

        Args:
            within: its position in the record; -1 where the record is the vector.
        """
