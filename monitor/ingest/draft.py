"""The draft of a spec written down: TOML with the reason for every choice beside it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from monitor.features import Feature, Identity
from monitor.ingest.profile import ColumnProfile, FileProfile


@dataclass(frozen=True, slots=True)
class Choice:
    """What becomes of a column, and why. Without a feature it is ignored."""

    column: ColumnProfile
    why: str
    feature: Feature | None = None


def spec_toml(
    seen: FileProfile, name: str, identity: Mapping[str, str], choices: Sequence[Choice]
) -> str:
    """The whole spec."""
    return "\n".join(_lines(seen, name, identity, choices)) + "\n"


def shares(column: ColumnProfile) -> str:
    """The most frequent values of a column and their shares."""
    top = sorted(column.counts.items(), key=lambda item: (-item[1], item[0]))[:4]
    parts = [f"{short(text)} {_percent(count / column.cells)}" for text, count in top]
    more = f", {column.distinct - len(top)} more" if column.distinct > len(top) else ""
    return ", ".join(parts) + more


def _percent(share: float) -> str:
    return f"{share:.1%}" if share >= 0.001 else "<0.1%"


def _lines(
    seen: FileProfile, name: str, identity: Mapping[str, str], choices: Sequence[Choice]
) -> Iterator[str]:
    yield f"# Drafted by `monitor spec infer` from {seen.rows} rows of {_one_line(seen.path.name)}."
    yield "# Read it, change what you know better, then train with it. Comments beside features"
    yield "# give what was seen: minimum / median / maximum, or the most frequent values."
    if seen.has_header is not None:
        told_by = "its header line" if seen.has_header else "position, for it has no header line"
        yield f"# The file's columns are named by {told_by}."
    yield ""
    yield f"name = {_quoted(name)}"
    if seen.unwrap:
        yield f"unwrap = [{_quoted(seen.unwrap[0])}]  # every event stands under this key"
    yield from _ignored([choice for choice in choices if choice.feature is None])
    if seen.select:
        yield ""
        yield "[select]  # the file holds events of other kinds too"
        yield from (f"{_quoted(field)} = {_quoted(value)}" for field, value in seen.select.items())
    if identity:
        yield ""
        yield "[identity]  # guessed by well-known names; shown in alerts, never learnt"
        roles = [role for role in Identity.model_fields if role in identity]
        yield from (f"{role} = {_quoted(identity[role])}" for role in roles)
        if "destination_port" in identity:
            yield "# The port asked for says much about a service: it may be added as categorical."
    for choice in choices:
        if choice.feature is not None:
            yield from _described(choice.feature, choice, seen.rows)


def _ignored(choices: Sequence[Choice]) -> Iterator[str]:
    if choices:
        yield "ignore = ["
        for choice in choices:
            yield f"    {_quoted(choice.column.name)},  # {_one_line(choice.why)}"
        yield "]"


def _described(feature: Feature, choice: Choice, rows: int) -> Iterator[str]:
    column = choice.column
    yield ""
    yield "[[features]]"
    yield f"name = {_quoted(feature.name)}"
    yield f'kind = "{feature.kind}"' + ("" if feature.transform else f"  # {_one_line(choice.why)}")
    if feature.transform:
        yield f'transform = "{feature.transform}"  # {choice.why}'
    if feature.column is not None:
        yield f"column = {feature.column}"
    if feature.default is not None:
        default = json.dumps(feature.default) if feature.kind != "numeric" else "0"
        yield f"default = {default}  # missing in {rows - column.cells} of {rows} rows"
    if feature.kind == "numeric" and column.words:
        few = ", ".join(map(short, column.odd_words))
        yield f"# {column.words} cells were no numbers ({_one_line(few)}): refused as wrong_type"
    if feature.kind == "numeric" and column.not_finite:
        yield f"# {column.not_finite} cells were NaN or infinite: refused as not_finite"
    if feature.kind == "numeric" and set(column.counts) == {"0", "1"}:
        yield "# 0 and 1 only, but it may be a count; if not, make it a boolean"


def _quoted(text: str) -> str:
    """A TOML basic string, which is JSON's but for DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _one_line(text: str) -> str:
    """Text that can stand in a comment."""
    return "".join(c if c.isprintable() else "?" for c in text)


def short(text: str) -> str:
    """A value as it can stand in a comment."""
    return repr(text) if len(text) <= 24 else repr(text[:23] + "…")
