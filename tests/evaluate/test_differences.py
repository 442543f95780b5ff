"""The table of what differs from each original protocol (docs/evaluation.md): it is complete, and each line is true."""

import re

import pytest

from selectit.config import BenchmarkConfig, ModelConfig
from selectit.evaluate.benchmarks.evalplus import PLUS_TIMES
from selectit.evaluate.benchmarks.questions import load_questions
from selectit.evaluate.benchmarks.registry import benchmarks, is_judged
from selectit.evaluate.grading.bbh_answers import grade_bbh
from selectit.evaluate.grading.graders import grader_of
from selectit.evaluate.grading.kinds import Exported
from selectit.evaluate.grading.number_answers import grade_gsm8k
from selectit.evaluate.grading.option_answers import grade_options
from selectit.evaluate.grading.span_answers import grade_tydiqa
from selectit.evaluate.grading.translation import first_line
from selectit.evaluate.profile import load_profile
from selectit.evaluate.show import asked
from selectit.evaluate.stage_config import EvaluateStage

HOUSE = ("full", "mathematics", "medical", "code", "chat", "translation", "2026")


def entry(profile, name) -> BenchmarkConfig:
    return load_profile(profile).benchmarks[name]


def prompt(profile, name, data, tasks=None):
    benchmark = entry(profile, name).model_copy(update={"tasks": tasks})
    questions = load_questions(EvaluateStage(model=ModelConfig(path="none"), benchmark=benchmark, data=str(data)))
    (task, *_) = questions.tasks.values()
    return str(task.fewshot_context(task.task_docs[0], num_fewshot=task.get_config("num_fewshot")))


def table(root):
    text = (root / "docs" / "evaluation.md").read_text()
    part = text.split("## What differs from each original protocol")[1].split("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines() if line.startswith("| ")
    ]
    return [(profile, name) for profile, names, *_ in rows[1:] for name in names.split(", ")]


@pytest.fixture(scope="module")
def root():
    from pathlib import Path

    return Path(__file__).parents[2]


def test_the_table_has_every_benchmark_of_every_profile_once(root):
    asked = [(profile, name) for profile in HOUSE for name in load_profile(profile).benchmarks]
    assert sorted(table(root)) == sorted(asked)


def test_mmlu_has_one_blank_and_five_examples(data):
    text = prompt("full", "mmlu", data, ("astronomy",))
    assert text.startswith("The following are multiple choice questions (with answers) about astronomy.")
    assert text.count("Answer:") == 6


def test_bbh_gives_the_sentence_and_compares_meanings(data):
    text = prompt("full", "bbh", data, ("dyck_languages",))
    assert text.rstrip().endswith("A: Let's think step by step.") and text.count("Q: ") == 4
    assert grade_bbh("So the answer is ]).", {"input": "", "target": "] )"}).score == 1
    assert benchmarks()["bbh"].mean_of == "tasks"


def test_gsm8k_takes_the_announced_number_or_the_last(data):
    assert prompt("full", "gsm8k", data).count("Q: ") == 9 and entry("full", "gsm8k").max_gen_toks == 512
    row = {"answer": "#### 8"}
    assert grade_gsm8k("The answer is 8. Then 9.", row).score == grade_gsm8k("so 3 + 5 makes 8", row).score == 1


def test_tydiqa_is_a_mean_of_languages_with_one_example():
    assert entry("full", "tydiqa").num_fewshot == 1 and benchmarks()["tydiqa"].mean_of == "tasks"
    assert grade_tydiqa("", {"id": "english-0", "answers": ["..."]}).others == {"exact_match": 0}


@pytest.mark.parametrize(("profile", "name"), [("full", "humaneval"), ("code", "humaneval"), ("code", "mbpp")])
def test_code_is_one_greedy_completion_in_the_sandbox(profile, name):
    found = entry(profile, name)
    assert (found.num_samples, found.temperature, found.metric) == (1, 0, "pass@1")
    assert grader_of(found)["name"] == "sandbox"


def test_plus_benchmarks_have_one_limit_for_all_tests_and_bigcodebench_is_written():
    assert (
        PLUS_TIMES > 1
        and isinstance(benchmarks()["bigcodebench"].grading, Exported)
        and grader_of(entry("code", "bigcodebench")) is None
    )


def test_mbpp_has_three_examples():
    text = benchmarks()["mbpp"].task_file().read_text()
    assert re.search(r"num_fewshot: 3\b", text) and "fewshot_split: prompt" in text


def test_judged_ones_have_2048_tokens_in_the_training_template():
    for profile in ("full", "chat"):
        for name, found in load_profile(profile).benchmarks.items():
            if is_judged(name):
                assert found.max_gen_toks == 2048 and found.chat_template and grader_of(found) is None


def test_mathematics_is_one_request_graded_by_math_verify(data):
    for name, found in load_profile("mathematics").benchmarks.items():
        drawn = (16, 0.6) if name in ("aime24", "amc23") else (1, 0)
        assert (found.num_samples, found.temperature) == drawn and grader_of(found)["name"] == "math-verify"
        text = prompt("mathematics", name, data)
        assert text.endswith("Please reason step by step, and put your final answer within \\boxed{}.")
        assert text.count("\\boxed{}") == 1


def test_medicine_is_answered_by_letters(data):
    assert prompt("medical", "medqa", data).count("Answer:") == prompt("medical", "medmcqa", data).count("Answer:") == 1
    assert entry("medical", "mmlu_medical").num_fewshot == 5 and benchmarks()["mmlu_medical"].mean_of == "items"
    assert {grader_of(found)["name"] for found in load_profile("medical").benchmarks.values()} == {"choices"}


def test_translation_is_greedy_and_takes_the_first_line():
    for name, found in load_profile("translation").benchmarks.items():
        assert found.temperature == 0 and found.chat_template
        assert found.metric == ("comet" if name.endswith("_comet") else "bleu")
    assert first_line("\n Guten Tag. \nNote: this is German.") == "Guten Tag."


@pytest.mark.parametrize(
    ("name", "profile"),
    [("mmlu", "full"), ("math500", "mathematics"), ("humaneval_plus", "code"), ("mbpp_plus", "code"),
     ("alpaca_eval_2", "chat"), ("arena_hard", "chat")],
)  # fmt: skip
def test_half_of_2026_is_asked_as_in_other_profiles(name, profile):
    assert entry("2026", name).model_copy(update={"notes": ()}) == entry(profile, name)


@pytest.mark.parametrize(("name", "limit"), [("gsm8k", 512), ("bbh", 1024)])
def test_examples_of_2026_are_turns(name, limit, demo_model, demo_data):
    found = entry("2026", name)
    assert found.chat_template and found.max_gen_toks == limit and grader_of(found) == grader_of(entry("full", name))
    config = EvaluateStage(model=demo_model, benchmark=found, data=str(demo_data), template="alpaca")
    if name == "bbh":
        config = config.model_copy(update={"benchmark": found.model_copy(update={"tasks": ("object_counting",)})})
    (one,) = asked(config, 1)
    assert one.item.prompt.count("### Response:") == {"gsm8k": 9, "bbh": 4}[name]


def test_letters_of_2026_are_announced_or_worth_nothing():
    row = {"question": "Which?", "options": ["red", "blue", "grey"], "answer": "C"}
    assert grade_options("B or C, let us say C", row).score == 0, "the authors of MMLU-Pro take the last letter"
    assert grade_options("The answer is (A). So the answer is (C).", row).score == 1, "and the first that is announced"
    assert benchmarks()["truthfulqa"].grading.metrics(entry("2026", "truthfulqa")) == ("mc2", "mc1")
    assert benchmarks()["ifeval"].grading.metrics(entry("2026", "ifeval")) == (
        "prompt_level_strict_acc", "prompt_level_loose_acc",
    )  # fmt: skip
