"""Write the reference pages of docs/ from the code: what `make docs` does.

    python -m tests.docs.generate            # write those that differ
    python -m tests.docs.generate --check    # name those that differ, and fail

What the code does not say by itself (advice on errors, what to watch a metric for) is in
advice.toml; a gap in it ends this with exit code 1.
"""

import sys
from pathlib import Path

from tests.docs.catalogues import errors_page, metrics_page
from tests.docs.commands import cli_page
from tests.docs.models import settings_page, spec_page

DOCS = Path(__file__).parents[2] / "docs"
PAGES = {  # the commands first, for the others import typer with its colours and frames
    "cli.md": cli_page,
    "settings.md": settings_page,
    "spec.md": spec_page,
    "metrics.md": metrics_page,
    "errors.md": errors_page,
}


def main(check: bool) -> int:
    """Write the pages that differ, or only name them; 1 where a checked page differs."""
    pages = {DOCS / name: page() + "\n" for name, page in PAGES.items()}
    differing = [p for p, text in pages.items() if not p.exists() or p.read_text("utf-8") != text]
    for path in differing:
        print(f"{path.name} differs from the code: run `make docs`" if check else f"wrote {path}")
        if not check:
            path.write_text(pages[path], "utf-8")
    return int(check and bool(differing))


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
