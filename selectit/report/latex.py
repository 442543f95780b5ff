"""table.tex: the table for a paper (booktabs), with marks, spreads, holes, and under it what must be read with it.

Text from data is escaped, so that the file can be put in with \\input as it is. Notes stand one to a line, for whoever
moves them into the text.
"""

from __future__ import annotations

import re

from selectit.report.table import Entry, Table

_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "`": r"\textasciigrave{}",
    "±": r"$\pm$", "−": "$-$", "–": "--", "†": r"$\dagger$", "↑": r"$\uparrow$", "↓": r"$\downarrow$",
}  # fmt: skip
_MARKS = {"better": r"\uparrow", "worse": r"\downarrow"}


def latex(name: str, description: str, table: Table) -> str:
    columns = "l" + "r" * (len(table.columns) - 1)
    lines = [
        r"% Needs \usepackage{booktabs}, and \usepackage[T1]{fontenc} for the quotation marks.",
        r"\begin{table}[t]",
        r"\centering",
        r"\small",
        r"\setlength{\tabcolsep}{4pt}",
        rf"\caption[{{{escape(name)}}}]{{{_caption(name, description, table)}}}",
        rf"\label{{tab:{re.sub(r'[^A-Za-z0-9-]', '-', name)}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        _row([escape(column) for column in table.columns]),
        r"\midrule",
    ]
    for line in table.lines:
        label = rf"\emph{{{escape(line.label)}}}" if line.is_baseline else escape(line.label)
        lines.append(_row([label, *(_entry(e) for e in (*line.entries, line.average, line.difference))]))
    notes = [rf"$^{{{_letter(number)}}}$\,{escape(note)}" for number, note in enumerate(table.notes, start=1)]
    lines += [r"\bottomrule", r"\end{tabular}", r"\par\smallskip", r"{\footnotesize\raggedright"]
    lines += [*notes, *map(escape, table.caption), r"\par}"]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def escape(text: str) -> str:
    """Text from data as LaTeX shows it, on one line."""
    return "".join(_SPECIAL.get(character, character) for character in " ".join(text.split()))


def _caption(name: str, description: str, table: Table) -> str:
    bases = [line.label for line in table.lines if line.is_baseline]
    rows = "row" if len(bases) == 1 else "rows"
    compared = f"In percent. In italics: the baseline {rows}, with which the others are compared."
    sentences = [table.demonstration, description or f"{name}.", compared]
    return " ".join(escape(sentence) for sentence in sentences if sentence)


def _letter(number: int) -> str:
    """A note's mark: a letter, for a raised number would be read as a power; after z come aa, ab."""
    first, last = divmod(number - 1, 26)
    return r"\mathrm{" + (chr(96 + first) if first else "") + chr(97 + last) + "}"


def _row(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"


def _entry(entry: Entry) -> str:
    """Such as `41.2\\,{\\scriptsize$\\pm$\\,0.8}$^{\\uparrow,\\mathrm{a}}$`; a hole is a word in italics."""
    marks = [_MARKS[entry.word]] if entry.word in _MARKS else []
    if entry.incomplete:
        marks.append(r"\dagger")
    marks += [_letter(number) for number in entry.notes]
    raised = rf"$^{{{','.join(marks)}}}$" if marks else ""
    if entry.mean is None:
        return (rf"\textit{{{escape(entry.text)}}}" if entry.notes else escape(entry.text)) + raised
    value, *spread = entry.text.split(" ± ")
    told = escape(value) + "".join(rf"\,{{\scriptsize$\pm$\,{std}}}" for std in spread)
    return told + raised
