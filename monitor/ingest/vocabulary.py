"""The categories of a feature, while they are being met."""

from collections.abc import Sequence
from typing import Any

MAX_CATEGORIES = 65_535


class CategoryCodes(dict[str, int]):
    """Value to code, counted from 1; `get` makes a new value known.

    Once `MAX_CATEGORIES` are known, or it is frozen, a new value stays unseen: code 0.
    """

    def __init__(self, words: Sequence[str] = (), growing: bool = True) -> None:
        super().__init__((word, code) for code, word in enumerate(words, start=1))
        self._growing = growing

    def get(self, value: str, unseen: Any = 0) -> Any:
        """The code of a value, which is learnt if need be."""
        code = super().get(value)
        if code is None and self._growing and len(self) < MAX_CATEGORIES:
            self[value] = code = len(self) + 1
        return unseen if code is None else code

    def freeze(self) -> tuple[str, ...]:
        """Stop growing; the known values in the order of their codes."""
        self._growing = False
        return self.words

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(self)
