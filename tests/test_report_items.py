"""The items that a reader of the page can open: which ones, with which texts, and how many at most."""

from __future__ import annotations

import json

import numpy as np
import pytest
from test_report import EVIL, Page, World

from selectit.report.sections import differing as differing_page
from selectit.report.tables.item_texts import chosen, differing, read_pairs, shortened
from selectit.statistics.items import ItemScores


@pytest.fixture
def world(tmp_path, demo, monkeypatch):
    monkeypatch.setattr("selectit.report.contents.draw", lambda *_: [])  # test_report_plots.py has the plots
    return lambda **changes: World(tmp_path, demo, **changes)


def scores(*values: float, task: str = "t") -> ItemScores:
    return ItemScores(tuple((task, at) for at in range(len(values))), np.array(values, dtype=float))


def test_items_are_joined_by_task_and_id_and_those_without_a_score_are_left_out():
    found = differing(scores(1, 0, 1, np.nan, 1), scores(0, 1, 1, 1))
    assert found.keys == (("t", 0), ("t", 1), ("t", 2))
    assert (found.higher, found.lower) == ((("t", 0),), (("t", 1),))


def test_items_are_taken_from_both_sides_and_from_all_tasks():
    found = differing(scores(*[1] * 90, *[0] * 10), scores(*[0] * 90, *[1] * 10))
    taken = [at for _, at in chosen(found, 8)]
    assert len(taken) == 8 and [at >= 90 for at in taken] == [False] * 4 + [True] * 4
    assert taken[3] - taken[0] > 60  # spread over the items
    assert len(chosen(differing(scores(1, 1, 1), scores(0, 0, 1)), 8)) == 2
    only_one_below = differing(scores(*[1] * 20, 0), scores(*[0] * 20, 1))
    assert len(chosen(only_one_below, 8)) == 8


def test_of_scores_between_0_and_1_the_largest_differences_are_taken():
    found = differing(scores(0.1, 0.9, 0.2, 0.5), scores(0, 0, 0, 0))
    assert [at for _, at in chosen(found, 2)] == [1, 3]


def write(path, lines) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_texts_are_those_of_the_items_and_show_what_was_cut(tmp_path):
    shared = "Answer these.\n\nQ: 1+1?\nA: 2\n\n"
    line = {"task": "t", "target": "4", "score": 1.0}
    ours = [
        {**line, "item_id": at, "prompt": f"{shared}Q: {question}", "outputs": ["It is 4."], "answer": "4"}
        for at, question in enumerate(("two and two?", "one and three?"))
    ]
    theirs = [{**one, "outputs": ["x" * 2000], "answer": None, "score": 0.0} for one in ours]
    write(tmp_path / "a.jsonl", ours)
    write(tmp_path / "b.jsonl", theirs)
    [pair] = read_pairs(tmp_path / "a.jsonl", tmp_path / "b.jsonl", [("t", 1)])
    assert pair.prompt == "Q: one and three?" and pair.target == "4"
    assert (pair.ours.text, pair.ours.read_as, pair.ours.score) == ("It is 4.", "4", 1.0)
    assert "1,500 characters" in pair.theirs.text and len(pair.theirs.text) < 600
    [whole] = read_pairs(tmp_path / "a.jsonl", tmp_path / "b.jsonl", [("t", 1)], whole=True)
    assert whole.prompt == f"{shared}Q: one and three?" and len(whole.theirs.text) == 2000
    assert shortened("a" * 10, 4) == "aa\n[... 6 characters ...]\naa"


def test_choices_are_shown_with_their_log_probabilities(tmp_path):
    line = {"task": "t", "item_id": 0, "prompt": "Q", "outputs": [-1.25, -0.5], "answer": "B", "target": "B"}
    write(tmp_path / "a.jsonl", [{**line, "score": 1.0}])
    write(tmp_path / "b.jsonl", [{**line, "outputs": [["B", -0.1]], "score": 1.0}])
    [pair] = read_pairs(tmp_path / "a.jsonl", tmp_path / "b.jsonl", [("t", 0)])
    assert pair.ours.text == "B (log-probabilities -1.25, -0.50)" and pair.ours.read_as == ""
    assert pair.theirs.text == "B (log-probabilities 'B' -0.10)"


def test_the_page_opens_the_items_on_which_a_row_and_its_baseline_differ(world):
    made = world()
    made.report()
    text = made.text("report.html")
    # seed 1: full answers 60 items of mmlu, random 56, the same ones
    assert "mmlu: full scores higher on 4, lower on 0 of 200 items" in text
    assert "gsm8k: full scores higher on 0, lower on 4 of 200 items" in text
    full = text[text.index("full against random") : text.index("selectit against random")]
    shown = [at for at in range(200) if f"what is number {at} of the long list" in full]
    assert shown == [*range(20, 24), *range(56, 60)]
    assert "full against random" in text and "random against" not in text
    page = Page(text)
    assert "script" not in page.tags and "details" in page.tags and f"right {EVIL}" not in text


def test_rows_that_were_asked_otherwise_are_not_shown_item_by_item(world):
    made = world()
    for stage in made.stages("full", "evaluate"):
        made.outcomes[stage].artifact.manifest["identity"]["config"]["data"] = {"sha256": "other"}
    made.report()
    assert "full against random" not in made.text("report.html")


def test_what_the_page_shows_of_items_is_bounded_and_reports_it(world, monkeypatch):
    monkeypatch.setattr(differing_page, "MOST_PAIRS", 2)
    made = world()
    made.change("selectit", "mmlu", value=0.9)
    made.report()
    text = made.text("report.html")
    assert text.count('class="pair"') == 2 and "1 more pairs of rows are not shown" in text
    assert "at most 8 items for each benchmark and pair of rows" in text
    for part in text.split('class="benchmark"')[1:]:
        assert part.split("</details>")[0].count('class="item"') <= 8
