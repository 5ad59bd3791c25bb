"""A draft of a spec, from the look of a data file.

    draft = infer_spec(Path("flows.csv.gz"), label_column="Label")
    Path("spec.toml").write_text(draft.toml)

Every choice is a rule of this file and stands beside its result as a comment, to be read, doubted
and changed. The same file gives the same draft.
"""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from monitor.errors import DataError
from monitor.features import Feature, Transform
from monitor.ingest.cells import FALSE_WORDS, TRUE_WORDS
from monitor.ingest.draft import Choice, shares, short, spec_toml
from monitor.ingest.identity import milliseconds
from monitor.ingest.profile import ColumnProfile, FileProfile, profile

MAX_CATEGORIES = 256
"""More different texts than this are names or ids, not categories."""
REASONS_SHOWN = 4
SMALL_VOCABULARY = 20
"""So few different texts are categories however short the file is."""
HEAVY_TAIL_RATIO = 10
"""A largest value this many times the median makes a heavy tail."""
MIN_NUMBER_SHARE = 0.95
"""With fewer numbers than this among its cells a column is text."""

# Names that producers of flow records use, without case and punctuation; the first that is there.
IDENTITY_NAMES: Mapping[str, Sequence[str]] = {
    "record_id": ("uid", "flowid", "recordid", "eventid", "id"),
    "event_time": ("ts", "flowstart", "timestamp", "starttime", "stime", "eventtime", "time"),
    "source_address": ("idorigh", "srcip", "sourceip", "srcaddr", "saddr", "sourceaddress"),
    "source_port": ("idorigp", "srcport", "sourceport", "sport"),
    "destination_address": (
        *("idresph", "dstip", "destip", "destinationip", "dstaddr", "daddr", "destinationaddress"),
    ),
    "destination_port": ("idrespp", "dstport", "destport", "destinationport", "dport"),
    "protocol": ("proto", "protocol"),
}
IDENTIFYING_NAMES = frozenset(
    name for role, names in IDENTITY_NAMES.items() if role != "protocol" for name in names
)
LABEL_NAME = re.compile(
    r"labels?|detailedlabel|class(name)?|(is)?attack(cat|category|type)?|attempted(category)?"
    r"|malicious|outcome|target|alerted"
)
LABEL_WORD = re.compile(r"(?i)normal\.?|benign|attack|malicious|anomaly|botnet|background")
CODE_WORD = re.compile(r"proto|protocol|type|code|state|service|version|method|tos|dscp|dir")
COUNT_WORD = re.compile(r"num|count|cnt|total|bytes|packets|pkts|octets|size|length")
_MAC = re.compile(r"(?i)([0-9a-f]{2}[:-]){5}[0-9a-f]{2}")


@dataclass(frozen=True, slots=True)
class Draft:
    """A spec as commented TOML, and what the user should look at before using it."""

    toml: str
    features: int
    warnings: tuple[str, ...] = field(default=())


def infer_spec(
    path: Path,
    name: str | None = None,
    label_column: str | None = None,
    ignore: Sequence[str] = (),
) -> Draft:
    """Draft a spec for the rows of a file.

    Args:
        name: of the spec; by default that of the file.
        label_column, ignore: columns by name or position counted from 1 that are no features.

    Raises:
        DataError: the file cannot be read, lacks one of the columns, or none is fit for a feature.
    """
    seen = profile(path)
    told = {seen.require(column).name: "as asked" for column in ignore}
    if label_column is not None:
        told[seen.require(label_column).name] = "the label"
    identity = _identity(seen, told)
    entities = {field for role, field in identity.items() if role != "protocol"}
    choices = [
        _choose(column, position if seen.has_header is False else None, seen.rows, told)
        for position, column in enumerate(seen.columns, start=1)
        if column.name not in entities
    ]
    features = sum(choice.feature is not None for choice in choices)
    if not features:
        why = "; ".join(f"{c.column.name}: {c.why}" for c in choices[:REASONS_SHOWN])
        raise DataError(
            f"file {path}: none of its {len(seen.columns)} columns is fit to learn ({why})."
        )
    toml = spec_toml(seen, name or path.name.partition(".")[0], identity, choices)
    labels = [c.column.name for c in choices if c.feature is None and c.why.startswith("looks")]
    warnings = tuple(
        f"column {column!r} looks like a label and was left out of the features."
        for column in labels
    )
    return Draft(toml, features, warnings)


# What is no feature


def _identity(seen: FileProfile, told: Mapping[str, str]) -> dict[str, str]:
    by_name = {
        _plain(column.name): column.name
        for column in reversed(seen.columns)
        if column.name not in told
    }
    found = {
        role: next((by_name[name] for name in names if name in by_name), None)
        for role, names in IDENTITY_NAMES.items()
    }
    return {role: name for role, name in found.items() if name is not None}


def _why_no_feature(column: ColumnProfile, rows: int) -> str | None:
    words = column.examples
    if not column.cells:
        return "empty in every row"
    if column.not_finite == column.cells:
        return "never a finite number"
    if _is_label(column):
        return "looks like a label: learnt, it would give the answer away"
    if column.distinct == 1:
        present = "" if column.cells == rows else " where present"
        return None if _is_true_or_absent(column, rows) else f"always {short(words[0])}{present}"
    if _plain(column.name) in IDENTIFYING_NAMES:
        return "tells events or hosts apart, not behaviour"
    if all(map(_is_address, words)):
        return "addresses: they tell hosts apart, not behaviour"
    if all(map(_is_time, words)):
        return "times: they tell events apart, not behaviour"
    if column.whole and column.rising and not column.words and _all_differ(column):
        return "grows from row to row: an id or a counter"
    return None


def _is_label(column: ColumnProfile) -> bool:
    plain = _plain(column.name.rpartition(".")[2])
    says_so = any(map(LABEL_WORD.fullmatch, column.counts))
    return bool(LABEL_NAME.fullmatch(plain)) or (says_so and bool(column.words))


def _is_true_or_absent(column: ColumnProfile, rows: int) -> bool:
    """A flag that its producer writes only where it is set."""
    is_true = column.examples[0].lower() in TRUE_WORDS
    return is_true and column.cells == column.words < rows


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _all_differ(column: ColumnProfile) -> bool:
    if column.overflowed:
        sample = column.sample
        return len(np.unique(sample)) == len(sample)
    return column.distinct == column.cells > SMALL_VOCABULARY


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return bool(_MAC.fullmatch(text))
    return True


def _is_time(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return milliseconds(text.replace("/", "-")) is not None
    return False


# What is one, and how


def _choose(
    column: ColumnProfile, position: int | None, rows: int, told: Mapping[str, str]
) -> Choice:
    """Decide on one column; `position`, from 1, where that is how it is found."""
    why_not = told.get(column.name) or _why_no_feature(column, rows)
    if why_not:
        return Choice(column, why_not)
    missing = rows - column.cells
    if _is_boolean(column):
        feature = Feature(
            name=column.name,
            kind="boolean",
            column=position,
            default=False if missing else None,
        )
        return Choice(column, shares(column), feature)
    if _is_numeric(column) and not _is_code(column):
        transform, why = _transform(column)
        feature = Feature(
            name=column.name,
            kind="numeric",
            transform=transform,
            column=position,
            default=0.0 if missing else None,
        )
        return Choice(column, why, feature)
    if column.distinct > MAX_CATEGORIES:
        return Choice(column, f"text of more than {MAX_CATEGORIES} kinds: names, ids or free text")
    if column.distinct > max(SMALL_VOCABULARY, column.cells // 4):
        return Choice(column, f"text that hardly repeats: {column.distinct} kinds, an id or a name")
    feature = Feature(
        name=column.name,
        kind="categorical",
        column=position,
        default="-" if missing else None,
    )
    return Choice(column, shares(column), feature)


def _is_boolean(column: ColumnProfile) -> bool:
    """Two words of which one means true; 0 and 1 only where neither is rare or a count's name.

    A count of something rare looks like 0 and 1 until its first 2, which no boolean can take.
    """
    words = {text.lower() for text in column.counts}
    if len(words) == 1:
        return True  # else it would be a constant, and ignored
    if len(words) != 2 or len(words & TRUE_WORDS) != 1 or len(words & FALSE_WORDS) != 1:
        return False
    if column.words:
        return True
    rarer = min(column.counts.values())
    is_count = any(map(COUNT_WORD.fullmatch, _parts(column.name)))
    return rarer >= min(100, column.cells // 10) and not is_count


def _is_numeric(column: ColumnProfile) -> bool:
    return column.cells - column.words >= MIN_NUMBER_SHARE * column.cells and bool(
        len(column.sample)
    )


def _is_code(column: ColumnProfile) -> bool:
    """Integers that stand for something, as the name says, so that their size means nothing."""
    last_word = ["", *_parts(column.name)][-1]
    is_code = CODE_WORD.fullmatch(last_word) is not None
    return is_code and column.whole and column.distinct <= MAX_CATEGORIES


def _parts(name: str) -> list[str]:
    """The words of a column's name, in lower case: `sTos` is s, tos."""
    return [part.lower() for part in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)]


def _transform(column: ColumnProfile) -> tuple[Transform, str]:
    low, high = column.minimum, column.maximum
    median = float(np.median(column.sample))
    seen = f"{low:.6g} / {median:.6g} / {high:.6g}"
    if low >= 0 and high <= 1:
        return "linear", f"{seen}: a share or a rate"
    size = float(np.median(np.abs(column.sample)))
    if max(abs(low), high) > HEAVY_TAIL_RATIO * max(size, 1.0):
        return "log", f"{seen}: a heavy tail"
    return "linear", f"{seen}: no heavy tail"
