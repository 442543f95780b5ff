"""What a section of the report is made of: a heading and parts, which the page and the Markdown each know how to show.

A part of its own kind is a dataclass next to its section, with a macro in parts.html.jinja, and a function in
markdown.py where the Markdown shows it too.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol


class Part(Protocol):
    macro: ClassVar[str]
    """Of parts.html.jinja; it is called with the part and the heading of its section."""


@dataclass(frozen=True)
class Section:
    heading: str
    parts: Sequence[Part]
    anchor: str = ""
    """A section with an anchor stands in the page's navigation; the ones without follow below it, one level lower."""
    short: str = ""
    """Its name in the navigation, where that is not the heading."""


@dataclass(frozen=True)
class Paragraph:
    """What to know before a listing."""

    macro: ClassVar[str] = "paragraph"
    text: str


@dataclass(frozen=True)
class Note:
    """What must be read with a listing, below it."""

    macro: ClassVar[str] = "note"
    text: str


@dataclass(frozen=True)
class Bullets:
    macro: ClassVar[str] = "bullets"
    sentences: Sequence[str]
    style: str = ""
    """Classes of page.css."""
    is_numbered: bool = False
    """Each begins with [1], [2], ..., by which a table refers to it."""


@dataclass(frozen=True)
class Listing:
    """Text under column names."""

    macro: ClassVar[str] = "listing"
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    num_text_columns: int = 1
    """Columns from the left that hold text; the others hold numbers and stand right."""
    title: str = ""
    """What it holds, for readers who hear the page; empty: the heading of its section."""
    style: str = ""
    folders: Collection[str] = ()
    """Cells that are names of artifact folders, to which the page links."""


@dataclass(frozen=True)
class Folded:
    """A listing that the page opens on a click."""

    macro: ClassVar[str] = "folded"
    summary: str
    listing: Listing
    is_open: bool
