"""Lettered options read out of chains of thought: MMLU-Pro and GPQA."""

import pytest

from selectit.evaluate.grading.option_answers import grade_options, read_letter

DOC = {"question": "Which of them is it?", "options": [f"{n} kg" for n in range(10)], "answer": "B"}
LIST = "\n".join(f"{letter}. {text}" for letter, text in zip("ABCDEFGHIJ", DOC["options"], strict=True))


@pytest.mark.parametrize(
    "text",
    [
        "the answer is (B)",
        " 1 + 1 is 2. The answer is (B).",
        "The answer is B",
        "The answer is **(B)**.",
        "**Answer: B**",
        "Answer: (B) 1 kg",
        "The correct answer is B. 1 kg",
        "The correct option is (B).",
        "Therefore, the answer is \\boxed{B}.",
        "$\\boxed{\\text{B}}$",
        "First I thought that the answer is (C). But it is heavier, so the answer is (B).",
        "The answer is (B).\n\nI hope that this answer is of help!",
        "It is heavy.\n\n(B)",
        "It is heavy.\n**B**",
        "It is heavy.\nB.",
        "It is heavy.\nSo (B) is the correct answer.",
        "The answer is (B), because (A) is too light.",
    ],
)
def test_a_letter_is_read_as_a_model_writes_it(text):
    found = grade_options(text, DOC)
    assert (found.answer, found.score) == ("B", 1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n",
        "Xq wvf lorem 🜁 zzt; pfff qwerty",
        "The answer is (A) or (B).",
        "The answer is not (B).",
        "The answer is 1 kg",
        "The answer is 2.5",
        "The answer is (X)",
        "the answer is (K)",
        "B is heavy. I think so, but a lot is not known.",
        "I do not know.",
        "I",
        f"{DOC['question']}\n{LIST}",
        f"{LIST}\nAnswer: Let's think step by step.",
        LIST,
        "A or B",
        "B is wrong",
    ],
)
def test_what_names_no_option_is_unparsed_and_no_point(text):
    found = grade_options(text, {**DOC, "options": DOC["options"][:8]} if text == "I" else DOC)
    assert (found.answer, found.score) == (None, 0)


@pytest.mark.parametrize("text", ["The answer is (A).", "The answer is (J).", "\\boxed{C}", "D", "the answer is c."])
def test_another_letter_is_read_and_no_point(text):
    found = grade_options(text, DOC)
    assert found.answer is not None and found.score == 0


def test_a_letter_behind_the_last_option_is_none():
    assert read_letter("The answer is (E).", 4) is None and read_letter("The answer is (D).", 4) == "D"
