"""What an HTML page holds, and what it would load from elsewhere."""

import re
from html.parser import HTMLParser

_LOADING = {"script", "link", "iframe", "img", "image", "object", "embed"}
_REFERENCES = ("src", "href", "xlink:href", "data", "srcset", "action")


class Page(HTMLParser):
    """Tags, references to elsewhere and visible text of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.references: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.styles = ""

    @property
    def loads_nothing(self) -> bool:
        """Whether it is complete without network and without other files, and runs no script."""
        imports = re.search(r"@import|url\((?!['\"]?#)", self.styles)
        return not (self.references or imports or _LOADING.intersection(self.tags))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in _REFERENCES and not (value or "").startswith("#"):
                self.references.append(value or "")
            if name == "style":
                self.styles += value or ""

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] == "style":
            self.styles += data
        else:
            self.text += data


def read_page(text: str) -> Page:
    """Parse a page."""
    page = Page()
    page.feed(text)
    return page
