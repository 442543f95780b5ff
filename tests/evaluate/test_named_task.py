"""Any task of lm-eval by name gives lm-eval's own numbers, and what is wrong with it is found before a training."""

import contextlib
import json
import math
import statistics

import pytest
from own_tasks import write_tasks
from test_resume import asked, items, kill_in_the_middle  # noqa: F401

from selectit.errors import UserError
from selectit.evaluate.benchmarks.task_config import NamedTaskConfig
from selectit.evaluate.stage_config import EvaluateStage


@pytest.fixture
def own(tmp_path):
    return write_tasks(tmp_path / "tasks")


@pytest.fixture
def entry(own):
    def make(task, metric, **fields):
        settings = {"name": "mine", "task": task, "metric": metric, "include_path": str(own)}
        return NamedTaskConfig(**{**settings, **fields})

    return make


@pytest.fixture
def config(entry, demo_model):
    def make(task, metric, limit=None, template=None, **fields):
        benchmark = entry(task, metric, **fields)
        return EvaluateStage(
            model=demo_model, benchmark=benchmark, limit=limit, template=template, batch_size=4, seed=0
        )

    return make


@pytest.fixture
def run(tmp_path, config):
    import io

    from rich.console import Console

    from selectit.evaluate import stage
    from selectit.tracking import Tracker

    def make(*arguments, **fields):
        out = tmp_path / "out"
        out.mkdir(exist_ok=True)
        metrics = stage.run(config(*arguments, **fields), {}, out, Tracker(out, Console(file=io.StringIO())))
        lines = [json.loads(line) for line in (out / "items.jsonl").read_text().splitlines()]
        return metrics, json.loads((out / "result.json").read_text()), lines

    return make


def lm_evals_own(own, demo_model, task, num_fewshot=None):
    """The same task by lm-eval itself, with its own Hugging Face model."""
    from lm_eval.evaluator import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    from selectit.inference.load import load_model, load_tokenizer

    lm = HFLM(pretrained=load_model(demo_model), tokenizer=load_tokenizer(demo_model), batch_size=4)
    with contextlib.chdir(own):
        manager = TaskManager(include_defaults=False, include_path=str(own))
        return simple_evaluate(
            lm, tasks=[task], task_manager=manager, num_fewshot=num_fewshot, log_samples=True, bootstrap_iters=1000
        )


@pytest.mark.parametrize(
    ("task", "metric", "num_fewshot"),
    [
        ("sums_choice", "acc_norm,none", None),
        ("sums_choice", "acc,none", 3),
        ("sums_text", "near,number", 2),
        ("sums", "acc,none", 1),
        ("sums", "acc_norm,none", None),
    ],
)
def test_numbers_are_lm_evals_own(own, run, demo_model, task, metric, num_fewshot):
    theirs = lm_evals_own(own, demo_model, task, num_fewshot)
    metrics, result, lines = run(task, metric, num_fewshot=num_fewshot)
    numbers = theirs["results"][task]
    assert metrics["value"] == pytest.approx(numbers[metric], abs=1e-12)
    assert metrics["stderr"] == pytest.approx(numbers[metric.replace(",", "_stderr,")], abs=1e-12)
    base, _, chosen = metric.partition(",")
    wanted = [
        (name, sample["doc_id"], float(sample[base]), sample["arguments"]["gen_args_0"]["arg_0"])
        if isinstance(sample["arguments"], dict)
        else (name, sample["doc_id"], float(sample[base]), sample["arguments"][0][0])
        for name, samples in theirs["samples"].items()
        for sample in samples
        if sample["filter"] == chosen
    ]
    assert [(i["task"], i["item_id"], i["score"], i["prompt"]) for i in lines] == wanted
    assert result["num_items"] == len(wanted) and result["status"] == "scored" and result["complete"]
    assert {name: found["value"] for name, found in result["metrics"].items()} == pytest.approx(
        {name: value for name, value in numbers.items() if "," in name and "_stderr" not in name}
    )


def test_an_item_shows_its_choices_and_the_one_that_the_metric_takes(run):
    _, result, lines = run("sums_choice", "acc_norm,none", limit=4)
    assert result["notes"] == ["limited to 4 items per task (evaluate.limit)"] and not result["complete"]
    for line in lines:
        assert line["target"] == line["choices"][1] and line["source_id"].count("+") == 1
        by_length = [value / len(choice) for value, choice in zip(line["outputs"], line["choices"], strict=True)]
        assert line["answer"] == line["choices"][by_length.index(max(by_length))]
        assert line["score"] == float(line["answer"] == line["target"])


def test_a_generated_answer_has_its_text_what_was_read_and_its_health(run):
    _, result, lines = run("sums_text", "exact_match,number", limit=5, until=["\n\n"], max_gen_toks=6)
    assert all(isinstance(line["outputs"][0], str) and line["endings"][0] in ("end", "stop", "limit") for line in lines)
    for line in lines:
        assert line["outcomes"] == (["read"] if line.get("answer") else ["unparsed"])
    assert result["outcomes"]["read"] + result["outcomes"]["unparsed"] == 5
    assert set(result["answer_health"]) == {"empty", "unparsed", "limit", "end", "truncated"}
    assert result["grader"]["name"] == "lm_eval"


def test_a_metric_in_points_is_divided_by_its_scale(run, own, monkeypatch):
    from selectit.inference.answerer import Answerer
    from selectit.inference.requests import Answer

    monkeypatch.setattr(Answerer, "answer", lambda self, batch: [Answer("4", 3, "end") for _ in batch.items])
    metrics, _, lines = run("sums_points", "points,none", scale=100)
    right = sum(json.loads(line)["answer"] == "4" for line in (own / "sums.jsonl").read_text().splitlines())
    assert right == 1 and metrics["value"] == pytest.approx(right / 20)
    assert {line["score"] for line in lines} == {0.0, 1.0}
    assert metrics["stderr"] == pytest.approx(math.sqrt(0.05 * 0.95 / 19))


def test_a_metric_of_all_items_together_has_no_score_of_an_item(own, run, demo_model, capfd):
    theirs = lm_evals_own(own, demo_model, "sums_even")["results"]["sums_even"]
    capfd.readouterr()
    metrics, _, lines = run("sums_even", "f1,none")
    assert metrics["value"] == pytest.approx(theirs["f1,none"]) and all(line["score"] is None for line in lines)
    assert 0 < metrics["stderr"] == pytest.approx(theirs["f1_stderr,none"])
    assert "bootstrapping" not in capfd.readouterr().out


def test_a_mean_without_lm_evals_standard_error_has_that_of_its_items(own, run, demo_model):
    theirs = lm_evals_own(own, demo_model, "sums_even")["results"]["sums_even"]
    assert theirs["acc_stderr,none"] == "N/A", "of an aggregation that lm-eval does not know"
    metrics, _, lines = run("sums_even", "acc,none")
    scores = [line["score"] for line in lines]
    assert metrics["value"] == pytest.approx(theirs["acc,none"]) == pytest.approx(sum(scores) / 20)
    assert metrics["stderr"] == pytest.approx(statistics.stdev(scores) / math.sqrt(20))


def test_choices_that_are_equally_probable_are_counted_in_a_note(run, monkeypatch):
    from selectit.inference.answerer import Answerer
    from selectit.inference.requests import Answer

    def answer(self, batch):
        return [Answer([[-1.0, False] for _ in one.continuations], 3) for one in batch.items]

    monkeypatch.setattr(Answerer, "answer", answer)
    _, result, _ = run("sums_choice", "acc,none")
    assert (
        result["notes"] == ["of 20 of 20 items all choices are equally probable; lm-eval takes the first of them"]
        and result["value"] == 0
    )


def test_a_data_set_of_the_hub_is_read_at_its_commit(entry, own, monkeypatch):
    import datasets

    from selectit.evaluate.benchmarks.named_task import load_task

    loads = []

    def load(path, name=None, **options):
        loads.append((path, name, options))
        return datasets.DatasetDict({"test": datasets.Dataset.from_json(str(own / "sums.jsonl"))})

    monkeypatch.setattr(datasets, "load_dataset", load)
    text = (own / "sums_even.yaml").read_text().replace("sums_even", "hub")
    text += "dataset_path: some/rows\ndataset_name: small\ndataset_kwargs: {}\ntraining_split: null\n"
    (own / "hub.yaml").write_text(text)
    load_task(entry("hub", "acc,none", commits=(("some/rows", "c" * 40),)))
    assert loads == [("some/rows", "small", {"revision": "c" * 40})]
    assert datasets.load_dataset is load, "as it was"


def test_items_are_drawn_with_the_seed_and_shots_do_not_depend_on_it(run):
    _, _, lines = run("sums_choice", "acc,none", items_per_task=5, sample_seed=7)
    import random

    assert [line["item_id"] for line in lines] == random.Random(7).sample(range(20), 5)


def test_shots_are_not_part_of_an_item_for_the_contamination_check(run, tmp_path):
    from selectit.report.sections.contamination import own_prompts

    _, _, lines = run("sums_choice", "acc,none", num_fewshot=2, limit=3)
    assert all(line["prompt"].count("Question:") == 3 for line in lines)
    assert len({line["prompt"][:30] for line in lines}) > 1, "other shots for other items"
    assert own_prompts(tmp_path / "out" / "items.jsonl") == ["3?\nAnswer:", "4?\nAnswer:", "5?\nAnswer:"]


def test_chat_format_stands_in_the_training_template(run):
    _, _, lines = run("sums_choice", "acc,none", limit=2, chat_template=True, template="alpaca")
    prompt = lines[0]["prompt"]
    assert "### Instruction:\nQuestion: What is 1 plus 3?\nAnswer:\n\n### Response:" in prompt


def test_a_killed_task_asks_only_what_was_in_flight(run, config, asked, tmp_path):  # noqa: F811
    metrics, _, _ = run("sums_text", "near,number")
    out, num_asked = tmp_path / "out", len(asked)
    whole = items(out)
    (out / "items.jsonl").unlink()
    kept = kill_in_the_middle(config("sums_text", "near,number"), out, num_answers=4)
    assert 0 < kept < num_asked
    asked.clear()
    again, _, _ = run("sums_text", "near,number")
    assert len(asked) == num_asked - kept and items(out) == whole and again["value"] == metrics["value"]


@pytest.mark.parametrize(("task", "metric"), [("sums_choice", "acc_norm,none"), ("sums_text", "near,number")])
def test_what_is_asked_of_vllm_gives_the_same_items(run, monkeypatch, demo_model, tmp_path, task, metric):
    """With an engine of plain transformers at the other end of vLLM's socket."""
    from test_vllm import PlainEngine, assert_equal_items

    from selectit.evaluate.model.load import load_lm
    from selectit.evaluate.model.weights import Weights
    from selectit.inference.answerer import Answerer
    from selectit.inference.vllm_answerer import VllmAnswerer

    _, _, ours = run(task, metric, limit=6)
    lm = load_lm(demo_model, Weights())
    vllm = VllmAnswerer(lambda: PlainEngine(lm.model), lm.tok_decode, "demo")
    monkeypatch.setattr(Answerer, "answer", lambda self, batch: vllm.answer(batch))
    _, _, theirs = run(task, metric, limit=6)
    assert_equal_items(ours, theirs)


def test_the_task_is_kept_as_lm_eval_has_it(run, tmp_path):
    from importlib.metadata import version

    run("sums_text", "near,number", limit=1, num_fewshot=2)
    kept = json.loads((tmp_path / "out" / "lm_eval_task.json").read_text())
    assert kept["lm_eval"] == version("lm_eval") and kept["task"] == "sums_text"
    assert kept["configs"]["sums_text"]["num_fewshot"] == 2
    assert "def near" in json.dumps(kept["configs"]), "functions as their text"


@pytest.mark.parametrize(
    ("task", "fields", "message"),
    [
        ("sums_choice", {"metric": "f1,none"}, r"\.metric: 'f1,none' is not one of acc,none, acc_norm,none"),
        ("sums_choice", {"num_fewshot": 6}, r"\.num_fewshot: 6, and sums_choice has 5 demonstrations"),
        ("sums_choice", {"max_gen_toks": 8}, r"\.max_gen_toks: sums_choice generates no text"),
        ("sums_text", {"metric": "exact_match,none"}, "Did you mean 'exact_match,number'"),
        ("sums", {"metric": "near,none"}, "not a number of the group sums; its numbers are acc,none, acc_norm,none"),
        ("bare", {}, "it has no number of its own .aggregate_metric_list.. Its tasks have acc,none"),
        ("sums_rolling", {"metric": "word_perplexity,none"}, "measures the perplexity of whole texts"),
        ("sums_points", {"metric": "lines,none"}, "lm-eval does not state that higher is better"),
        ("sums_points", {"metric": "points,none"}, r"\.scale: right answers get 100 of points,none"),
        ("ifeval", {"metric": "prompt_level_strict_acc,none"}, "ifeval (is graded by its|counts sentences with)"),
        ("arc_challenge", {}, "its data is on the hub: allenai/ai2_arc.*selectit validate RECIPE --inputs"),
    ],
)
def test_what_cannot_be_run_or_scored_is_found_in_preflight(entry, task, fields, message):
    from selectit.evaluate.benchmarks.task_check import check_task

    with pytest.raises(UserError, match=f"(?i){message}"):
        check_task(entry(task, **{"metric": "acc,none", **fields}))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("unsafe_code: true", "runs code that a model wrote"),
        ("num_fewshot: 0", "is asked without shots"),
        ("generation_kwargs: {until: ['x'], top_k: 5}", "sets top_k of its generation_kwargs"),
        ("generation_kwargs: {until: ['x'], do_sample: true, temperature: 0.7}", "write temperature: 0.7"),
        ("process_results: !function broken.fails", "on empty answers to its first items lm-eval raised KeyError"),
        ("doc_to_text: !function missing.nothing", "cannot be loaded"),
        (
            "include: sums_even.yaml\ndoc_to_choice: ['no', 'yes', 'maybe']",
            "on empty answers to its first items lm-eval raised ValueError: Target is multiclass",
        ),
        ("doc_to_text: !function needs.package", "needs the Python package not_installed: pip install not_installed"),
    ],
)
def test_what_a_task_needs_and_cannot_have_is_said(own, entry, line, message):
    from selectit.evaluate.benchmarks.task_check import check_task

    (own / "broken.py").write_text("def fails(doc, results):\n    return {'exact_match': {}[results[0]]}\n")
    (own / "needs.py").write_text("import not_installed\n\n\ndef package(doc):\n    return ''\n")
    included = "" if "include:" in line else "include: sums_text.yaml\n"
    (own / "bad.yaml").write_text(f"{included}task: bad\n{line}\n")
    with pytest.raises(UserError, match=message):
        check_task(entry("bad", "exact_match,number", num_fewshot=1))


def test_a_name_that_two_files_have_is_refused(own, entry):
    from selectit.evaluate.benchmarks.task_check import check_task

    text = (own / "sums_text.yaml").read_text()
    (own / "copy_of_sums_text.yaml").write_text(text)
    with pytest.raises(
        UserError, match=r"sums_text\.yaml defines sums_text, and so does .*copy_of_sums_text\.yaml; give"
    ):
        check_task(entry("sums_text", "exact_match,number"))
    (own / "copy_of_sums_text.yaml").unlink()
    (own / "sums_text.yaml").write_text("\ufeff" + text)
    check_task(entry("sums_text", "exact_match,number"))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("", "a split of its data has no rows"),
        ("no json\n", r"DatasetGenerationError: .*; ArrowInvalid: JSON parse error"),
    ],
)
def test_data_that_cannot_be_read_is_named_with_its_cause(own, entry, rows, message):
    from selectit.evaluate.benchmarks.task_check import check_task

    (own / "none.jsonl").write_text(rows)
    text = "task: bad\ndataset_path: json\ndataset_kwargs: {data_files: {test: none.jsonl}}\ntest_split: test\n"
    (own / "bad.yaml").write_text(
        f"{text}doc_to_text: '{{{{q}}}}'\ndoc_to_target: '{{{{q}}}}'\nmetric_list: [{{metric: exact_match}}]\n"
    )
    with pytest.raises(UserError, match=message):
        check_task(entry("bad", "exact_match,none"))


def test_preflight_takes_a_task_that_can_be_run(entry):
    from selectit.evaluate.benchmarks.task_check import check_task

    check_task(entry("sums", "acc,none", num_fewshot=4))
    check_task(entry("sums_points", "points,none", scale=100))
