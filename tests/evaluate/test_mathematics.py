"""The mathematics benchmarks in their authors' layouts, and answers that math-verify must not hang on."""

import json

import pytest

from selectit.errors import UserError
from selectit.evaluate.benchmarks.final_answers import last_boxed
from selectit.evaluate.grading import mathematics
from selectit.evaluate.grading.mathematics import grade_all
from selectit.evaluate.profile import load_profile

UPSTREAM = {
    "math500": [
        {"problem": "What is half of 1?", "solution": "It is $\\boxed{\\frac{1}{2}}$.", "answer": "\\frac{1}{2}",
         "subject": "Algebra", "level": 1, "unique_id": "test/algebra/1.json"},
        {"problem": "Which point?", "solution": "Here: $\\boxed{(3, 4)}$.", "answer": "(3, 4)", "subject": "Geometry",
         "level": 2, "unique_id": "test/geometry/2.json"},
    ],
    "minerva": [
        {"problem": "How many radians?", "type": "Physics", "idx": 0,
         "solution": "First $\\boxed{1}$ is wrong, so $\\boxed{\\frac{\\pi}{2}}$."},
        {"problem": "Which mass?", "type": "Physics", "idx": 1, "solution": "The mass is $\\boxed{2.5}$."},
    ],
    "olympiadbench": [
        {"id": 1, "question": "Find x + 1.", "final_answer": ["$x+1$"], "is_multiple_answer": False},
        {"id": 2, "question": "Find the number.", "final_answer": ["7"], "is_multiple_answer": False},
    ],
    "aime24": [{"id": 60, "problem": "Find it.", "answer": "204"}, {"ID": "2024-I-2", "Problem": "?", "Answer": 25}],
    "amc23": [{"id": 0, "question": "How many?", "answer": 27.0}, {"id": 1, "question": "And?", "answer": "3159.0"}],
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    for name, rows in UPSTREAM.items():
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "data"


def read(out, name):
    return [json.loads(line) for line in (out / name).read_text().splitlines()]


@pytest.mark.parametrize("benchmark", UPSTREAM)
def test_the_oracle_is_right_on_every_set_of_problems(oracle, evaluate, folder, benchmark):
    metrics, out = evaluate(benchmark, profile="mathematics", data=str(folder))
    assert metrics["value"] == 1.0 and metrics["num_items"] == 2
    result = json.loads((out / "result.json").read_text())
    assert result["status"] == "scored" and result["complete"] and result["notes"] == []
    assert oracle.prompts[0].startswith("<alpaca>") and "within \\boxed{}." in oracle.prompts[0]


def test_samples_are_averaged_per_problem_before_the_error_is_taken(oracle, evaluate, folder):
    said = iter(["\\boxed{204}"] * 4 + ["\\boxed{203}"] * 12 + ["The answer is 25."] * 8 + ["I cannot say"] * 8)
    oracle.answer = lambda doc: next(said)
    metrics, out = evaluate("aime24", profile="mathematics", data=str(folder))
    assert metrics["value"] == pytest.approx((0.25 + 0.5) / 2)
    assert metrics["stderr"] == pytest.approx(0.25 / 2**0.5 / 2**0.5)  # of two problems, not of 32 answers
    first, second = read(out, "items.jsonl")
    assert first["score"] == 0.25 and first["right"][:5] == [True] * 4 + [False]
    assert second["reasons"][-1] == "no final answer was found" and second["source_id"] == "2024-I-2"


def test_what_math_verify_cannot_finish_is_wrong_and_the_next_answer_is_graded(monkeypatch):
    monkeypatch.setattr(mathematics, "LIMITS", {"seconds": 1, "last_seconds": 2})
    endless, raises = "\\boxed{10^{10^{10}}}", "$" + "{" * 3000 + "$"
    grades = grade_all(
        [(("5",), endless), (("5",), "\\boxed{5}"), (("5",), raises), (("5",), "5")], lambda number: None
    )
    assert [grade.right for grade in grades] == [False, True, False, True]
    assert grades[0].reason == "timed out"


HBAR = r"\hbar \omega(v+1 / 2)-\frac{E_{0}^{2} e^{2}}{2 m \omega^{2}}"
CUT_IN_TWO = "x_{0} \\cos (\\omega t)+$ $\\dot{x}_{0} \\sin (\\omega t) / \\omega"
COMPARED = [
    ("4.5e33", [r"4.5 \times 10^{33}", "4.5e33", "4.5E+33"], ["4.5 e 33", "4.5*e*33", r"4.5 \times 10^{32}"]),
    ("1.325e-27", [r"1.325\times 10^{-27}"], [r"4\times 10^{-27}", "0"]),
    ("1e-5", ["0.00001", "10^{-5}"], ["e-5"]),
    (r"\frac{1}{2^{99}}", ["2^{-99}"], [r"\frac{1}{2^{98}}", "0"]),
    ("-1./3", [r"-\frac{1}{3}"], ["-1"]),
    ("np.arcsin(10/13)", [r"\arcsin(10/13)", r"\sin^{-1}(\frac{10}{13})"], [r"\arccos(10/13)"]),
    (r"\frac{1}{m} t", [r"\frac{t}{m}"], [r"\frac{1}{m}"]),
    (r"\frac{1}{\sqrt{2}}c", [r"\frac{c}{\sqrt{2}}"], [r"\frac{1}{\sqrt{2}}"]),
    ("$6m$", ["6m"], ["6"]),
    (r"\varnothing", [r"\emptyset"], ["0"]),
    (r"\emptyset", [r"\varnothing", r"\{\}"], []),
    (r"(2,\infty)", ["x>2"], [r"x\ge 2"]),
    ("[-2,7]", [r"-2\le x\le 7"], [r"-2\le x< 7"]),
    ("$221,$8$", ["221, 8"], ["221"]),
    (r"$(-\infty, 0) \cup\{1\}$.", [r"(-\infty,0)\cup\{1\}"], [r"(-\infty,0)"]),
    ("$t(0,4]$", ["(0,4]", r"0<t\le 4"], ["(0,4)"]),
    (CUT_IN_TWO, [r"x_0\cos(\omega t)+\frac{\dot{x}_0}{\omega}\sin(\omega t)"], [r"x_0\cos(\omega t)"]),
    (HBAR, [HBAR], ["2"]),
    (r"m_{p} c^{2}\left(\gamma^{2}-1\right)", [r"m_p c^2(\gamma^2-1)"], ["m_p c^2", r"m_p c^2(\gamma^2+1)"]),
    (r"\frac{1}{3} E_{1}+\frac{2}{3} E_{2}", [r"\frac{E_1+2E_2}{3}"], [r"\frac{E_1+E_2}{3}"]),
    (r"$m_{\max }=n^{2}-n-1$", ["n^2-n-1"], ["n^2-n"]),
    (".35625", ["0.35625", ".35625", r"\frac{57}{160}"], ["35625"]),
    (".0000672", ["6.72e-5", ".0000672"], ["672", "0.000672"]),
    (r"\$18.90", [r"\$18.90", "18.90", "18.9"], ["90", r"\$1890"]),
    (r"\$32,\!348", [r"\$32,348", r"\$32{,}348", "32348"], ["32", "348"]),
    ("12", [r"\$12"], [r"12 \text{ or } 13", "13, 12"]),
    ("2516_8", ["2516_8", "2516_{8}", "2516"], ["2516_9", "2517_8"]),
    ("70000", ["70 000", r"70\,000", r"70\ 000 \text{ cm}", r"70 \text{ thousand}"], ["70", r"7 \text{ thousand}"]),
    ("5", ["5.", "\u221a25"], [r"\neq 5", r"\ge 5", r"\leq 5", r"5 \text{ million}"]),
    ("5", [r"5 \text{ hours}"], [r"5 \text{ hours } 30 \text{ minutes}"]),
    ("-2", ["\u22122", "\u20132"], ["2"]),
    (r"x \ge 5", [r"x \geq 5", r"[5,\infty)"], ["5", "x > 5"]),
    (r"864 \mbox{ inches}^2", ["864", r"864\text{ square inches}"], ["86"]),
]  # fmt: skip


def test_golds_mean_what_they_state_and_gaps_of_math_verify_are_closed():
    asked = [(gold, answer, True) for gold, right, _ in COMPARED for answer in right]
    asked += [(gold, answer, False) for gold, _, wrong in COMPARED for answer in wrong]
    grades = grade_all(
        [((gold,), f"So it is $\\boxed{{{answer}}}$.") for gold, answer, _ in asked], lambda number: None
    )
    assert [(*one, grade.right) for one, grade in zip(asked, grades, strict=True) if one[2] != grade.right] == []


def test_two_numbers_in_a_sentence_are_two_answers():
    asked = [
        ("12", "<answer>12</answer>"),
        ("12", "The answer is 12 or 13."),
        ("12, 13", "The answer is 12 or 13."),
        ("12", "The answer is 12."),
    ]
    grades = grade_all([((gold,), text) for gold, text in asked], lambda number: None)
    assert [grade.right for grade in grades] == [True, False, True, True]


def test_known_gaps_of_math_verify():
    """Docs name these: an answer that means the gold and gets nothing, and one that gets a point for nearly nothing."""
    asked = [("5", "5 (five)"), (r"\text{Monday}", "Day 1"), ("5", r"5\%"), ("(3,4)", "3,4"), ("7", "8=7")]
    grades = grade_all([((gold,), f"$\\boxed{{{answer}}}$") for gold, answer in asked], lambda number: None)
    assert [grade.right for grade in grades] == [False, False, True, True, True]


def test_a_problem_that_is_repeated_is_not_an_answer(oracle, evaluate, folder):
    row = {"problem": "Write $\\frac{3}{20}$ as a decimal.", "answer": "0.15", "solution": "", "unique_id": "x"}
    (folder / "math500" / "test.jsonl").write_text(json.dumps(row) + "\n")
    oracle.answer = lambda doc: doc["problem"]
    metrics, out = evaluate("math500", profile="mathematics", data=str(folder))
    (item,) = read(out, "items.jsonl")
    assert metrics["value"] == 0 and item["outcomes"] == ["unparsed"]


def test_a_reference_that_is_not_a_formula_is_reported(oracle, evaluate, folder):
    path = folder / "olympiadbench" / "test.jsonl"
    path.write_text(json.dumps({"id": 1, "question": "Which?", "final_answer": ["$ $"]}) + "\n")
    metrics, out = evaluate("olympiadbench", profile="mathematics", data=str(folder))
    assert metrics["value"] == 0
    (note,) = json.loads((out / "result.json").read_text())["notes"]
    assert note.startswith("1 of 1 items count as wrong whatever is answered") and note.endswith("item 0")


def test_without_math_verify_the_extra_is_named_before_anything_is_generated(oracle, evaluate, folder, monkeypatch):
    monkeypatch.setattr(mathematics, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"selectit\[math\]"):
        evaluate("math500", profile="mathematics", data=str(folder))
    assert oracle.prompts == []


def test_a_row_without_an_answer_is_named(oracle, evaluate, folder):
    (folder / "minerva" / "test.jsonl").write_text(json.dumps({"problem": "x", "solution": "no box"}) + "\n")
    with pytest.raises(UserError, match=r"minerva/test.jsonl, item 1: needs problem"):
        evaluate("minerva", profile="mathematics", data=str(folder))
    assert last_boxed("\\boxed{a} and \\boxed{b^{2}}") == "b^{2}" and last_boxed("none") is None


def test_the_metric_names_its_number_of_samples(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("benchmarks:\n  aime24: {metric: avg@8, num_samples: 4}\n  gsm8k: {metric: x, num_samples: 2}\n")
    with pytest.raises(UserError) as error:
        load_profile(str(path))
    for part in ("'avg@8' is not one of avg@4", "aime24.temperature", "gsm8k.num_samples"):
        assert part in str(error.value), part
