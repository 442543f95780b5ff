"""table.tex and table_notes.tex: checked by structure everywhere, and compiled where there is a LaTeX."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace

import pytest
from test_report import EVIL, World

from selectit.report.render.display_names import column_names, row_names
from selectit.report.render.latex import breakable, escape, latex
from selectit.report.write import read_table


@pytest.fixture
def world(tmp_path, demo, monkeypatch):
    monkeypatch.setattr("selectit.report.contents.draw", lambda *_: [])  # test_report.py has the plots
    return lambda **changes: World(tmp_path, demo, **changes)


NASTY = r"50% & $x_1$ #1 {a} ~b^c \end{table} <|> ↑"
ARMS = {
    "base": {"finetune": {"method": "none"}},
    EVIL: {"select": {"strategy": "selectit"}},
    NASTY: {"select": {"strategy": "random"}},
}


def shown(label: str) -> str:
    return escape(label.replace("_", " "))


def check(text: str) -> list[list[str]]:
    """The cells of each line of the tabular; fails where the file would not compile."""
    body = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    depth = 0
    for token in re.findall(r"\\.|[{}]", body):
        depth += {"{": 1, "}": -1}.get(token, 0)
        assert depth >= 0
    assert depth == 0
    assert len(re.findall(r"(?<!\\)\$", body)) % 2 == 0
    begun, ended = (re.findall(rf"\\{word}\{{(\w+\*?)\}}", body) for word in ("begin", "end"))
    assert begun == ended[::-1] == ["table*", "tabular"]
    outside = (
        re.sub(r"\$[^$]*\$", "", re.sub(r"\\[^a-zA-Z]", "", body))
        .replace(r"\wd0>", "")
        .replace(r"\relax>", "")
        .replace("{%", "{")
        .replace("}%", "}")
    )
    assert not re.search(r"[#%^~<>|\"`±−↑↓†]", outside)
    assert not re.search(r"(?<!\\)_", re.sub(r"\\label\{[^}]*\}", "", body))
    columns = re.search(r"\\begin\{tabular\}\{(\w+)\}", body)[1]
    lines = body.split(r"\toprule")[1].split(r"\bottomrule")[0].replace(r"\midrule", "").strip().split("\n")
    cells = [re.split(r"(?<!\\) & ", line.removesuffix(r" \\")) for line in lines if line]
    assert all(line.endswith(r"\\") for line in lines if line)
    assert {len(row) for row in cells} == {len(columns)}
    return cells


def test_the_table_is_whole_with_marks_errors_and_the_baseline(world):
    made = world(seeds={"select": [7], "train": [1, 2, 3, 4, 5], "eval": [42]})
    made.change("selectit", "gsm8k", value=0.6)
    made.report()
    header, base, under_base, *_, random, _, selectit, under = check(made.text("table.tex"))
    assert header == ["arm", "MMLU", "GSM8K", "average", "difference"]
    assert base[2] == r"5.0$^{\downarrow}$" and base[4].startswith("$-$")
    assert under_base[:3] == ["", r"{\scriptsize$\pm$\,3.1}", r"{\scriptsize$\pm$\,1.5}"]
    assert selectit[2] == r"\textbf{60.0}$^{\uparrow}$" and under[2] == r"{\scriptsize$\pm$\,3.5 (5)}"
    assert random[0] == r"\emph{random}" and selectit[0] == "SelectIT"
    assert r"$\uparrow$ better, $\downarrow$ worse than the first baseline" in made.text("table.tex")
    assert "Holm" in made.text("table_notes.tex")


def test_the_highest_mean_of_a_column_is_bold_with_its_ties_and_without_missing_results(world):
    made = world()
    made.change("full", "mmlu", value=0.32)
    made.change("selectit", "mmlu", value=0.3204)  # 32.04 and 32.0 are shown alike
    made.change("random", "mmlu", value=0.3)
    for arm in ("base", "full", "random", "selectit"):
        made.change(arm, "gsm8k", value=0.2)  # all equal
    for stage in made.stages("base", "evaluate", "mmlu"):
        made.fail(stage, "killed")
    made.report()
    rows = {cells[0]: cells for cells in check(made.text("table.tex")) if cells[0]}
    assert [rows[name][1] for name in ("full", "SelectIT", r"\emph{random}")] == [r"\textbf{32.0}"] * 2 + ["30.0"]
    assert "textbf" not in rows["base"][1] and not any("textbf" in cells[2] for cells in rows.values())
    assert not any("textbf" in cells[-1] for cells in rows.values())
    assert "Bold: the highest mean of a column, which is not a test." in made.text("table.tex")


def test_missing_results_are_words_with_the_letter_of_their_reason(world):
    made = world()
    for stage in made.stages("full", "evaluate", "gsm8k"):
        made.fail(stage, "RuntimeError: 100 % of {memory} gone_")
    made.change("base", "mmlu", complete=False, notes=["limit: 5 items"])
    made.report()
    cells = {row[0]: row for row in check(made.text("table.tex")) if row[0]}
    assert cells["full"][2] == r"\textit{failed}$^{\mathrm{a}}$" and r"\dagger" in cells["base"][1]
    assert r"$^{\mathrm{a}}$\,failed: RuntimeError: 100 \% of \{memory\} gone\_" in made.text("table_notes.tex")
    assert r"Letters and $\dagger$ refer to the notes." in made.text("table.tex")


def test_names_are_shown_as_papers_write_them_and_two_never_alike():
    assert column_names(["arm", "mmlu", "alpaca_eval_2 (gpt-4-turbo)", "wmt22_de_en_comet", "my_own"]) == [
        "arm", "MMLU", "AlpacaEval 2 (gpt-4-turbo)", "WMT22 de-en (COMET)", "my own",
    ]  # fmt: skip
    assert row_names(["selectit (ratio=0.1)", "random_rest"]) == ["SelectIT (ratio=0.1)", "random rest"]
    assert row_names(["a_b", "a b"]) == ["a_b", "a b"]


def test_a_long_word_of_the_notes_may_be_broken():
    path = "/data/" + "f" * 64 + "/model_1.bin"
    broken = breakable(f"of {path} 1.5")
    assert broken.replace(r"\allowbreak{}", "") == escape(f"of {path} 1.5")
    assert breakable("a 1.1-million-parameter model") == "a 1.1-million-parameter model"
    assert max(len(part) for part in broken.split(r"\allowbreak{}")) <= 24


def test_names_that_would_break_the_table_are_escaped(world):
    made = world(arms=ARMS, baseline="base", description=NASTY)
    made.change(EVIL, "gsm8k", status="not_scored", value=None, reason=NASTY)
    cells = check(latex("na_me & co", NASTY, made.table()))
    assert {row[0] for row in cells} == {"", "arm", r"\emph{base}", escape(EVIL.replace("_", " ")), shown(NASTY)}
    assert escape(r"a_b \ {") == r"a\_b \textbackslash{} \{"


def test_a_demonstration_states_it_in_the_caption(world):
    assert "They are not a result." in latex("demo", "A demo.", world(demonstration=True).table())
    assert "They are not a result." not in latex("demo", "A demo.", world().table())


def test_the_caption_is_short_and_the_notes_are_a_file_of_their_own(world):
    made = world()
    made.report()
    table, notes = made.text("table.tex"), made.text("table_notes.tex")
    assert "A recipe" in table and "the baseline row, with which the others are compared" in table
    assert "All values are percent" not in table
    assert r"\footnotesize" in notes and "All values are percent" in notes and r"\ref{tab:small}" in notes


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no pdflatex")
@pytest.mark.parametrize("columns", ["", "twocolumn"])
def test_table_and_notes_compile_in_one_and_two_columns_without_overflow(world, tmp_path, columns):
    benchmarks = ["mmlu", "bbh", "gsm8k", "tydiqa", "humaneval", "alpaca_eval"]
    arms = {**ARMS, "a_very_long_name_of_an_arm_that_nobody_would_print": {"select": {"strategy": "full"}}}
    made = world(
        arms=arms, baseline="base", description=NASTY, evaluate={"profile": "paper-2023", "benchmarks": benchmarks}
    )
    for stage in made.stages("base", "evaluate", "gsm8k"):
        made.fail(stage, f"OSError: /{'long_path/' * 12}{'0' * 64} is {NASTY}")
    made.report()
    document = [
        rf"\documentclass[{columns}]{{article}}", r"\usepackage[T1]{fontenc}", r"\usepackage{booktabs,graphicx}",
        r"\begin{document}", "Text. " * 400, r"\input{table}", r"\input{table_notes}", r"\end{document}",
    ]  # fmt: skip
    for name in ("table", "table_notes"):
        (tmp_path / f"{name}.tex").write_text(made.text(f"{name}.tex"))
    (tmp_path / "paper.tex").write_text("\n".join(document))
    command = ["pdflatex", "-draftmode", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    for _ in range(2):  # the second knows the number of the table
        answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=300)
        if "not found" in answer.stdout and ".sty" in answer.stdout:
            pytest.skip("this LaTeX has no booktabs or graphicx")
        assert answer.returncode == 0, answer.stdout[-2000:]
    assert not re.findall(r"Overfull.*|LaTeX Warning: (?!Label).*", answer.stdout)


LETTERS = ["选择" * 30, "привет α=0.2 🎉", "Ünïcödé œŒŁłŠžĳŉĦ “quotes” ‘x’ — € …", "\u200bzero\u202ewidth"]


def test_letters_that_pdflatex_lacks_are_there_by_number_and_for_other_engines_as_they_are():
    assert escape("选") == r"\ifdefined\Umathchar 选\else U+9009\fi\allowbreak{}"
    assert escape("α über") == r"\ensuremath{\alpha} über" and escape("a\u200bb") == "ab"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no pdflatex")
def test_letters_of_every_script_compile(tmp_path):
    body = "\n\n".join([*map(breakable, LETTERS), *(breakable(chr(code)) for code in range(0xA1, 0x180))])
    document = [
        r"\documentclass{article}",
        r"\usepackage[T1]{fontenc}",
        r"\begin{document}\raggedright",
        body,
        r"\end{document}",
    ]
    (tmp_path / "letters.tex").write_text("\n".join(document))
    command = ["pdflatex", "-draftmode", "-interaction=nonstopmode", "-halt-on-error", "letters.tex"]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=300)
    assert answer.returncode == 0 and "Overfull" not in answer.stdout, answer.stdout[-2000:]


def test_a_description_without_a_stop_does_not_run_into_the_caption(world):
    made = world(description="A small table")
    made.report()
    assert "A small table. In percent" in made.text("table.tex")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no pdflatex")
def test_a_table_of_sixty_rows_fits_the_page(world, tmp_path):
    made = world()
    _, table, _ = read_table(made.plan, made.outcomes)
    text = latex("small", "Sixty rows.", replace(table, lines=table.lines * (60 // len(table.lines))))
    (tmp_path / "table.tex").write_text(text)
    document = [
        r"\documentclass{article}", r"\usepackage[T1]{fontenc}", r"\usepackage{booktabs,graphicx}",
        r"\begin{document}", r"Text.\input{table}", r"\end{document}",
    ]  # fmt: skip
    (tmp_path / "paper.tex").write_text("\n".join(document))
    command = ["pdflatex", "-draftmode", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=300)
    assert answer.returncode == 0 and not re.findall("Overfull|Float too large", answer.stdout), answer.stdout[-2000:]
