"""What all reports share: one self-contained HTML page of sections, tables and plots.

    plot = svg(lambda axes: axes.plot(x, y, color=NORMAL))
    page = [facts({"Bundle": "6f0c"}), section("Loss", "What to look for.", plot)]
    write_page(Path("report.html"), "Training report", page)

Nothing is loaded from elsewhere. Plots are SVG whose colours are the page's, so that they follow
the reader's light or dark scheme. Every text that comes in is escaped here, and only here.
"""

import html
import io
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure

from monitor.errors import DataError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    Draw = Callable[[Axes], object]

INK, MUTED, LINE = "#1c2430", "#5b6675", "#dde2e9"
NORMAL, ATTACK, THIRD = "#2f6fb7", "#d2552b", "#2f8f6b"
_SCHEME = {
    INK: ("--ink", "#e6eaf0"),
    MUTED: ("--muted", "#9aa6b5"),
    LINE: ("--line", "#323a46"),
    NORMAL: ("--normal", "#74aeea"),
    ATTACK: ("--attack", "#f28b5f"),
    THIRD: ("--third", "#69c7a0"),
}
"""Of each colour, which is the light scheme's, its name in the page and what it is in the dark."""

_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "anomaly-monitor",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": LINE,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "legend.frameon": False,
}


def svg(*draw: "Draw", size: tuple[float, float] = (7.5, 2.7)) -> str:
    """Plots side by side, each drawn on its axes; `size` is in inches, of all together.

    Colours other than those of this module stay as they are in the dark scheme.
    """
    text = _drawn(draw, size, transparent=True)
    for color, (variable, _) in _SCHEME.items():
        text = text.replace(color, f"var({variable})")
    return text[text.index("<svg") :]


def write_svg(file: Path, *draw: "Draw", size: tuple[float, float]) -> None:
    """The same in a file of its own, in the light scheme; written whole or not at all.

    Raises:
        DataError: the file cannot be written.
    """
    check_writable(file)
    try:
        _replace(file, _drawn(draw, size, transparent=False))
    except OSError as error:
        raise _unwritable(file, error.strerror) from error


def _drawn(draw: Sequence["Draw"], size: tuple[float, float], transparent: bool) -> str:
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        for one, axes in zip(draw, figure.subplots(1, len(draw), squeeze=False)[0], strict=True):
            one(axes)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=transparent, metadata={"Date": None})
    return buffer.getvalue()


def plain(name: str) -> str:
    """A name that matplotlib will not read as mathematics, of a length that fits."""
    return (name if len(name) <= 40 else f"{name[:39]}…").replace("$", r"\$")


def section(title: str, text: str, *content: str) -> str:
    """A heading, a sentence for who reads it for the first time, and HTML made here."""
    return f"<h2>{html.escape(title)}</h2>\n<p>{html.escape(text)}</p>\n" + "\n".join(content)


def note(text: str) -> str:
    """A sentence that must not be overlooked."""
    return f'<p class="note">{html.escape(text)}</p>'


def facts(rows: Mapping[str, str]) -> str:
    """Names and what is true of them."""
    cells = (
        f"<tr><th scope=row>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>"
        for name, value in rows.items()
    )
    return f"<table>{''.join(cells)}</table>"


def tiles(figures: Mapping[str, str]) -> str:
    """The few figures to see first: caption to value."""
    each = (
        f'<div class="tile"><b>{html.escape(value)}</b><span>{html.escape(caption)}</span></div>'
        for caption, value in figures.items()
    )
    return f'<div class="tiles">{"".join(each)}</div>'


def table(header: Sequence[str], rows: Iterable[Sequence[str]], text_columns: int = 1) -> str:
    """Rows of cells; the first `text_columns` are words, the others numbers."""

    def row(cells: Sequence[str], tag: str) -> str:
        kinds = ["" if i < text_columns else " class=number" for i in range(len(cells))]
        written = zip(kinds, cells, strict=True)
        return "".join(f"<{tag}{kind}>{html.escape(cell)}</{tag}>" for kind, cell in written)

    body = "".join(f"<tr>{row(cells, 'td')}</tr>" for cells in rows)
    return f'<div class="wide"><table><tr>{row(header, "th")}</tr>{body}</table></div>'


def write_page(file: Path, title: str, content: Iterable[str]) -> None:
    """Write the page whole or not at all: an older one stays until the new one is complete.

    Raises:
        DataError: the file cannot be written.
    """
    page = Template(files("monitor.report").joinpath("page.html").read_text("utf-8")).substitute(
        title=html.escape(title),
        light=_variables((*_SCHEME, "#ffffff", "#f7f9fb")),
        dark=_variables((*(dark for _, dark in _SCHEME.values()), "#14181f", "#1c222b")),
        body="\n".join(content),
    )
    check_writable(file)
    try:
        _replace(file, page)
    except OSError as error:
        raise _unwritable(file, error.strerror) from error


def check_writable(file: Path) -> None:
    """Refuse a report that could not be written, before the work for it is done.

    Raises:
        DataError: it is a folder, or its folder is not there or not to be written to.
    """
    if file.is_dir():
        raise _unwritable(file, "it is a folder")
    if not file.parent.is_dir():
        raise _unwritable(file, f"there is no folder {file.parent}")
    if not os.access(file.parent, os.W_OK):
        raise _unwritable(file, f"no right to write to the folder {file.parent}")


def _unwritable(file: Path, reason: str | None) -> DataError:
    return DataError(f"report {file}: cannot be written ({reason}).")


def _replace(file: Path, page: str) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    staging = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(page)
        staging.chmod(0o644)
        staging.replace(file)
    finally:
        staging.unlink(missing_ok=True)


def _variables(colors: Iterable[str]) -> str:
    names = (*(name for name, _ in _SCHEME.values()), "--paper", "--card")
    return "; ".join(f"{name}: {color}" for name, color in zip(names, colors, strict=True))
