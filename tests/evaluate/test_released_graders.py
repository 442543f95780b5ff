"""Released graders against slow rules written by hand, on odd answers; and what an empty or garbled answer gets.

The slow rules walk over characters where the project has patterns. Exact match is also compared with lm-eval's copy of
Hugging Face's, which the released scripts call.
"""

import csv
import json
import random
import string
from statistics import fmean

import pytest
from golden import released_scripts
from lm_eval.api.metrics import exact_match_hf_evaluate
from lm_eval.models.utils import postprocess_generated_text

from selectit.evaluate.grading.released_graders import grade_selectit_bbh, grade_selectit_gsm8k, grade_selectit_tydiqa
from selectit.evaluate.profile import load_profile
from selectit.evaluate.results import read_items

GARBLED = "zq vv. xx 7"
DIGITS = "0123456789"


def slow_commas(text):
    """A comma between two digits goes; the second digit is not the first of another pair."""
    kept, at = "", 0
    while at < len(text):
        if at + 2 < len(text) and text[at].isdecimal() and text[at + 1] == "," and text[at + 2].isdecimal():
            kept += text[at] + text[at + 2]
            at += 3
        else:
            kept += text[at]
            at += 1
    return kept


def slow_numbers(text):
    """Numbers from left to right: with a decimal point and perhaps a sign, else digits without a sign."""
    found, at = [], 0
    while at < len(text):
        start = at + (text[at] in "+-")
        point = start
        while point < len(text) and text[point].isdecimal():
            point += 1
        end = point + 1
        while end < len(text) and text[end].isdecimal():
            end += 1
        if point < len(text) and text[point] == "." and end > point + 1:
            found.append(text[at:end])
            at = end
        elif text[at].isdecimal():
            found.append(text[at:point])
            at = point
        else:
            at += 1
    return found


def slow_same(answer, gold):
    plain = ["".join(c for c in text.lower() if c not in string.punctuation) for text in (answer, gold)]
    assert exact_match_hf_evaluate([answer], [gold], ignore_case=True, ignore_punctuation=True)["exact_match"] == (
        plain[0] == plain[1]
    )
    return plain[0] == plain[1]


GSM8K = [
    "", " ", "\t", "eight", "8", " 8", "8.", "8,", "8!", "-8", "+8", "- 8", "−8", "$8", "8$", "8%", "8 apples",
    "08", "8.0", "8.00", "8.", ".8", "-.8", "0.8", "-0.8", "+0.8", "8-", "8e3", "8/2", "4/8", "1,000", "1,0,0",
    "1,2,3,4", "1,00,000", "10,00", "1 000", "1.000", "1.000.000", "12,345.67", "122.", "1.22", "12.2", "-122",
    "$1,234.50", "So the answer is 8.", "The answer is 8 or 9", "9 and then 8", "8 and then 9", "8. 9",
    "8.9.10", "8..9", "8--9", "8-9", "8x", "x8", "5 * 4 = 20 computers. 9 + 20 is 29. So the answer is 29.",
    "2+2=4", "2 + .5 = 2.5", "three 3s", "3rd", "answer: 3)", "(3)", "#### 3", "[3]", "3\\%", "3°", "٣", "８",
    "½", "3²", "1e-3", "0x1F", GARBLED,
]  # fmt: skip
GOLDS = ["8", "3", "29", "122", "-8", "1000", "1,000", "1234.50", "0", "3.5", "12", "1"]


def test_gsm8k_takes_the_last_number_of_every_odd_answer():
    assert len(set(GSM8K)) >= 60
    for text in GSM8K:
        numbers = slow_numbers(slow_commas(text))
        expected = numbers[-1] if numbers else slow_commas(text)
        for gold in GOLDS:
            found = grade_selectit_gsm8k(text, {"answer": f"Work.\n#### {gold}"})
            assert found.answer == expected, text
            assert found.score == slow_same(expected, slow_commas(gold)), (text, gold)


def test_gsm8ks_rule_read_by_hand():
    def score(text, gold):
        return grade_selectit_gsm8k(text, {"answer": f"#### {gold}"}).score

    assert score("122.", "122") == score("8", "-8") == score("It is -8", "8") == score("1.22", "122") == 1
    assert score("12.50", "12.5") == score("8.0", "8") == score("1,0,0", "100") == score("9 and then 8", "9") == 0


BBH = [
    "", " ", ".", "...", "True", "true", "TRUE.", "(A)", "(A", "A", "A)", "a", " (A) ", "(A).",
    "So the answer is (A).", "So the answer is (A)", "the answer is (A).", "The answer is (A).",
    "|he answer is (A).", "THE ANSWER IS (A).", "The answer is  (A) .", "The answer is(A).",
    "The answer is: (A).", "The Answer is (A).", "answer is (A).", "The answer is (B). So the answer is (A).",
    "The answer is (A). No, the answer is (B).", "The answer is .", "The answer is (A)\n.",
    "The answer is\n(A).", "The answer is (A)!", "The answer is True.", "The answer is true .",
    "The answer is not True.", "The answer is 3.5.", "The answer is -25.", "The answer is 25.",
    "The answer is - 25.", "The answer is yes.", "The answer is Yes, it is.", "The answer is no.",
    "So the answer is valid.", "valid", "invalid", "[invalid]", "Invalid.", "The answer is \"valid\".", "] )",
    "])", "] ) }", ") ]", "The answer is ] ).", "The answer is ]).", "< >", "<>", "   ",
    "The answer is apple bee cat.", "apple bee cat", "apple, bee, cat", "apple  bee cat", "Apple Bee Cat",
    "The answer is 06/01/2022.", "06012022", "The answer is plausible. The answer is yes.",
    "Wathe answer is yes.", "Let's think step by step.\nIt is (A). So the answer is (A).",
    "the answer is the answer is yes.", GARBLED,
]  # fmt: skip
TARGETS = [
    "(A)",
    "True",
    "yes",
    "no",
    "valid",
    "invalid",
    "-25",
    "25",
    "] )",
    "]",
    "] ) }",
    "apple bee cat",
    "06/01/2022",
]


def slow_bbh(text):
    for at in range(len(text)):
        if text[at] in "tT|" and text[at + 1 :].startswith("he answer is "):
            rest = text[at + 1 + len("he answer is ") :]
            stop, line = rest.find("."), rest.find("\n")
            if stop >= 0 and not 0 <= line < stop:
                return rest[:stop].strip()
    return text.strip()


def test_bbh_reads_every_odd_answer_by_the_scripts_rule():
    assert len(set(BBH)) >= 60
    for text in BBH:
        expected = slow_bbh(text)
        for target in TARGETS:
            found = grade_selectit_bbh(text, {"target": target})
            assert found.answer == expected, text
            assert found.score == slow_same(expected, target), (text, target)


TYDIQA = [
    "", " ", ".", "!?", "the", "a", "The", "an", "a an the", "the the", "Paris", " Paris", "paris", "PARIS.",
    "Paris,", "in Paris", "Paris in France", "Paris Paris", "the Paris", "Paris the", "thePar is", "Par is",
    "Par-is", "Pa ris", "«Paris»", "„Paris“", "“Paris”", "'Paris'", "(Paris)", "Paris。", "Парис", "парис",
    "باريس", "الباريس", "باریس", "প্যারিস", "পারি", "파리", "파리의", "파리 는", "పారిస్", "Pariisi", "Pariisissa",
    "1,000", "1000", "1 000", "1.000", "1000.", "12 May 1990", "May 12, 1990", "12. toukokuuta 1990", "1990",
    "١٩٩٠", "१९९०", "a dog", "dog", "the dog's", "dogs", "An apple a day", "apple day", "Answer: Paris",
    "Passage: Paris", "  Paris   France ", "Paris\u00a0France", "Paris\u3000France", GARBLED,
]  # fmt: skip
ANSWERS = [
    ["Paris"], ["the Paris"], ["Paris", "in France"], ["باريس"], ["파리"], ["1000"], ["12 May 1990"], ["1990"],
    ["a"], ["."], ["dog", "apple day"], ["Парис"],
]  # fmt: skip


def slow_words(text):
    text = "".join(character for character in text.lower() if character not in string.punctuation)
    words, word = [], ""
    for character in text + " ":
        if character.isalnum() or character == "_":
            word += character
            continue
        if word in ("a", "an", "the"):
            word = ""
            character = " "
        words.append(word)
        words.append(character)
        word = ""
    return "".join(words).split()


def slow_f1(text, gold):
    one, other = slow_words(text), slow_words(gold)
    common = sum(min(one.count(word), other.count(word)) for word in set(one))
    return 2 * common / (len(one) + len(other)) if common else 0.0


def test_tydiqa_is_squads_f1_and_exact_match_on_every_odd_answer():
    assert len(set(TYDIQA)) >= 60
    for text in TYDIQA:
        for golds in ANSWERS:
            found = grade_selectit_tydiqa(text, {"answers": golds})
            assert found.answer == text.strip()
            assert found.score == pytest.approx(max(slow_f1(text, gold) for gold in golds)), (text, golds)
            exact = max(slow_words(text) == slow_words(gold) for gold in golds)
            assert found.others == {"exact_match": exact}, (text, golds)


def drawn(data):
    """{(benchmark, task): rows of the items that paper-2023 asks}."""
    lines = (data / "gsm8k" / "test.jsonl").read_text().splitlines()
    rows = {("gsm8k", "gsm8k"): [json.loads(lines[place]) for place, _ in released_scripts.gsm8k(data)]}
    for task, items in released_scripts.bbh(data, released_scripts.BBH_SHA256).items():
        examples = json.loads((data / "bbh" / f"{task}.json").read_text())["examples"]
        rows["bbh", task] = [examples[place] for place, _ in items]
    return rows


@pytest.mark.parametrize(
    ("benchmark", "text", "value", "where"),
    [
        ("gsm8k", "", 0.0, {}),
        ("gsm8k", GARBLED, 0.025, {"gsm8k": 0.025}),
        ("bbh", "", 0.013, {"dyck_languages": 0.35}),
        ("bbh", GARBLED, 0.0, {}),
    ],
)
def test_what_an_empty_and_a_garbled_answer_score_stands_in_the_notes(data, benchmark, text, value, where):
    grade = {"gsm8k": grade_selectit_gsm8k, "bbh": grade_selectit_bbh}[benchmark]
    scores = {
        task: fmean(grade(text, row).score for row in rows)
        for (of, task), rows in drawn(data).items()
        if of == benchmark
    }
    assert {task: score for task, score in scores.items() if score} == pytest.approx(where)
    assert fmean(scores.values()) == pytest.approx(value, abs=5e-5)
    kind = "An empty output" if text == "" else "A garbled one"
    notes = " ".join(load_profile("paper-2023").benchmarks[benchmark].notes)
    assert f"{kind} scores {value:g}" in notes


def test_an_empty_answer_to_tydiqa_scores_0_but_for_answers_without_a_word():
    assert grade_selectit_tydiqa("", {"answers": ["Paris"]}).score == 0
    empty = grade_selectit_tydiqa("", {"answers": ["The"]})
    assert (empty.score, empty.others) == (0, {"exact_match": 1})
    assert "An empty output scores 0" in " ".join(load_profile("paper-2023").benchmarks["tydiqa"].notes)


def test_a_model_that_always_says_a_gets_the_share_of_a_in_mmlu(data):
    right = []
    for path in (data / "mmlu" / "test").glob("*.csv"):
        with path.open(newline="") as f:
            right += [row[5] == "0" for row in list(csv.reader(f))[1:]]
    assert len(right) == 14042 and fmean(right) == pytest.approx(0.2295, abs=5e-5)
    assert "0.2295" in " ".join(load_profile("paper-2023").benchmarks["mmlu"].notes)


def test_mmlus_answer_is_the_first_of_the_most_probable_letters():
    generator = random.Random(0)
    odd = [-0.0, 0.0, -1.0, -1.0 - 1e-9, -30.5, -1e30, float("-inf")]
    tables = [[generator.choice(odd) for _ in range(4)] for _ in range(80)]
    tables = [table for table in tables if len(set(table)) > 1]  # of equal ones none is chosen
    assert len({tuple(table) for table in tables}) >= 60
    samples = [
        {"doc_id": n, "doc": {}, "target": 0, "arguments": [("", "")], "resps": [[(value, True)] for value in table]}
        for n, table in enumerate(tables)
    ]
    for table, item in zip(tables, read_items({"samples": {"mmlu_x": samples}}), strict=True):
        order = sorted(range(4), key=lambda at: (-table[at], at))
        assert item.answer == "ABCD"[order[0]], table


def test_humanevals_completions_end_where_the_first_stop_string_begins():
    stops = list(load_profile("paper-2023").benchmarks["humaneval"].until)
    generator = random.Random(0)
    parts = [
        *stops,
        "    return x\n",
        "\n",
        "\n\n",
        "class",
        "def",
        "# why",
        "    if x:\n",
        "print(x)",
        " \ndef f():",
        "\r\n",
    ]
    texts = ["", *stops, *("".join(generator.choices(parts, k=generator.randint(1, 6))) for _ in range(80))]
    assert len(set(texts)) >= 60
    for text in texts:
        ends = [at for at in range(len(text)) for stop in stops if text[at : at + len(stop)] == stop]
        assert postprocess_generated_text(text, stops, None) == text[: min(ends, default=len(text))]
