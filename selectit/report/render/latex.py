"""table.tex, the table for a paper, and table_notes.tex, what must be read with it (booktabs, graphicx).

Text from data is escaped, so that both can be put in with \\input as they are. The table spans both columns of a
two-column paper and is shrunk where it is wider, or much higher, than the page allows.
"""

from __future__ import annotations

import re

from selectit.report.render.display_names import column_names, row_names
from selectit.report.tables.table import MARKS, Entry, Table
from selectit.store.names import TABLE_NOTES_TEX

_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "`": r"\textasciigrave{}",
    "±": r"$\pm$", "−": "$-$", "–": "--", "†": r"$\dagger$", "↑": r"$\uparrow$", "↓": r"$\downarrow$",
}  # fmt: skip
_GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "η": "eta", "θ": "theta", "κ": "kappa",
    "λ": "lambda", "μ": "mu", "π": "pi", "ρ": "rho", "σ": "sigma", "τ": "tau", "φ": "phi", "χ": "chi", "ψ": "psi",
    "ω": "omega", "Δ": "Delta", "Σ": "Sigma", "Ω": "Omega",
}  # fmt: skip
_LATIN = re.compile(r"(?![ŉĦħĸĿŀŦŧ])[\x20-\x7e\u00a1-\u017e‘’“”„…•—€]")
"""What every LaTeX has in its usual fonts."""
_MARKS = {"better": r"\uparrow", "worse": r"\downarrow"}


LONGEST_WORD = 20
"""Characters of a word that need no place where it may be broken."""


def latex(name: str, description: str, table: Table) -> str:
    """Each row of the table is two lines: the values, and their errors with the number of training seeds."""
    columns = "l" + "r" * (len(table.columns) - 1)
    lines = [
        r"% Needs \usepackage{booktabs}, \usepackage{graphicx} and, for quotation marks, \usepackage[T1]{fontenc}.",
        r"% Letters beyond Latin and Greek are shown by XeLaTeX and LuaLaTeX; pdfLaTeX prints numbers, as U+4E2D.",
        rf"% What must be read with the table is in {TABLE_NOTES_TEX}; put it in with \input where there is room.",
        r"\begin{table*}[t]",
        r"\centering",
        rf"\caption[{{{escape(name)}}}]{{{_caption(name, description, table)}}}",
        rf"\label{{{_label(name)}}}",
        r"\par\smallskip\small",
        r"\setlength{\tabcolsep}{4pt}",
        r"\sbox0{%",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        _row([escape(column) for column in column_names(table.columns)]),
        r"\midrule",
    ]
    best = _best(table)
    for line, shown in zip(table.lines, row_names([line.label for line in table.lines]), strict=True):
        label = rf"\emph{{{escape(shown)}}}" if line.is_baseline else escape(shown)
        entries = (*line.entries, line.average)
        values = [_value(entry, _is_best(entry, highest)) for entry, highest in zip(entries, best, strict=True)]
        lines.append(_row([label, *values, _value(line.difference, False)]))
        errors = [_error(entry) for entry in entries]
        if any(errors):
            lines.append(_row(["", *errors, ""]))
    lines += [r"\bottomrule", r"\end{tabular}}%"]
    lines += [
        r"\ifdim\wd0>\linewidth\sbox0{\resizebox{\linewidth}{!}{\usebox0}}\fi",
        r"\ifdim\dimexpr\ht0+\dp0\relax>0.75\textheight\resizebox*{!}{0.75\textheight}{\usebox0}\else\usebox0\fi",
        r"\end{table*}",
    ]
    return "\n".join(lines) + "\n"


def latex_notes(name: str, table: Table) -> str:
    """The notes of the table, a paragraph each, for the text or an appendix."""
    notes = [rf"$^{{{_letter(number)}}}$\,{breakable(note)}\par" for number, note in enumerate(table.notes, start=1)]
    sentences = [rf"{breakable(sentence)}\par" for sentence in table.caption]
    lines = [rf"% Notes of the table \ref{{{_label(name)}}}.", r"\par\begingroup\footnotesize\raggedright"]
    return (
        "\n".join([*lines, rf"\noindent Notes of Table~\ref{{{_label(name)}}}.\par", *notes, *sentences, r"\endgroup"])
        + "\n"
    )


def _label(name: str) -> str:
    return f"tab:{re.sub(r'[^A-Za-z0-9-]', '-', name)}"


def _best(table: Table) -> list[float | None]:
    """The highest mean of each column, the average's last; None where all are equal or there is one."""
    rows = [(*line.entries, line.average) for line in table.lines]
    found = []
    for column in zip(*rows, strict=True):
        means = {round(entry.mean, 1) for entry in column if entry.mean is not None}
        found.append(max(means) if len(means) > 1 else None)
    return found


def _is_best(entry: Entry, highest: float | None) -> bool:
    """Equal as it is shown, to one decimal."""
    return highest is not None and entry.mean is not None and round(entry.mean, 1) == highest


def escape(text: str) -> str:
    """Text from data as LaTeX shows it, on one line; what pdfLaTeX cannot show is there the number of the character."""
    return "".join(map(_character, " ".join(text.split())))


def _character(character: str) -> str:
    if character in _SPECIAL:
        return _SPECIAL[character]
    if character in _GREEK:
        return rf"\ensuremath{{\{_GREEK[character]}}}"
    if _LATIN.fullmatch(character):
        return character
    if not character.isprintable():
        return ""
    return rf"\ifdefined\Umathchar {character}\else U+{ord(character):04X}\fi\allowbreak{{}}"


def breakable(text: str) -> str:
    """Escaped text in which a long word, such as a path or a hash, may be broken."""
    return " ".join(_broken(word) if _is_long(word) else escape(word) for word in text.split())


def _is_long(word: str) -> bool:
    """LaTeX breaks at hyphens by itself."""
    return max(map(len, word.split("-"))) > LONGEST_WORD


def _broken(word: str) -> str:
    parts = re.findall(rf"[^\W_]{{1,{LONGEST_WORD}}}|.", word)
    return r"\allowbreak{}".join(map(escape, parts))


def _caption(name: str, description: str, table: Table) -> str:
    bases = [line.label for line in table.lines if line.is_baseline]
    rows = "row" if len(bases) == 1 else "rows"
    entries = [entry for line in table.lines for entry in (*line.entries, line.average, line.difference)]
    sentences = [
        table.demonstration,
        _sentence(description) or f"{name}.",
        "In percent; under each value ± its standard error (number of training seeds).",
        f"In italics: the baseline {rows}, with which the others are compared.",
        "Bold: the highest mean of a column, which is not a test." if any(_best(table)) else "",
    ]
    if any(entry.mark for entry in entries):
        sentences.append(f"{MARKS['better']} better, {MARKS['worse']} worse than the first baseline (tested).")
    if any(entry.notes or entry.incomplete for entry in entries):
        sentences.append("Letters and † refer to the notes.")
    return " ".join(breakable(sentence) for sentence in sentences if sentence)


def _sentence(text: str) -> str:
    text = text.strip()
    return text if not text or text[-1] in ".!?…" else f"{text}."


def _letter(number: int) -> str:
    """A note's mark: a letter, for a raised number would be read as a power; after z come aa, ab."""
    first, last = divmod(number - 1, 26)
    return r"\mathrm{" + (chr(96 + first) if first else "") + chr(97 + last) + "}"


def _row(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"


def _value(entry: Entry, bold: bool) -> str:
    """Such as `\\textbf{41.2}$^{\\uparrow,\\mathrm{a}}$`; a missing result is a word in italics."""
    marks = [_MARKS[entry.word]] if entry.word in _MARKS else []
    if entry.incomplete:
        marks.append(r"\dagger")
    marks += [_letter(number) for number in entry.notes]
    raised = rf"$^{{{','.join(marks)}}}$" if marks else ""
    if entry.mean is None:
        return (rf"\textit{{{escape(entry.text)}}}" if entry.notes else escape(entry.text)) + raised
    value = escape(entry.text.split(" ± ")[0])
    return (rf"\textbf{{{value}}}" if bold else value) + raised


def _error(entry: Entry) -> str:
    _, sign, error = entry.text.partition(" ± ")
    return rf"{{\scriptsize$\pm$\,{escape(error)}}}" if sign and entry.mean is not None else ""
