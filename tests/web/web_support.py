"""What tests of the web share: a running service, and HTML read as a browser's parser would."""

from __future__ import annotations

from dataclasses import dataclass
from html.parser import HTMLParser

from assistant.runtime import Runtime


@dataclass(frozen=True)
class Service:
    """A running server."""

    url: str
    runtime: Runtime


class Reader(HTMLParser):
    """Collects the elements, attributes and text of a piece of HTML."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    return reader
