"""report.html: one page that needs no network, with its style sheet and its plots inside.

Fills page.html.jinja, which escapes every text; only the SVG of our own plots goes in as it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from selectit.report.contents import ReportContents
from selectit.report.render.formats import ABSENT
from selectit.report.sections.composition import CORRELATIONS_NOTE
from selectit.report.sections.composition import RULE as CALCULATION_RULE
from selectit.report.sections.differing import NOTE as DIFFERING_NOTE
from selectit.report.sections.epochs import EPOCHS_NOTE, VALIDATION_NOTE
from selectit.report.sections.fidelity import NOTE as FIDELITY_NOTE
from selectit.report.sections.health import NOTE as ANSWER_HEALTH_NOTE
from selectit.report.sections.seeds import SEED_SPREAD
from selectit.report.sections.values import NOTE as VALUES_NOTE
from selectit.report.tables.significance import LISTING_NOTE
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
    table = contents.table
    template = Environment(loader=FileSystemLoader(FOLDER), **options).get_template("page.html.jinja")
    return template.render(
        contents=contents,
        table=table,
        dagger=DAGGER,
        artifacts=ARTIFACTS,
        absent=ABSENT,
        values_note=VALUES_NOTE,
        comparisons_note=LISTING_NOTE,
        correlations_note=CORRELATIONS_NOTE,
        differing_note=DIFFERING_NOTE,
        any_mark=any(entry.mark for line in table.lines for entry in (*line.entries, line.average)),
        seed_spread_note=SEED_SPREAD,
        calculation_rule=CALCULATION_RULE,
        fidelity_note=FIDELITY_NOTE,
        validation_note=VALIDATION_NOTE,
        epochs_note=EPOCHS_NOTE,
        answer_health_note=ANSWER_HEALTH_NOTE,
        style=Markup((FOLDER / "page.css").read_text(encoding="utf-8")),
        drawn=[(plot, Markup(plot.svg)) for plot in contents.plots],
    )
