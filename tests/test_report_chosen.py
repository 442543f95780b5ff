"""What the report says of the chosen rows: lengths, calculations, overlap with benchmarks, readings of the method."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from test_report import EVIL, NUM_ROWS, World, row_id

from selectit.config import PoolConfig
from selectit.plan.outcome import Outcome
from selectit.report.sections.composition import is_calculation, rank_correlation, ranked
from selectit.report.sections.contamination import NUM_WORDS, Grams, own_prompts
from selectit.report.sections.fidelity import fidelities
from selectit.report.tables.subsets import read_subsets
from selectit.report.tables.texts import RowText, read_texts
from selectit.scoring.formula import sentence_scores, token_scores
from selectit.scoring.ledger import SCHEMA
from selectit.selection.ranking import ranking


@pytest.fixture
def world(tmp_path, demo, monkeypatch):
    monkeypatch.setattr("selectit.report.contents.draw", lambda *_: [])  # test_report.py has the plots
    return lambda **changes: World(tmp_path, demo, **changes)


def cells(text: str, heading: str) -> dict[str, list[str]]:
    """First cell -> the others, of the table under a heading of report.md."""
    lines = text.split(f"## {heading}\n")[1].split("\n#")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("| ")]
    return {row[0]: row[1:] for row in rows[2:]}


@pytest.mark.parametrize(
    ("instruction", "response", "reported"),
    [
        ("What is 12 * 7?", "84", True),
        ("Solve for x given 2x = 8.", "x is 4.", True),
        ("How many days are in 3 weeks?", "21", True),
        ("Sum up the plot.", "It was 3 + 4 years ago.", False),  # no digit in the instruction
        ("Who was born on 1990-05-03?", "I do not know.", False),
        ("Name 3 rivers.", "Rhine, Elbe, Oder", False),
        ("Tom has 3 apples and gets 4.", "He has 3 + 4 = 7.", True),
    ],
)
def test_a_calculation_row_follows_the_documented_rule(instruction, response, reported):
    assert is_calculation(RowText(instruction, response)) is reported


def test_rank_correlation_leaves_out_unscored_rows_and_constant_scores():
    scores = np.array([1.0, 2.0, 3.0, np.nan, 4.0])
    assert rank_correlation(scores, np.array([1, 4, 9, 0, 16])) == pytest.approx(1.0)
    assert rank_correlation(scores, np.array([4, 3, 2, 100, 1])) == pytest.approx(-1.0)
    assert rank_correlation(np.ones(5), np.arange(5)) is None


def test_lengths_calculations_and_overlap_of_each_arm_are_reported(world):
    made = world()
    made.report()
    chosen = cells(made.text("report.md"), "Selected rows")
    assert chosen["selectit"][3] == "50.00 %"  # rows 0 to 3 of 8; row 2 asks how many, of number 17
    assert chosen["selectit"][4] == "−1.00"  # lower scores are longer in this world
    overlap = cells(made.text("report.md"), "Rows that overlap with a benchmark")
    assert overlap == {"full": ["2.50 %"] * 2, "random": ["12.50 %"] * 2, "selectit": ["12.50 %"] * 2}
    lines = [x for x in made.results() if x["row"] == "selectit"]
    assert {x["overlapping_rows"] for x in lines} == {"1"}
    assert {x["overlapping_rows"] for x in made.results() if x["row"] == "base"} == {""}
    assert "mmlu 200 of 200" in made.text("report.html")


def test_a_drawn_arm_has_no_correlation_and_no_rows_to_read(world):
    made = world(arms={
        "selectit": {"select": {"strategy": "selectit"}}, "random": {"select": {"strategy": "random"}},
        "matched": {"select": {"strategy": "random_matched", "match": "selectit"}},
    }, baseline="selectit")  # fmt: skip
    made.report()
    chosen = cells(made.text("report.md"), "Selected rows")
    assert [chosen[arm][4] for arm in ("selectit", "random", "matched")] == ["−1.00", "–", "–"]
    assert [s.row.label for s in ranked(read_subsets(made.plan, made.outcomes))] == ["selectit"]


WORDS = [f"w{i}" for i in range(40)]


def test_thirteen_words_in_a_row_are_found():
    texts = [
        ["x", *WORDS[5 : 5 + NUM_WORDS], "y"],  # 13 words
        WORDS[5 : 4 + NUM_WORDS],  # 12 words
        [*WORDS[5:11], "x", *WORDS[11:18]],  # 13 words, broken
        WORDS[:20][::-1],  # the same words, another order
        [],
        WORDS[7:20],
    ]
    assert Grams(texts).overlapping([WORDS[:20], ["too", "short"]]).tolist() == [0, 5]


def test_ngrams_do_not_run_from_one_text_into_the_next():
    split = [WORDS[:6], WORDS[6:NUM_WORDS]]
    assert Grams(split).overlapping([WORDS]).tolist() == Grams([WORDS]).overlapping(split).tolist() == []
    assert Grams([]).overlapping([WORDS]).tolist() == Grams([WORDS]).overlapping([]).tolist() == []


def test_ngrams_agree_with_a_plain_search_on_random_texts():
    generator = np.random.default_rng(3)
    texts = [[f"w{i}" for i in generator.integers(0, 2, 40)] for _ in range(60)]
    items = [[f"w{i}" for i in generator.integers(0, 2, 60)] for _ in range(40)]

    def grams(words):
        return {tuple(words[i : i + NUM_WORDS]) for i in range(len(words) - NUM_WORDS + 1)}

    known = set().union(*(grams(item) for item in items))
    plain = [at for at, words in enumerate(texts) if grams(words) & known]
    assert 0 < len(plain) < 60 and Grams(texts).overlapping(items).tolist() == plain


def test_worked_examples_are_not_part_of_an_item(tmp_path):
    path = tmp_path / "items.jsonl"
    shots = "Q: one two three\nA: four\n\nQ: "
    prompts = [("a", f"{shots}first question"), ("a", f"{shots}fifth question"), ("b", "alone")]
    path.write_text("".join(json.dumps({"task": t, "prompt": p, "score": 1}) + "\n" for t, p in prompts))
    assert own_prompts(path) == ["first question", "fifth question", "alone"]
    path.write_text("")
    assert own_prompts(path) == []


def test_samples_come_from_top_middle_and_bottom_and_name_rows_without_text(world):
    made = world(arms={"base": {"finetune": {"method": "none"}}, "selectit": {"select": {"strategy": "selectit"}}},
                 baseline="base")  # fmt: skip
    made.report()
    page = made.text("report.html")
    assert "Sample rows" in page and page.count('<th scope="row">top</th>') == 3
    assert f"Answer 0 {EVIL}" not in page and "Answer 0 &lt;script&gt;" in page
    assert "row38: no arm selected this row, so its text is not available" in page


def test_a_full_arm_brings_the_texts_of_all_arms(world):
    made = world()
    subsets = read_subsets(made.plan, made.outcomes)
    [texts] = read_texts(subsets).values()
    assert len(texts) == NUM_ROWS and isinstance(next(iter(read_texts(subsets))), PoolConfig)


def write_ledger(made) -> np.ndarray:
    """Ratings that the three readings of the method rank differently; float64 [num_rows, num_prompts, 5]."""
    [stage] = made.stages("selectit", "score")
    probabilities = np.random.default_rng(2).dirichlet(np.full(5, 0.5), (NUM_ROWS, 5)) * 0.9
    records = [
        {
            "row_id": row_id(i), "prompt": k, "probabilities": probabilities[i, k].tolist(), "mass": 0.9,
            "num_tokens": 9, "truncated": False, "failure": None,
        }
        for i in range(NUM_ROWS) for k in range(5)
    ]  # fmt: skip
    parquet.write_table(pa.Table.from_pylist(records, SCHEMA), made.outcomes[stage].artifact.path / "ledger.parquet")
    return probabilities


def test_fidelities_are_cut_from_the_ledger_and_the_arms_own_is_checked_against_its_subset(world):
    made = world()
    probabilities = write_ledger(made)
    [select] = made.stages("selectit", "select")
    path = made.outcomes[select].artifact.path / "scores.jsonl"
    tops = {
        name: set(ranking(sentence_scores(token_scores(probabilities, name), 0.2))[:8])
        for name in ("paper", "released_code", "corrected")
    }
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    reported = [{**x, "selected": x["row"] in tops["corrected"], "score": 1.0} for x in lines]
    path.write_text("".join(json.dumps(line) + "\n" for line in reported))
    [row] = fidelities(made.outcomes, read_subsets(made.plan, made.outcomes)).rows
    shared = len(tops["paper"] & tops["corrected"]) / len(tops["paper"] | tops["corrected"])
    assert row[:2] == ("selectit", "corrected") and row[3] == f"{shared:.2f}" != "1.00"
    assert row[4] == "1.00"  # with K = 5 the released code sums over all ratings
    path.write_text("".join(json.dumps({**line, "score": 1.0}) + "\n" for line in lines))
    [row] = fidelities(made.outcomes, read_subsets(made.plan, made.outcomes)).rows
    assert row[1] == "corrected; the ledger gives others"


def test_a_reading_without_a_result_is_a_dash_and_a_lost_ledger_no_line(world):
    made = world(arms={"base": {"finetune": {"method": "none"}}, "selectit": {
        "select": {"strategy": "selectit", "num_rating_prompts": 6}}}, baseline="base")  # fmt: skip
    subsets = read_subsets(made.plan, made.outcomes)
    [row] = fidelities(made.outcomes, subsets).rows
    assert (row[2], row[4]) == ("–", "–") and row[3] != "–"
    [score] = made.stages("selectit", "score")
    assert fidelities({**made.outcomes, score: Outcome(None, reason="gone")}, subsets).rows == ()
