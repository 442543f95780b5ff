"""The six benchmarks over the real files, answered by a model that knows the answers."""

import json
import random

import pytest

from selectit.errors import NotRun
from selectit.evaluate.benchmarks.files import in_data_folder
from selectit.evaluate.benchmarks.questions import sample_ids
from selectit.evaluate.benchmarks.registry import benchmarks
from selectit.evaluate.grading.sandbox import unavailable
from selectit.evaluate.judge.local import LogProbabilityJudge
from selectit.evaluate.profile import load_profile


def items(out):
    return [json.loads(line) for line in (out / "items.jsonl").read_text().splitlines()]


def result(out):
    return json.loads((out / "result.json").read_text())


@pytest.mark.parametrize(("benchmark", "num_items"), [("mmlu", 57), ("bbh", 54), ("gsm8k", 5), ("tydiqa", 2)])
def test_the_oracle_is_right_on_every_task(oracle, evaluate, data, benchmark, num_items):
    limit = {"mmlu": 1, "bbh": 2}.get(benchmark, 5)
    metrics, out = evaluate(benchmark, profile="paper-2023", data=str(data), limit=limit)
    assert metrics["value"] == 1.0 and metrics["num_items"] == num_items
    assert {item["score"] for item in items(out)} == {1.0} and len(items(out)) == num_items
    written = result(out)
    assert written["status"] == "scored" and not written["complete"] and f"limited to {limit}" in written["notes"][-1]


def test_paper_numbers_are_means_over_questions_tasks_or_languages_as_in_the_scripts(oracle, evaluate, data):
    """Of tasks of unequal sizes: MMLU counts every question alike, BBH every task."""
    right = oracle.choose
    oracle.choose = lambda doc: (right(doc) + (doc["subject"] == "anatomy")) % 4
    changes = {"tasks": ("anatomy", "global_facts", "virology")}
    metrics, _ = evaluate("mmlu", profile="paper-2023", data=str(data), changes=changes)
    assert metrics["value"] == pytest.approx((100 + 166) / (135 + 100 + 166))
    answer = oracle.answer
    oracle.answer = lambda doc: "" if doc["input"].startswith("Which statement is sarcastic") else answer(doc)
    changes = {"tasks": ("snarks", "navigate", "penguins_in_a_table"), "items_per_task": 150}
    metrics, out = evaluate("bbh", profile="paper-2023", data=str(data), changes=changes)
    assert metrics["value"] == pytest.approx(2 / 3) and metrics["num_items"] == 150 + 150 + 146
    assert result(out)["grader"]["name"] == "selectit_bbh"


@pytest.mark.skipif(unavailable("bwrap") is not None, reason=str(unavailable("bwrap")))
def test_the_oracle_solves_humaneval(oracle, evaluate, data):
    metrics, out = evaluate("humaneval", profile="paper-2023", data=str(data), limit=10)
    assert metrics["value"] == 1.0
    assert result(out)["metrics"]["pass@1"]["value"] == 1.0
    first = items(out)[0]
    assert first["source_id"] == "HumanEval/0" and first["passed"] == [True] * 20


def test_alpaca_eval_without_a_judge_writes_the_outputs_and_reports_it(oracle, evaluate, data):
    metrics, out = evaluate("alpaca_eval", profile="paper-2023", data=str(data), limit=3)
    assert metrics["num_items"] == 3 and "value" not in metrics
    written = result(out)
    assert written["status"] == "not_scored" and "evaluate.judge" in written["reason"] and written["value"] is None
    reference = json.loads((data / "alpaca_eval" / "text_davinci_003.json").read_text())[:3]
    outputs = json.loads((out / "model_outputs.json").read_text())
    assert [row["output"] for row in outputs] == [row["output"] for row in reference]
    assert set(outputs[0]) == {"dataset", "instruction", "output", "generator"}
    assert oracle.prompts[0] == f"<|user|>\n{reference[0]['instruction']}\n<|assistant|>\n"
    assert written["protocol_notes"] == list(load_profile("paper-2023").benchmarks["alpaca_eval"].notes)


def test_alpaca_eval_stands_in_the_training_template_where_a_profile_asks_for_it(oracle, evaluate, data):
    changes = {"prompts": None, "chat_template": True}
    evaluate("alpaca_eval", profile="paper-2023", data=str(data), limit=1, changes=changes)
    reference = json.loads((data / "alpaca_eval" / "text_davinci_003.json").read_text())[0]
    assert oracle.prompts == ["<alpaca>" + reference["instruction"]]


def test_equal_outputs_are_a_draw_and_the_judge_is_named(oracle, evaluate, data, demo_model):
    metrics, out = evaluate("alpaca_eval", profile="paper-2023", data=str(data), limit=3, judge=f"hf:{demo_model.path}")
    assert metrics["value"] == 0.5
    judge = result(out)["judge"]
    assert judge["name"] == "hf:model" and len(judge["prompt_sha256"]) == len(judge["reference_sha256"]) == 64


def test_the_judge_is_symmetric_and_no_text_is_read_as_a_placeholder(demo_model):
    judge = LogProbabilityJudge(demo_model.path)
    first, second = "It is Paris. {output_M}", "I do not know."
    question = "What is the capital of France? {instruction}"
    preferred = judge.prefer(question, first, second)
    assert 0 < preferred < 1 and preferred != 0.5
    assert preferred + judge.prefer(question, second, first) == pytest.approx(1, abs=1e-9)
    assert judge.prefer("x", first, first) == 0.5


def test_outputs_too_long_for_the_judge_are_cut_and_counted(demo_model, monkeypatch):
    judge = LogProbabilityJudge(demo_model.path)
    monkeypatch.setattr(judge._model.config, "max_position_embeddings", 256)
    assert 0 < judge.prefer("Say it.", "yes " * 500, "no") < 1
    assert judge.num_shortened == 1


def test_missing_languages_are_named_and_the_benchmark_is_incomplete(oracle, evaluate, data):
    _, out = evaluate("tydiqa", profile="full", data=str(data))
    written = result(out)
    assert set(written["tasks"]) == {"tydiqa_goldp_ar", "tydiqa_goldp_fi"}
    assert written["complete"] is False
    (note,) = written["notes"]
    for language in ("bengali", "english", "indonesian", "korean", "russian", "swahili", "telugu"):
        assert language in note


def test_drawn_items_are_seeded_and_named_by_their_place_in_the_file(oracle, evaluate, data):
    ids = sample_ids(1319, 200, random.Random(42))
    assert len(set(ids)) == 200 and ids == sample_ids(1319, 200, random.Random(42)) != sorted(ids)
    assert set(ids) != set(sample_ids(1319, 200, random.Random(43)))
    assert sample_ids(3, 200, random.Random(42)) == sample_ids(3, None, random.Random(42)) == [0, 1, 2]
    _, out = evaluate("gsm8k", profile="paper-2023", data=str(data), limit=4)
    assert [item["item_id"] for item in items(out)] == ids[:4]
    lines = (data / "gsm8k" / "test.jsonl").read_text().splitlines()
    for item in items(out):
        assert json.loads(lines[item["item_id"]])["question"] in item["prompt"]


def test_each_task_draws_from_the_seed_or_one_generator_draws_for_all(oracle, evaluate, data):
    def drawn(draws):
        changes = {"draws": draws, "tasks": ("snarks", "navigate", "penguins_in_a_table")}
        _, out = evaluate("bbh", profile="paper-2023", data=str(data), changes=changes)
        found = {}
        for item in items(out):
            found.setdefault(item["task"].removeprefix("bbh_cot_fewshot_"), []).append(item["item_id"])
        return found

    sizes = {"navigate": 250, "penguins_in_a_table": 146, "snarks": 178}
    one = random.Random(42)
    assert drawn("one_generator") == {task: one.sample(range(size), 40) for task, size in sizes.items()}
    assert drawn("each_task") == {task: random.Random(42).sample(range(size), 40) for task, size in sizes.items()}


def test_without_bubblewrap_nothing_is_generated(oracle, evaluate, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(NotRun, match=r"bubblewrap is not installed \(apt install bubblewrap\)"):
        evaluate("humaneval")
    assert oracle.prompts == []


def test_completions_keep_their_indentation(data, llama_tokenizer, llama_lm):
    """LLaMA tokenizers drop one leading space when only the new tokens are decoded."""
    humaneval = benchmarks()["humaneval"]
    rows = humaneval.read(in_data_folder(humaneval, data), "")["test"]
    kept = dropped = 0
    for row in rows:
        prompt = llama_tokenizer.encode(row["prompt"])
        completion = llama_tokenizer.encode(row["prompt"] + row["canonical_solution"])[len(prompt) :]
        kept += llama_lm.tok_decode(completion) == row["canonical_solution"]
        dropped += llama_tokenizer.decode(completion) != row["canonical_solution"]
    assert kept == len(rows) and dropped > 100
