"""No benchmark gives points for nothing: what is no answer, or another one, scores 0, and right answers 1.

Over made rows and the authors' whole files; those of mathematics and HumanEval are slow.
"""

import re

import pytest
from anti_oracle import GIBBERISH, items_of, wrong_answers

from selectit.config import BenchmarkConfig
from selectit.evaluate.benchmarks.files import in_data_folder
from selectit.evaluate.benchmarks.registry import benchmarks
from selectit.evaluate.grading import mathematics, programs, translation
from selectit.evaluate.grading.graders import grade_items
from selectit.evaluate.grading.kinds import Choices, Exported, FinalAnswers, Judged, Programs, Texts, Translations
from selectit.evaluate.grading.sandbox import unavailable
from selectit.evaluate.profile import load_profile
from selectit.evaluate.results import Item, choice_notes, choose

TEXTS = ("gsm8k", "bbh", "tydiqa", "mmlu_pro", "gpqa_diamond")
ELSEWHERE = ("ifeval", "truthfulqa")
"""In test_profile_2026.py."""
MATHEMATICS = ("math500", "minerva", "olympiadbench", "aime24", "amc23")
MADE = {
    "gsm8k": [
        {"question": "How many are 3 and 5?", "answer": "3 + 5 = 8\n#### 8"},
        {"question": "How much are 3 cars at $500?", "answer": "It is 3 * 500.\n#### 1,500"},
        {"question": "What is 4 less than 1?", "answer": "#### -3"},
    ],
    "bbh": [
        {"input": "Which?\nOptions:\n(A) red\n(B) blue", "target": "(A)"},
        {"input": "Which?\nOptions:\n(A) red\n(B) blue", "target": "(B)"},
        {"input": "Is it valid or invalid?\nOptions:\n- valid\n- invalid", "target": "invalid"},
        {"input": "Is it valid or invalid?\nOptions:\n- valid\n- invalid", "target": "valid"},
        {"input": "not True is", "target": "False"},
        {"input": "Is it so?\nOptions:\n- Yes\n- No", "target": "No"},
        {"input": "Is it plausible?", "target": "yes"},
        {"input": "((-1 + 2) * -12) =", "target": "-12"},
        {"input": "I have a cat and a dog. How many animals?", "target": "2"},
        {"input": "Complete. Input: < ( [", "target": "] ) >"},
        {"input": "Complete. Input: < [ ( {", "target": "} ) ] >"},
        {"input": "Sort. List: cat bat ant", "target": "ant bat cat"},
    ],
    "tydiqa": [
        {"id": "english-1", "question": "Where?", "answers": ["the Eiffel Tower"]},
        {"id": "finnish-1", "question": "Mikä?", "answers": ["Helsinki", "Espoo"]},
        {"id": "english-2", "question": "What?", "answers": ["..."]},
    ],
    "mmlu_pro": [
        {"question": "Which one is it?", "options": [f"{n} kg" for n in range(10)], "answer": "J"},
        {"question": "Which one is it, A or B?", "options": ["A lot", "I do not know", "C", "D"], "answer": "B"},
        {"question": "Which?\nA. red\nB. blue\nC. grey", "options": ["red", "blue", "grey"], "answer": "C"},
    ],
    "gpqa_diamond": [
        {"question": "Which (A) is it?", "options": ["(A) one", "two", "three", "four"], "answer": "A"},
        {"question": "Which is not it?", "options": ["one", "two", "three", "four"], "answer": "D"},
    ],
    "math500": [
        {"problem": "Write $\\frac{3}{20}$ as a decimal.", "final_answers": ["0.15"]},
        {"problem": "Find it.", "final_answers": ["4.5e33"]},
        {"problem": "Find it.", "final_answers": ["\\frac{1}{2}"]},
        {"problem": "Where?", "final_answers": ["$[1,2)$"]},
    ],
}


HUMANEVAL = benchmarks()["humaneval"].grading


def rows(name, data, task="", split="test"):
    return benchmarks()[name].read(in_data_folder(benchmarks()[name], data), task)[split]


def score(benchmark, docs, texts):
    items = items_of(docs, texts)
    grading = benchmarks()[benchmark].grading
    if isinstance(grading, Texts):
        grade_items(items, grading.graders[benchmark], grading.graders[benchmark].metrics[0])
    else:
        mathematics.score(items, "avg@1", lambda number: None)
    return items


def question_of(doc):
    return next(doc[key] for key in ("question", "input", "problem") if key in doc)


def check(benchmark, docs, unlike=()):
    """Args: unlike: kinds that are checked elsewhere."""
    right_answer = benchmarks()[benchmark].right_answer
    rights = score(benchmark, docs, [right_answer(doc) for doc in docs])
    assert [item.doc for item in rights if item.score != 1] == []
    for kind, texts in wrong_answers(docs, question_of, right_answer).items():
        chosen = [(doc, text) for doc, text in zip(docs, texts, strict=True) if text is not None]
        if not chosen or kind in unlike:
            continue
        items = score(benchmark, *zip(*chosen, strict=True))
        scored = [(kind, item.doc, item.outputs, item.answer) for item in items if item.score]
        assert scored == [], f"{len(scored)} of {len(items)}"
        if kind in ("empty", "blank"):
            assert {item.outcomes[0] for item in items} == {"unparsed"}


@pytest.mark.parametrize("benchmark", [*TEXTS, "math500"])
def test_what_is_not_an_answer_scores_nothing_and_what_is_right_scores_one(benchmark):
    docs = [doc for doc in MADE[benchmark] if doc.get("answers") != ["..."]]
    check(benchmark, docs, unlike=("gibberish",) if benchmark == "tydiqa" else ())


def test_an_answer_of_which_nothing_is_left_meets_no_gold():
    docs = [MADE["tydiqa"][2]] * 4
    assert [item.score for item in score("tydiqa", docs, ["", " ", "the", "?!"])] == [0, 0, 0, 0]
    assert [item.score for item in score("tydiqa", MADE["tydiqa"][:2], [GIBBERISH] * 2)] == [0, 0]


def test_every_benchmark_of_the_house_is_here():
    """Judged ones are what the judge says, and BigCodeBench is graded elsewhere."""
    for name, one in benchmarks().items():
        elsewhere = (Choices, FinalAnswers, Programs, Translations, Judged, Exported)
        known = name in TEXTS if isinstance(one.grading, Texts) else isinstance(one.grading, elsewhere)
        assert known or name in ELSEWHERE, name


def test_no_preference_among_choices_is_worth_chance_and_is_counted():
    items = [Item("t", n, {}, "", [-1.0] * 4, None, "ABCD"[n % 4], None) for n in range(8)]
    for item in items:
        choose(item)
    assert {item.score for item in items} == {0.25} and {item.answer for item in items} == {None}
    assert choice_notes(items) == ["8 of 8 items count as drawn by chance: all their choices are equally probable"]
    first = Item("t", 0, {}, "", [-2.0, -1.0, -1.0, -3.0], None, "B", None)
    choose(first)
    assert (first.answer, first.score, choice_notes([first])) == ("B", 1.0, [])


@pytest.mark.parametrize(("name", "worth"), [("mmlu", None), ("gsm8k", 0.0), ("bbh", 0.0), ("tydiqa", 0.0)])
def test_a_model_that_answers_nothing_gets_nothing_in_a_whole_evaluation(evaluate, oracle, monkeypatch, name, worth):
    monkeypatch.setattr(oracle, "answer", lambda doc: "")
    monkeypatch.setattr(oracle, "choose", lambda doc: -1)
    metrics, _ = evaluate(name)
    assert metrics["value"] == (0.25 if worth is None else worth)


def test_a_translation_of_nothing_is_worth_nothing():
    docs = [
        {"id": str(n), "source": text, "reference": text}
        for n, text in enumerate(["Der Hund schläft heute", "Es regnet morgen sehr"])
    ]
    worth = {}
    for kind, texts in {
        "right": [doc["reference"] for doc in docs], "empty": ["", ""], "blank": [" \n", " "],
        "gibberish": [GIBBERISH] * 2, "next": ["Es regnet morgen sehr", "Der Hund schläft heute"],
    }.items():  # fmt: skip
        worth[kind] = translation.score(items_of(docs, texts), Translations("en", "de"), None)[0]["bleu"].value
    assert worth.pop("right") == pytest.approx(1) and all(value < 0.1 for value in worth.values()), worth
    assert worth["empty"] == worth["blank"] == 0


ADD = {
    "task_id": "T/0", "prompt": 'def add(a, b):\n    """The sum of a and b."""\n', "entry_point": "add",
    "canonical_solution": "    return a + b\n",
    "test": "def check(candidate):\n    assert candidate(1, 2) == 3\n    assert candidate(-1, 1) == 0\n",
}  # fmt: skip
NEXT = "    return max(a, b)\n"


def wrong_programs(doc, other):
    return ["", " \n", GIBBERISH, other, doc["canonical_solution"].replace("+", "-"), doc["prompt"], "    pass\n"]


def test_a_program_that_does_nothing_passes_nothing():
    if unavailable("bwrap"):
        pytest.skip("bubblewrap is not here")
    texts = wrong_programs(ADD, NEXT)
    items = items_of([ADD] * (len(texts) + 1), [*texts, ADD["canonical_solution"]])
    found = programs.score(items, HUMANEVAL, [1], "pass@1", "bwrap", lambda number: None)
    assert [item.score for item in items] == [0.0] * len(texts) + [1.0] and found["pass@1"].num_items == len(items)


def test_whole_gsm8k(data):
    check("gsm8k", rows("gsm8k", data))


@pytest.mark.parametrize("path", range(27))
def test_whole_bbh(data, path):
    task = sorted((data / "bbh").glob("*.json"))[path].stem
    check("bbh", rows("bbh", data, task))


@pytest.mark.slow
@pytest.mark.parametrize("benchmark", MATHEMATICS)
def test_whole_mathematics(data, benchmark):
    check(benchmark, rows(benchmark, data))


@pytest.mark.slow
def test_whole_humaneval(data):
    docs = rows("humaneval", data)
    texts = ["", GIBBERISH, "    pass\n", None, None]
    cases = []
    for n, doc in enumerate(docs):
        other = docs[(n + 1) % len(docs)]["canonical_solution"]
        cases += [(doc, text) for text in (*texts[:3], doc["prompt"], other)]
    items = items_of(*zip(*cases, strict=True))
    programs.score(items, HUMANEVAL, [1], "pass@1", "bwrap", lambda number: None)
    assert [(item.doc["task_id"], item.outputs) for item in items if item.score] == []


def test_one_choice_for_all_is_worth_about_chance_over_whole_files(data):
    """What a model gets that always says the same letter, of the authors' files: from 0.18 to 0.32."""
    files = {
        "mmlu": [row for path in (data / "mmlu" / "test").glob("*.csv")
                 for row in rows("mmlu", data, re.sub("_test$", "", path.stem))],
        "medqa": rows("medqa", data),
        "medmcqa": rows("medmcqa", data, split="validation"),
    }  # fmt: skip
    for name, docs in files.items():
        for chosen in range(4):
            share = sum(benchmarks()[name].right_answer(doc) == chosen for doc in docs) / len(docs)
            assert 0.15 < share < 0.35, (name, chosen, share)


def test_no_profile_but_those_of_released_scripts_names_a_grader():
    for name in ("full", "miniature", "mathematics", "medical", "code", "chat", "translation", "2026"):
        entries: list[BenchmarkConfig] = list(load_profile(name).benchmarks.values())
        assert {entry.grader for entry in entries} == {None}
