"""The stage end to end with a real small model, as it is, with an adapter, and fine-tuned in full."""

import json

import pytest

from selectit.errors import UserError
from selectit.evaluate.grading.sandbox import unavailable
from selectit.evaluate.model import load
from selectit.evaluate.model.lm import EvaluatedLM
from selectit.evaluate.model.weights import Weights
from selectit.evaluate.stage_config import EvaluateStage


def read(out):
    lines = (out / "items.jsonl").read_text().splitlines()
    return json.loads((out / "result.json").read_text()), [json.loads(line) for line in lines]


def outputs(out):
    return [item["outputs"] for item in read(out)[1]]


def test_a_benchmark_of_each_kind_runs_with_and_without_an_adapter(evaluate, adapter, full_checkpoint):
    for benchmark in ("mmlu", "gsm8k"):
        seen = []
        for inputs in ({}, {"model": adapter}, {"model": full_checkpoint}):
            metrics, out = evaluate(benchmark, inputs, limit=2)
            result, items = read(out)
            assert metrics["num_items"] == len(items) == result["num_items"] > 0
            assert 0 <= result["value"] <= 1 and result["status"] == "scored"
            assert result["model"]["adapter"] is (inputs.get("model") == adapter)
            assert result["model"]["dtype"] == "float32" and result["lm_eval_version"]
            assert sum(item["score"] for item in items) / len(items) == pytest.approx(result["value"])
            seen.append(outputs(out))
        assert seen[0] != seen[1] and seen[0] != seen[2], "the fine-tuned model must answer for itself"


def test_a_model_that_is_spread_over_memory_and_disk_has_the_same_answers(evaluate, demo_model):
    spread = demo_model.model_copy(update={"device_map": "auto", "max_memory": "2MB"})
    for benchmark in ("mmlu", "gsm8k"):
        whole = outputs(evaluate(benchmark, limit=2)[1])
        _, out = evaluate(benchmark, limit=2, model=spread, num_processes=2)
        assert outputs(out) == whole


def test_consecutive_benchmarks_share_one_loaded_model(evaluate, monkeypatch, adapter):
    load.forget_lm()
    loads = []
    real = load.load_model
    monkeypatch.setattr(load, "load_model", lambda model: loads.append(model) or real(model))
    evaluate("mmlu", limit=1)
    evaluate("tydiqa", limit=1)
    assert len(loads) == 1
    evaluate("tydiqa", {"model": adapter}, limit=1)
    assert len(loads) == 2


def test_an_adapter_that_changes_nothing_is_refused(evaluate, untrained_adapter):
    with pytest.raises(UserError, match="changes nothing"):
        evaluate("mmlu", {"model": untrained_adapter}, limit=1)


def test_an_adapter_from_elsewhere_is_evaluated_like_one_of_an_artifact(evaluate, adapter):
    _, out = evaluate("tydiqa", {"model": adapter}, limit=2)
    of_the_artifact = outputs(out)
    _, out = evaluate("tydiqa", adapter=str(adapter / "adapter"), limit=2)
    assert outputs(out) == of_the_artifact and read(out)[0]["model"]["adapter"]
    with pytest.raises(UserError, match="both"):
        evaluate("tydiqa", {"model": adapter}, adapter=str(adapter / "adapter"), limit=2)


def test_an_artifact_without_weights_is_refused(evaluate, tmp_path):
    with pytest.raises(UserError, match=r"adapter/adapter_config\.json"):
        evaluate("mmlu", {"model": tmp_path}, limit=1)


def test_a_rerun_gives_the_same_answers_and_overwrites(evaluate):
    _, out = evaluate("bbh", limit=1)
    before = (out / "items.jsonl").read_bytes()
    (out / "items.jsonl").write_text("half a li")
    evaluate("bbh", limit=1)
    assert (out / "items.jsonl").read_bytes() == before


@pytest.mark.skipif(unavailable("bwrap") is not None, reason=str(unavailable("bwrap")))
def test_samples_do_not_depend_on_the_batch_size_and_do_on_the_seed(evaluate):
    _, out = evaluate("humaneval", batch_size=1)
    one = outputs(out)
    _, out = evaluate("humaneval", batch_size=7)
    assert outputs(out) == one
    assert any(len(set(completions)) > 1 for completions in one), "the samples of one task must differ"
    _, out = evaluate("humaneval", seed=43)
    assert outputs(out) != one


def test_answers_end_at_the_end_token_and_prompts_stand_in_the_training_template(evaluate):
    _, out = evaluate("alpaca_eval")
    _, items = read(out)
    for item in items:
        assert item["prompt"].endswith("### Response:\n") and item["prompt"].count("<s>") == 1
        assert "</s>" not in item["outputs"][0]


def test_chat_format_without_a_template_is_refused(evaluate):
    with pytest.raises(UserError, match="template"):
        evaluate("alpaca_eval", template=None)


def test_prompts_that_lose_their_beginning_are_counted(evaluate, monkeypatch):
    monkeypatch.setattr(EvaluatedLM, "max_length", 100)
    for benchmark in ("mmlu", "gsm8k"):
        _, out = evaluate(benchmark, limit=1)
        assert any("lost their beginning" in note for note in read(out)[0]["notes"]), benchmark


def test_new_tokens_take_at_most_half_of_the_context_and_the_result_states_it(evaluate, monkeypatch):
    monkeypatch.setattr(EvaluatedLM, "max_length", 100)
    _, out = evaluate("gsm8k", limit=1, changes={"max_gen_toks": 64})
    found = read(out)[0]
    assert found["complete"] is False
    assert "max_gen_toks lowered from 64 to 50: the model's context has 100 tokens" in found["notes"]


def test_no_foreign_progress_bar_or_log_line_is_shown(evaluate, capfd):
    load.forget_lm()
    for benchmark in ("mmlu", "tydiqa", "gsm8k"):
        evaluate(benchmark, limit=1)
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_the_progress_bar_counts_every_request(demo_model, demo_data, tmp_path):
    from selectit.evaluate.benchmarks.questions import ask, load_questions
    from selectit.evaluate.profile import load_profile

    for name, benchmark in load_profile("miniature").benchmarks.items():
        config = EvaluateStage(model=demo_model, benchmark=benchmark, data=str(demo_data), template="alpaca", limit=1)
        questions = load_questions(config)
        lm = load.load_lm(demo_model, Weights())
        lm.use(config, "alpaca" if benchmark.chat_template else None, tmp_path)
        finished = []
        ask(lm, questions, config, finished.append)
        assert sum(finished) == questions.num_requests, name
