"""A section is shown by the page and the Markdown alike, from its parts alone."""

from __future__ import annotations

import re

from selectit.report.contents import ReportContents
from selectit.report.render.markdown import markdown
from selectit.report.render.page import page
from selectit.report.section import Bullets, Folded, Listing, Note, Paragraph, Section
from selectit.report.sections.figures import Plot

EVIL = "<b>*x*</b> | y"
LISTING = Listing(("arm", EVIL, "count"), (("a", "finetune-1", "3"), ("b", EVIL, "4")), 2, folders={"finetune-1"})
PARTS = (
    Paragraph(f"Before {EVIL}."),
    LISTING,
    Folded("All 2 lines", LISTING, is_open=False),
    Bullets([f"one {EVIL}", "two"], style="notes", is_numbered=True),
    Note("Below."),
)


def contents(*sections: Section) -> ReportContents:
    return ReportContents("name", "", "recipe.yaml", "", sections)


def test_every_part_of_a_section_is_in_both_forms_escaped_and_in_order():
    report = contents(Section("A chapter", PARTS, anchor="own", short="Short"), Section("Below it", PARTS))
    text, html = markdown(report), page(report)
    assert [line for line in text.splitlines() if line.startswith("#")] == ["# name", "## A chapter", "### Below it"]
    assert re.findall(r"<h([123])[^>]*>([^<]*)", html) == [("1", "name"), ("2", "A chapter"), ("3", "Below it")]
    assert '<a href="#own">Short</a></nav>' in html and '<h2 id="own">' in html
    assert "<b>" not in html and "<b>" not in text and r"\| y" in text
    for form in (text, html):
        places = [form.index(word) for word in ("Before", "finetune-1", "[1" if form is html else r"\[1\]", "Below.")]
        assert places == sorted(places)
    assert '<a href="../artifacts/finetune-1/">finetune-1</a>' in html and html.count("<a href=") == 5
    assert html.count('aria-label="A chapter"') == 2 and "<details><summary>All 2 lines" in html
    assert text.count("| arm |") == 4 and "| --- | --- | ---: |" in text


def test_a_section_that_only_the_page_can_show_is_not_in_the_markdown():
    drawn = Section("Drawn", [Plot("A plot", "<svg>its lines</svg>", f"Caption {EVIL}."), Note("Read it so.")])
    text, html = markdown(contents(drawn)), page(contents(drawn))
    assert "Drawn" not in text and "Read it so" not in text
    assert "<svg>its lines</svg>" in html and "Caption &lt;b&gt;" in html and "Read it so" in html


def test_a_heading_alone_stands_above_the_sections_below_it():
    report = contents(Section("Sources", (), anchor="sources"), Section("Inputs", (LISTING,)))
    assert "## Sources\n\n### Inputs\n\n| arm |" in markdown(report)
