"""table.tex: what LaTeX would refuse is checked by structure, for there is no LaTeX on the machine."""

from __future__ import annotations

import re

import pytest
from test_report import EVIL, World

from selectit.report.latex import escape, latex


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


def check(text: str) -> list[list[str]]:
    """The cells of each line of the tabular; fails where the file would not compile."""
    body = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    depth = 0
    for token in re.findall(r"\\.|[{}]", body):
        depth += {"{": 1, "}": -1}.get(token, 0)
        assert depth >= 0
    assert depth == 0
    assert len(re.findall(r"(?<!\\)\$", body)) % 2 == 0
    begun, ended = (re.findall(rf"\\{word}\{{(\w+)\}}", body) for word in ("begin", "end"))
    assert begun == ended[::-1] == ["table", "tabular"]
    outside = re.sub(r"\$[^$]*\$", "", re.sub(r"\\[^a-zA-Z]", "", body))
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
    header, base, *_, random, selectit = check(made.text("table.tex"))
    assert header == ["arm", "mmlu", "gsm8k", "average", "difference"]
    assert base[2] == r"5.0\,{\scriptsize$\pm$\,1.5}$^{\downarrow}$" and base[4].startswith("$-$")
    assert selectit[2] == r"60.0\,{\scriptsize$\pm$\,3.5 (5)}$^{\uparrow}$" and random[0] == r"\emph{random}"
    text = made.text("table.tex")
    assert r"$\uparrow$ better, $\downarrow$ worse than the first baseline" in text and "Holm" in text


def test_holes_are_words_with_the_number_of_their_reason(world):
    made = world()
    for stage in made.stages("full", "evaluate", "gsm8k"):
        made.fail(stage, "RuntimeError: 100 % of {memory} gone_")
    made.change("base", "mmlu", complete=False, notes=["limit: 5 items"])
    made.report()
    cells = check(made.text("table.tex"))
    assert cells[2][2] == r"\textit{failed}$^{\mathrm{a}}$" and r"\dagger" in cells[1][1]
    assert r"$^{\mathrm{a}}$\,failed: RuntimeError: 100 \% of \{memory\} gone\_" in made.text("table.tex")


def test_names_that_would_break_the_table_are_escaped(world):
    made = world(arms=ARMS, baseline="base", description=NASTY)
    made.change(EVIL, "gsm8k", status="not_scored", value=None, reason=NASTY)
    cells = check(latex("na_me & co", NASTY, made.table()))
    assert {row[0] for row in cells} == {"arm", r"\emph{base}", escape(EVIL), escape(NASTY)}
    assert escape(r"a_b \ {") == r"a\_b \textbackslash{} \{"


def test_a_demonstration_says_so_in_the_caption(world):
    assert "They are not a result." in latex("demo", "A demo.", world(demonstration=True).table())
    assert "They are not a result." not in latex("demo", "A demo.", world().table())


def test_the_caption_is_short_and_the_notes_stand_under_the_table(world):
    made = world()
    made.report()
    above, under = made.text("table.tex").split(r"\begin{tabular}")
    assert "A recipe" in above and "the baseline row, with which the others are compared" in above
    assert all(r"All values are percent" not in line for line in above.splitlines())
    assert r"\footnotesize" in under and "All values are percent" in under and "Holm" in under
