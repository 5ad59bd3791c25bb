"""The small world as a labelled file, normal rows and attacks in turn."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.support.detectors import PROTOCOLS, SPEC, normal_vectors

NORMAL_ROWS = 1500
HEADER = ",".join((*SPEC.names, "label"))
ATTACKS = ("9e9,1,-5,gre,false,flood", "1,9000,7,sctp,true,scan")


def normal_rows(count: int = NORMAL_ROWS, seed: int = 0) -> list[str]:
    """Rows of normal traffic as text, labelled normal."""
    return [
        f"{size},{packets},{rate},{PROTOCOLS[int(protocol) - 1]},{bool(encrypted)},normal"
        for size, packets, rate, protocol, encrypted in normal_vectors(count, seed).tolist()
    ]


def write_csv(
    path: Path, attacks: Sequence[str] = ATTACKS, *, header: bool = True, normal: int = NORMAL_ROWS
) -> Path:
    """A file of normal rows with the attacks spread among them."""
    rows = normal_rows(normal)
    places = np.linspace(0, len(rows), len(attacks)).astype(int).tolist()
    for place, attack in zip(places, attacks, strict=True):
        rows.insert(place, attack)
    path.write_text("\n".join([HEADER, *rows] if header else rows) + "\n")
    return path
