"""The results table of the report, and the differences to the baseline by benchmark. Reads and writes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from selectit.report.section import Bullets, Section
from selectit.report.tables.table import Table


@dataclass(frozen=True)
class ResultsTable:
    macro: ClassVar[str] = "results"
    table: Table

    @property
    def has_marks(self) -> bool:
        """Where one entry has a mark, the others leave its place, so that numbers stand under each other."""
        return any(entry.mark for line in self.table.lines for entry in (*line.entries, line.average))


@dataclass(frozen=True)
class DifferencesTable(ResultsTable):
    macro: ClassVar[str] = "differences"


def results(table: Table) -> Section:
    notes = Bullets(table.notes, style="notes", is_numbered=True)
    return Section("Results", (ResultsTable(table), notes, Bullets(table.caption, style="caption")), anchor="results")


def differences(table: Table) -> Section:
    return Section("Difference to the baseline by benchmark, in points", (DifferencesTable(table),))
