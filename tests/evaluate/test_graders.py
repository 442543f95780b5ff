"""Answers read out of texts: what is meant counts, and where nothing can be read there is no point."""

import json
import time

import pytest

from selectit.errors import UserError
from selectit.evaluate.benchmarks.files import in_data_folder
from selectit.evaluate.benchmarks.registry import benchmarks
from selectit.evaluate.grading.bbh_answers import grade_bbh
from selectit.evaluate.grading.graders import grade_items, grader_of
from selectit.evaluate.grading.number_answers import grade_gsm8k
from selectit.evaluate.grading.span_answers import grade_tydiqa
from selectit.evaluate.profile import load_profile
from selectit.evaluate.results import Item

GSM8K = benchmarks()["gsm8k"]
EMPTY = ["", " ", "\n\n", "[invalid]", "I do not know", "qwe rty uio", "...", "?!"]


def gsm8k(text, gold="8"):
    return grade_gsm8k(text, {"answer": f"Because.\n#### {gold}"})


def bbh(text, gold, question=""):
    return grade_bbh(text, {"input": question, "target": gold})


@pytest.mark.parametrize(
    ("text", "gold"),
    [
        ("The answer is 8...", "8"),
        ("So it is 15. ... Done", "15"),
        ("That makes 122; (a), (b), ..", "122"),
        ("The answer is $1,234.50.", "1234.5"),
        ("The answer is -3.", "-3"),
        ("The answer is −3", "-3"),
        ("The answer is -$3.", "-3"),
        ("The answer is 8. The next question has 12 apples and 7 pears.", "8"),
        ("5 + 3 = 8", "8"),
        ("11 - 3 is 8", "8"),
        ("The answer is 5 + 3 = 8 apples.", "8"),
        ("The answer is 16/2.", "8"),
        ("**Answer:** **18** dollars", "18"),
        (r"so $\boxed{2{,}125}$", "2,125"),
        ("#### 1,450,000", "1,450,000"),
        ("The answer is 8.0", "8"),
        ("Answer: 1 1/2 hours", "1.5"),
        ("She pays Rs.500", "500"),
        ("The answer is minus 8.", "-8"),
        ("The answer is $70 thousand.", "70000"),
        ("He made $70k", "70000"),
        ("The answer is 8 because 10 - 2 = 8 and 3 = 3", "8"),
        ("The answer is 8 (4*2=8 and 1=1)", "8"),
        ("The answer is 8 = 4 * 2", "8"),
        ("Answer: 4 eggs times 2 dollars is 8 dollars", "8"),
        (r"The answer is: $4 \times \$2 = \$8$", "8"),
        ("The answer is 1.5 or 3/2", "1.5"),
        ("The answer is 8 hours and 0 minutes.", "8"),
        ("The answer is not 9 but 8", "8"),
        ("The correct option is 8.", "8"),
        ("The answer is 70 000.", "70000"),
        ("70\u2009000 dollars", "70000"),
        ("The answer is 1 234 567", "1234567"),
        ("The answer is 70'000 or 70_000", "70000"),
        ("Total: 1.080,50", "1080.5"),
        ("The answer is - 18.", "-18"),
        ("The answer is $ - 18$", "-18"),
        (r"\boxed{- 18}", "-18"),
        ("The answer is -(18)", "-18"),
        ("Answer:\n- 18 apples", "18"),
        ("20 - 2 makes 18", "18"),
        ("So she has 8 apples.\nStep 3: Done.", "8"),
        ("**Step 1:** 3 + 5 = 8\n\n#### Step 2: It is 8.\nAs shown in step 1.", "8"),
        ("It makes 8:\n\n1. Add them.\n2. Count them.", "8"),
        ("To answer this question, we see that there are: 3 dogs and 5 cats. So 8.", "8"),
        ("Let me answer the question: 3 + 5 = 8, and 8 + 8 = 16", "16"),
        ("The answer must be 8, as 5 + 3 is.", "8"),
        ("The answer is that it is 8", "8"),
        ("### Answer\n\n8 of 10", "8"),
        ("<answer>8</answer> in 3 steps", "8"),
        ("The answer is 8 hours and 30 minutes", "8.5"),
        ("The answer is 5 dollars, 50 cents", "5.5"),
        ("The answer is 8\u00bd", "8.5"),
        ("The answer is 8 and a half", "8.5"),
        (r"The answer is $1.5 \times 10^3$", "1500"),
        ("The answer is 20% of 40 = 8", "8"),
        ("The answer is 1/4 of 32, which is 8", "8"),
        ("The answer is 2x4=8", "8"),
        ("The answer is 8:00", "8"),
        ("So it is 8, not 9.", "8"),
        ("The answer is $8M", "8000000"),
    ],
)
def test_gsm8k_reads_numbers_as_they_are_meant(text, gold):
    assert gsm8k(text, gold).score == 1


@pytest.mark.parametrize(
    ("text", "gold"),
    [
        ("The answer is -8.", "8"),
        ("The answer is 8.", "-8"),
        ("The answer is 8.5", "8"),
        ("The answer is 1 1/2", "1"),
        ("The answer is 80", "8"),
        ("The answer is 2125", "2,126"),
        ("The answer is 3/8.", "3"),
        ("The answer is minus 8.", "8"),
        ("The answer is 8 or 9", "8"),
        ("The answer is 8 dollars or 9 dollars", "8"),
        ("The answer is 8 or 9", "9"),
        ("The answer is 8, 9, 10", "8"),
        ("The answer is 8 + 2", "8"),
        ("The answer is 8 - 10", "10"),
        ("The answer is 8 million", "8"),
        ("The answer is not 8.", "8"),
        ("The answer is definitely not 8", "8"),
        ("It cannot be 8", "8"),
        ("So it is 7, not 8.", "8"),
        ("The answer is - 8", "8"),
        ("The answer is 8 hours 30 minutes", "8"),
        ("The answer is 8:30", "8"),
        ("The answer is 2:3", "2"),
        ("The answer is 8 to 10", "8"),
        ("The answer is 8 (or 9)", "8"),
        ("I think 7 or 8 apples", "8"),
        ("The answer is 8\u00bd", "8"),
        ("The answer is 8 squared", "8"),
        ("The answer is \u221a8", "8"),
        ("The answer is half of 8", "8"),
        ("The answer is more than 8", "8"),
        ("The answer is 8 less than 10", "8"),
        ("The answer is 20% of 40 = 8", "20"),
        ("The answer is 1/4 of 40", "0.25"),
        ("The answer is 2x4=8", "2"),
        ("The answer is 70 000", "70"),
        ("To answer this question, we need to know how many there are: 2 dogs. So 5.", "2"),
        ("#### Step 2: Sum\nIt makes 16.", "2"),
        ("So we have 16.\nStep 3: done", "3"),
        ("It is 16:\n1. First\n2. Second", "2"),
    ],
)
def test_gsm8k_takes_no_other_number(text, gold):
    assert gsm8k(text, gold).score == 0


@pytest.mark.parametrize("text", EMPTY)
def test_gsm8k_without_a_number_is_unparsed(text):
    found = gsm8k(text)
    assert found.answer is None and found.score == 0 and found.others == {"exact_match,strict-match": 0}


@pytest.mark.parametrize(
    "text",
    ["9" * 10_000, "9" * 5000 + "/7", f"The answer is 1{'0' * 400}.5", "1e999", "1/0", "The answer is " + "(" * 9000,
     "1," * 9000, "1 000 " * 4000, "answer " * 4000, "\\boxed{" * 3000, "\"'*`" * 3000,
     "The answer is " + "8 or " * 2000],
    ids=lambda text: text[:20],
)  # fmt: skip
def test_texts_of_a_model_that_repeats_itself_are_read_in_time_and_raise_nothing(text):
    started = time.process_time()
    assert gsm8k(text, "7").score == 0
    for gold, question in (("(A)", OPTIONS), ("True", ""), ("7", ""), (") ]", ""), ("bat cat", "")):
        assert bbh(text, gold, question).score == 0
    assert time.process_time() - started < 5


def test_an_announced_number_is_read_whatever_the_form_over_the_authors_solutions(data):
    """The published solutions of all questions, each with its answer announced in another form."""
    forms = (
        "#### {}", "The answer is {}.", r"The final answer is $\boxed{{{}}}$.", "**Answer:** {} dollars",
        "Answer: \\({}\\)", "### Final Answer\n\n{}", "So the answer must be {}.", "The answer is that it is {}.",
        "<answer>{}</answer>", "The answer is **{}**. Let me know if you have 3 more questions.",
    )  # fmt: skip
    missed = []
    for number, doc in enumerate(GSM8K.read(in_data_folder(GSM8K, data), "")["test"]):
        solution, _, right = doc["answer"].partition("####")
        text = solution + forms[number % len(forms)].format(right.strip())
        missed += [] if grade_gsm8k(text, doc).score else [text]
    assert missed == []


def test_strict_match_wants_the_answer_announced():
    assert gsm8k("5 + 3 = 8").others == {"exact_match,strict-match": 0}
    assert gsm8k("So the answer is 8").others == {"exact_match,strict-match": 1}


OPTIONS = "Which one?\nOptions:\n(A) red\n(B) blue\n(C) rita, sue and bob poo"


@pytest.mark.parametrize(
    ("text", "gold"),
    [
        ("So the answer is (B).", "(B)"),
        ("The answer is B", "(B)"),
        ("The answer is (b).".replace("b", "B"), "(B)"),
        ("The answer is option B.", "(B)"),
        ("the answer is blue.", "(B)"),
        ("(B)", "(B)"),
        ("B.", "(B)"),
        (r"\boxed{B}", "(B)"),
        ("So the answer is (C).", "rita, sue and bob poo"),
        ("So the answer is rita, sue and bob poo.", "rita, sue and bob poo"),
        (r"\boxed{\text{rita, sue and bob poo}}", "rita, sue and bob poo"),
        ("The correct option is (B).", "(B)"),
        ("The answer is:\n```\n(B)\n```", "(B)"),
        ("The answer is that it is (B).", "(B)"),
        ("The answer is that it is blue.", "(B)"),
        ("The correct answer is: B) blue", "(B)"),
        ("The answer is (B), not (A).", "(B)"),
        ("The answer is B, not A.", "(B)"),
        ("The answer is 'B'.", "(B)"),
        ("The answer is [B].", "(B)"),
        ("The answer must be (B).", "(B)"),
        ("### Answer\n(B)", "(B)"),
        ("<answer>B</answer>", "(B)"),
        ("(A) is red, which is wrong.\nSo (B) is the correct answer.", "(B)"),
        ("The answer is blue, since (A) is wrong", "(B)"),
        ("So the answer is (B) blue; it is not (A) red.", "(B)"),
    ],
)
def test_an_option_is_read_from_its_letter_or_its_text(text, gold):
    assert bbh(text, gold, OPTIONS).score == 1


@pytest.mark.parametrize(
    "text",
    [
        "The answer is (A) or (B).",
        "The answer is A, B",
        "The answer is (A).",
        "The answer is (Q).",
        "A lot",
        OPTIONS,
        "So the answer is not (B).",
        "blue\n(C) rita, sue and bob poo",
        "The answer is A or (B)",
        "The answer is A because (B) is wrong",
        "The answer is red, since (B) is wrong",
        "The answer is that (B) is wrong, so (A)",
        "The answer is that it is not (B)",
        "The answer is (B)(C)",
        "The answer is B is wrong",
        "The answer is a (B)ig one",
        "A: (B)",
        "I think (B) is not the correct answer.",
        "The answer is blue or red",
    ],
)
def test_another_letter_or_several_are_not_a_point(text):
    assert bbh(text, "(B)", OPTIONS).score == 0


@pytest.mark.parametrize(
    "gold", ["(A)", "True", "False", "yes", "No", "valid", "invalid", "-12", "8", ") ]", "bat cat"]
)
@pytest.mark.parametrize("text", EMPTY)
def test_bbh_without_an_answer_is_unparsed_and_no_point(text, gold):
    found = bbh(text, gold, "Sort the words. List: cat bat" if gold == "bat cat" else OPTIONS if gold == "(A)" else "")
    assert (found.answer, found.score) == (None, 0)


@pytest.mark.parametrize(
    ("text", "gold", "score"),
    [
        ("So the answer is invalid.", "invalid", 1),
        ("So the answer is valid.", "invalid", 0),
        ("The answer is: the argument is invalid.", "invalid", 1),
        ("The answer is not valid.", "valid", 0),
        ("The answer is valid or invalid.", "valid", 0),
        ("The answer is Yes/No.", "Yes", 0),
        ("so the answer is true", "True", 1),
        ("The answer is Yes, because there is no other.", "Yes", 1),
        ("So the answer is -12.", "-12", 1),
        ("So the answer is 12.", "-12", 0),
        ("So the answer is -12.", "12", 0),
        ("So the answer is A * B = 3 * -4 = -12.", "-12", 1),
        ("So the answer is ] ) }.", "] ) }", 1),
        ("So the answer is ])}.", "] ) }", 1),
        ("So the answer is ) ] }.", "] ) }", 0),
        ("So the answer is ] ).", "] ) }", 0),
        ("So the answer is bat cat dog.", "bat cat dog", 1),
        ("So the answer is Bat, cat, dog.", "bat cat dog", 1),
        ("So the answer is bat dog cat.", "bat cat dog", 0),
        ("So the answer is o'connor it&t.", "it&t o'connor", 0),
        ("So the answer is it&t o'connor.", "it&t o'connor", 1),
        (r"\boxed{bat cat dog}", "bat cat dog", 1),
        ("The answer is:\n1. bat\n2. cat\n3. dog", "bat cat dog", 1),
        ("The answer is:\n1. bat\n2. dog\n3. cat", "bat cat dog", 0),
        (r"The final answer is $\boxed{] ) }}$.", "] ) }", 1),
        (r"\boxed{\text{] )}}", "] )", 1),
        (r"\boxed{] ) \}}", "] ) }", 1),
        (r"\boxed{] ) }}", "] )", 0),
        ("So the answer is ], ), }.", "] ) }", 1),
        ("The answer is ] or ] ).", "]", 0),
        ("So the answer is 12 or 13.", "12", 0),
        ("So the answer is 12 + 1.", "12", 0),
        ("So the answer is not 12.", "12", 0),
        ("So the answer is minus 12.", "12", 0),
        ("12, 13", "12", 0),
        ("The answer is 12 12", "12", 1),
        ("The answer is 12 12 13", "12", 0),
        ("The answer is - 12", "-12", 1),
        ("The answer is - 12", "12", 0),
        ("The answer is that it is -12.", "-12", 1),
        ("The answer is False, not True.", "False", 1),
        ("The answer is not valid.", "invalid", 1),
        ("The answer is that the argument isn't deductively valid", "invalid", 1),
        ("The answer is hardly valid", "valid", 0),
        ("The answer is not invalid", "valid", 0),
        ("No, because it is not.", "No", 1),
        ("The answer is that I have no idea.", "No", 0),
        ("The answer is no one knows", "No", 0),
        ("No. Or rather, yes.", "No", 0),
        ("The answer is: ] ) } (closing all)", "] ) }", 1),
        ("The answer is `]`, `)`, `}`.", "] ) }", 1),
        ("The answer is that it is ] ) }.", "] ) }", 1),
        ("The answer is ] ) } because the first is [", "] ) }", 1),
        ("The answer is ] ) }, then )", "] ) }", 0),
        ("The answer is ] ) } followed by )", "] ) }", 0),
        ("The answer is ['bat', 'cat', 'dog']", "bat cat dog", 1),
        ("The answer is bat < cat < dog.", "bat cat dog", 1),
        ("The answer is bat, cat, and dog.", "bat cat dog", 1),
        ("The answer is:\nbat\ncat\ndog\n\nThat is all.", "bat cat dog", 1),
        ("The answer is:\nbat\ndog\ncat", "bat cat dog", 0),
        ("The answer is not bat cat dog", "bat cat dog", 0),
    ],
)
def test_bbh_compares_what_the_task_means(text, gold, score):
    assert bbh(text, gold).score == score


def test_tydiqa_takes_words_and_no_empty_answer():
    row = {"id": "english-1-0", "answers": ["the Eiffel Tower", "Eiffel"]}
    assert grade_tydiqa(" Eiffel tower.", row).score == 1
    assert grade_tydiqa("eiffel tower in Paris", row).score == pytest.approx(2 * 2 / 6)
    for text in ("", " ", "the", "..."):
        found = grade_tydiqa(text, {**row, "answers": ["the", "..."]})
        assert (found.answer, found.score, found.others) == (None, 0, {"exact_match": 0})


def test_tydiqa_is_scored_as_lm_evals_own_task():
    from lm_eval.tasks.tydiqa import utils

    texts = ["the Tower, of London", "الكتاب في البيت", "a b c c", "Helsinki!", "x"]
    for language, code in (("english", "en"), ("arabic", "ar"), ("finnish", "fi")):
        for text in texts:
            for gold in texts:
                row = {"id": f"{language}-1", "answers": [gold, "London"]}
                theirs = utils.process_results_lang(row, [text], code)
                ours = grade_tydiqa(text, row)
                assert ours.score == pytest.approx(theirs["f1"])
                assert ours.others == {"exact_match": float(theirs["exact_match"])}


def test_several_answers_of_an_item_are_averaged_and_each_has_an_outcome():
    item = Item("gsm8k_cot", 0, {"answer": "#### 8"}, "", ["The answer is 8", "no", "it is 7"], None, "", None)
    grade_items([item], GSM8K.grading.graders["gsm8k"], "exact_match,flexible-extract")
    assert item.score == pytest.approx(1 / 3) and item.outcomes == ["read", "unparsed", "read"] and item.answer == "8"


def test_a_profile_names_a_grader_of_its_benchmark_only(tmp_path):
    assert grader_of(load_profile("full").benchmarks["bbh"])["name"] == "bbh"
    path = tmp_path / "mine.yaml"
    path.write_text("benchmarks:\n  gsm8k: {metric: f1, grader: bbh}\n  mmlu: {metric: acc, grader: bbh}\n")
    with pytest.raises(
        UserError, match=r"benchmarks.gsm8k.grader: 'bbh' does not grade gsm8k.*Graders of gsm8k: gsm8k"
    ):
        load_profile(str(path))
    with pytest.raises(UserError, match=r"benchmarks.mmlu.grader: 'bbh' does not grade mmlu.*Leave `grader` out"):
        load_profile(str(path))


def test_items_and_results_count_what_could_not_be_read(evaluate, monkeypatch, oracle):
    monkeypatch.setattr(oracle, "answer", lambda doc: "" if len(doc["question"]) % 2 else "The answer is 1.")
    _, out = evaluate("gsm8k")
    result = json.loads((out / "result.json").read_text())
    items = [json.loads(line) for line in (out / "items.jsonl").read_text().splitlines()]
    unparsed = [item for item in items if item["outputs"] == [""]]
    assert result["grader"] == {"name": "gsm8k", "version": GSM8K.grading.graders["gsm8k"].version}
    assert result["outcomes"] == {"read": len(items) - len(unparsed), "unparsed": len(unparsed)}
    assert unparsed and all(item["outcomes"] == ["unparsed"] and item["score"] == 0 for item in unparsed)
