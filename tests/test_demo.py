"""The demonstration's data and model: reproducible, disjoint, small, and good enough to show something."""

import json
from collections import Counter
from random import Random

import numpy as np
import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from demo import exams
from demo.families import FAMILIES
from demo.make_data import FOLDER, make_files, stored
from demo.measure_model import load, load_pool, rate
from demo.mixture import JUDGE_PROMPT, RATING_PROMPTS, Mixture
from selectit.scoring.formula import sentence_scores, token_scores
from selectit.scoring.prompts import rating_text

BENCHMARKS = FOLDER / "benchmarks"


@pytest.fixture(scope="module")
def rater() -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    return load()


def test_data_files_equal_what_the_script_generates():
    for path, content in make_files()[0].items():
        assert stored(FOLDER / path) == content, f"demo/{path}: run python -m demo.make_data"


def test_pool_rows_are_distinct_and_answered():
    rows, qualities = load_pool()
    assert len({(row["instruction"], row["input"]) for row in rows}) == len(rows) == len(qualities)
    assert all(row["output"].strip() for row in rows)
    assert 0.35 <= 1 - Counter(qualities)["good"] / len(rows) <= 0.45


def test_longest_rows_are_no_better_than_the_pool():
    rows, qualities = load_pool()
    longest = sorted(range(len(rows)), key=lambda row: -len(rows[row]["output"]))[: len(rows) // 5]
    assert (
        sum(qualities[row] == "good" for row in longest) / len(longest) <= Counter(qualities)["good"] / len(rows) + 0.05
    )


def benchmark_questions() -> set[str]:
    """Every question of the miniature benchmarks, as it stands in its file."""
    files = {path.removeprefix("benchmarks/"): content.decode() for path, content in make_files()[0].items()}
    bbh = {
        example["input"]
        for path, text in files.items()
        if path.startswith("bbh/")
        for example in json.loads(text)["examples"]
    }
    gsm8k = {json.loads(line)["question"] for line in files["gsm8k/test.jsonl"].splitlines()}
    mmlu = {
        line.split(",")[0]
        for path, text in files.items()
        if path.startswith("mmlu/test")
        for line in text.splitlines()[1:]
    }
    tydiqa = {
        f"{paragraph['context']}\n{row['question']}"
        for entry in json.loads(files["tydiqa/tydiqa-goldp-v1.1-dev.json"])["data"]
        for paragraph in entry["paragraphs"]
        for row in paragraph["qas"]
    }
    humaneval = {
        json.loads(line)["prompt"].split(">>>")[0] for line in files["humaneval/HumanEval.jsonl.gz"].splitlines()
    }
    alpaca_eval = {row["instruction"] for row in json.loads(files["alpaca_eval/text_davinci_003.json"])}
    return bbh | gsm8k | mmlu | tydiqa | humaneval | alpaca_eval


def test_benchmark_items_are_not_in_the_pool():
    rows, _ = load_pool()
    pool = {f"{row['instruction']}\n{row['input']}".strip() for row in rows}
    assert len(benchmark_questions()) == 4 * 8 + 3 * 6 + 12 + 2 * 6 + 9 + 8
    assert not benchmark_questions() & pool


def test_training_text_asks_no_question_of_the_pool_or_the_benchmarks():
    _, reserved = make_files()
    assert benchmark_questions() <= reserved
    mixture = Mixture(Random(1), reserved)
    makers = [
        *FAMILIES.values(),
        *exams.SUBJECTS.values(),
        *exams.BBH_TASKS.values(),
        exams.word_problem,
        exams.program,
    ]
    assert not {mixture.fresh(make).key for make in makers for _ in range(200)} & reserved


def test_bbh_gold_answers_follow_from_their_questions():
    for example in json.loads((BENCHMARKS / "bbh/boolean_expressions.json").read_text())["examples"]:
        assert str(eval(example["input"].removesuffix(" is"))) == example["target"]


def test_humaneval_solutions_pass_their_tests():
    for line in stored(BENCHMARKS / "humaneval/HumanEval.jsonl.gz").decode().splitlines():
        row = json.loads(line)
        names: dict = {}
        exec(row["prompt"] + row["canonical_solution"] + row["test"], names)
        names["check"](names[row["entry_point"]])


def test_tydiqa_answers_stand_where_they_state():
    for split in ("train", "dev"):
        for entry in json.loads((BENCHMARKS / f"tydiqa/tydiqa-goldp-v1.1-{split}.json").read_text())["data"]:
            for paragraph in entry["paragraphs"]:
                for answer in (answer for row in paragraph["qas"] for answer in row["answers"]):
                    assert paragraph["context"][answer["answer_start"] :].startswith(answer["text"])


def test_model_folder_is_at_most_5_mb():
    assert sum(path.stat().st_size for path in (FOLDER / "model").iterdir()) <= 5_000_000


def test_ratings_are_single_tokens(rater):
    _, tokenizer = rater
    text = rating_text(f"{RATING_PROMPTS[0]}\n\n", "What is a bakery?", "A shop.")
    for tokens, before in (("12345", text), ("mM", JUDGE_PROMPT)):
        ids = tokenizer(before)["input_ids"]
        after = [tokenizer(before + token)["input_ids"] for token in tokens]
        assert all(row[:-1] == ids for row in after)
        assert len({row[-1] for row in after}) == len(tokens)


def test_tokenizer_has_the_traps_of_llama_2(rater):
    _, tokenizer = rater
    assert tokenizer.convert_ids_to_tokens(tokenizer("a 12\n")["input_ids"]) == ["<s>", "▁a", "▁", "1", "2", "<0x0A>"]
    body = tokenizer("x\n    return x")["input_ids"]
    newline = tokenizer.convert_tokens_to_ids("<0x0A>")
    assert tokenizer.decode(body[body.index(newline) + 1 :]) == "   return x"


def test_good_rows_are_rated_higher_than_bad_rows(rater):
    rows, qualities = load_pool()
    rows, qualities = rows[:60], np.array(qualities[:60])
    scores = sentence_scores(token_scores(rate(*rater, rows), "corrected"), alpha=0.2)
    best = np.argsort(-scores)[:12]
    assert np.mean(qualities[best] == "good") >= np.mean(qualities == "good") + 0.2
    assert scores[qualities == "good"].mean() > scores[qualities != "good"].mean()
