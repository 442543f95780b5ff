"""report.html: one page that needs no network, with its style sheet and its plots inside.

Fills page.html.jinja with the macros of parts.html.jinja, which escape every text; only the SVG of our own plots goes
in as it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from selectit.report.contents import ReportContents
from selectit.report.render.formats import ABSENT
from selectit.report.tables.table import DAGGER
from selectit.store.names import ARTIFACTS_FOLDER

FOLDER = Path(__file__).parent
ARTIFACTS = f"../{ARTIFACTS_FOLDER}"
"""From the folder of a report, in a runs folder and in an exported pack alike."""


def page(contents: ReportContents) -> str:
    options: dict[str, Any] = {
        "autoescape": True,
        "undefined": StrictUndefined,
        "trim_blocks": True,
        "lstrip_blocks": True,
    }
    environment = Environment(loader=FileSystemLoader(FOLDER), **options)
    environment.globals.update(dagger=DAGGER, artifacts=ARTIFACTS, absent=ABSENT)
    style = Markup((FOLDER / "page.css").read_text(encoding="utf-8"))
    return environment.get_template("page.html.jinja").render(contents=contents, style=style)
