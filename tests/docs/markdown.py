"""What the pages share."""

import tomllib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

ADVICE: dict[str, dict[str, str]] = tomllib.loads(
    Path(__file__).with_name("advice.toml").read_text("utf-8")
)


def advice(about: str, key: str) -> str:
    """What advice.toml says; ends the program with the gap where there is one."""
    if key not in ADVICE[about]:
        raise SystemExit(f"advice.toml: [{about}] has nothing on: {key}")
    return ADVICE[about][key]


def code(text: str) -> str:
    """Text in a line as code."""
    text = " ".join(text.split())
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Lines of a table."""
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
