"""InstructDiff's evaluation profiles: prompts on the real files, the medical rule, and what nothing scores there."""

import csv
import json
import random
from statistics import fmean

import pytest
import torch

from selectit.config import ModelConfig
from selectit.evaluate.benchmarks.questions import load_questions
from selectit.evaluate.grading.released_graders import instructdiff_letter
from selectit.evaluate.profile import load_profile
from selectit.evaluate.stage_config import EvaluateStage

SUBJECTS = {
    "anatomy": 135, "clinical_knowledge": 265, "college_biology": 144, "college_chemistry": 100,
    "college_medicine": 173, "high_school_biology": 310, "high_school_psychology": 545, "human_aging": 223,
    "medical_genetics": 100, "nutrition": 306, "professional_medicine": 272, "virology": 166,
}  # fmt: skip
MATHEMATICS = ("math500", "minerva", "olympiadbench", "aime24", "amc23")
ALPACA = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{}\n\n### Response:\n"
)


def asked(profile, benchmark, data):
    """{task: prompts}, as lm-eval hands them to a model."""
    settings = load_profile(profile).benchmarks[benchmark]
    config = EvaluateStage(model=ModelConfig(path="none"), benchmark=settings, data=str(data))
    found = {}
    for name, task in load_questions(config).tasks.items():
        task.build_all_requests()
        assert {request.request_type for request in task.instances} <= {"first_tokens", "generate_until"}
        found[name] = [request.args[0] for request in task.instances]
    return found


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def medical(question, options):
    text = "Question: " + question + "\n\nOptions:\n"
    for letter, option in zip("ABCD", options, strict=True):
        text += letter + ". " + option + "\n"
    return text + "\nAnswer:"


def test_medical_prompts_are_the_scripts_on_the_real_files(data):
    rows = lines(data / "medqa" / "phrases_no_exclude_test.jsonl")
    (found,) = asked("instructdiff-medical", "medqa", data).values()
    assert found == [medical(row["question"], row["options"].values()) for row in rows] and len(found) == 1273
    rows = lines(data / "medmcqa" / "dev.json")
    (found,) = asked("instructdiff-medical", "medmcqa", data).values()
    assert found == [medical(row["question"], [row[f"op{one}"] for one in "abcd"]) for row in rows]
    found = asked("instructdiff-medical", "mmlu_medical", data)
    assert {task.removeprefix("mmlu_"): len(prompts) for task, prompts in found.items()} == SUBJECTS
    assert sum(SUBJECTS.values()) == 2739
    for subject in SUBJECTS:
        with (data / "mmlu" / "test" / f"{subject}_test.csv").open(newline="") as f:
            rows = list(csv.reader(f))[1:]
        assert found[f"mmlu_{subject}"] == [medical(row[0], row[1:5]) for row in rows]


def test_mathematics_and_general_are_asked_in_alpacas_form(data):
    for benchmark in MATHEMATICS:
        rows = lines(data / benchmark / "test.jsonl")
        (found,) = asked("instructdiff-mathematics", benchmark, data).values()
        assert found == [ALPACA.format(row.get("problem") or row.get("question")) for row in rows], benchmark
    rows = json.loads((data / "alpaca_eval_2" / "gpt4_1106_preview.json").read_text())
    (found,) = asked("instructdiff-general", "alpaca_eval_2", data).values()
    assert found == [ALPACA.format(row["instruction"]) for row in rows]


def test_mathematics_takes_16_samples_at_temperature_1_of_all_five_sets():
    benchmarks = load_profile("instructdiff-mathematics").benchmarks
    assert tuple(benchmarks) == MATHEMATICS
    for benchmark in benchmarks.values():
        assert (benchmark.num_samples, benchmark.temperature, benchmark.top_p) == (16, 1, 1)
        assert (benchmark.max_gen_toks, benchmark.metric, benchmark.items_per_task) == (4096, "avg@16", None)


def test_the_other_profiles_name_what_the_paper_names():
    assert tuple(load_profile("instructdiff-general").benchmarks) == ("alpaca_eval_2", "arena_hard")
    assert tuple(load_profile("instructdiff-medical").benchmarks) == ("medqa", "medmcqa", "mmlu_medical")
    code = load_profile("instructdiff-code").benchmarks
    assert tuple(code) == ("humaneval", "humaneval_plus", "mbpp", "mbpp_plus", "bigcodebench")
    notes = " ".join(load_profile("instructdiff-general").benchmarks["alpaca_eval_2"].notes)
    assert "weighted_alpaca_eval_gpt-4o-2024-08-06" in notes


TOKENS = [
    " A",
    "A",
    "a",
    " b",
    "B",
    "C",
    " c",
    "D",
    "d ",
    "\n",
    "The",
    " the",
    "",
    "Based",
    "Cab",
    "E",
    "(A",
    "A.",
    "ABCD",
    "#",
]


def slow_letter(first_tokens):
    """The script's rule, by scanning the letters instead of the tokens."""
    last = {}
    for letter in "ABCD":
        values = [value for text, value in first_tokens if text.strip() in (letter, letter.lower())]
        if values:
            last[letter] = values[-1]
    if last:
        best = max(last.values())
        order = [text.strip().upper() for text, _ in first_tokens]
        return min((letter for letter in last if last[letter] == best), key=order.index)
    for letter in "ABCD":
        if letter in first_tokens[0][0] or letter.lower() in first_tokens[0][0]:
            return letter
    return "A"


def test_the_medical_rule_reads_odd_first_tokens_as_the_script_does():
    generator = random.Random(0)
    tables = [[text] for text in TOKENS] + [generator.sample(TOKENS, generator.randint(2, 10)) for _ in range(200)]
    for texts in tables:
        values = sorted((round(-generator.expovariate(1), 1) for _ in texts), reverse=True)
        first_tokens = list(zip(texts, values, strict=True))
        assert instructdiff_letter(first_tokens) == slow_letter(first_tokens), first_tokens


@pytest.mark.parametrize(
    ("first_tokens", "letter"),
    [
        ([(" C", -0.1), (" A", -2.0)], "C"),
        ([("The", -0.1), (" c", -4.0), ("A", -5.0)], "C"),
        ([(" A", -0.1), (" B", -2.0), ("A", -6.0)], "B"),  # the second form of A overwrites the first
        ([("The", -0.1), (" It", -2.0)], "A"),
        ([("Based", -0.1), (" It", -2.0)], "A"),
        ([("Doc", -0.1), (" It", -2.0)], "C"),  # the alphabet's first, not the text's
        ([("", 0.0)], "A"),
        ([], "A"),
    ],
)
def test_the_medical_rule_read_by_hand(first_tokens, letter):
    assert instructdiff_letter(first_tokens) == letter


@pytest.mark.parametrize("benchmark", ["medqa", "medmcqa", "mmlu_medical"])
def test_a_right_first_token_is_right_and_an_empty_or_garbled_one_is_an_a(oracle, evaluate, data, benchmark):
    metrics, out = evaluate(benchmark, profile="instructdiff-medical", data=str(data), limit=20)
    assert metrics["value"] == 1
    item = json.loads((out / "items.jsonl").read_text().splitlines()[0])
    assert item["answer"] == item["target"] == item["outputs"][0][0]
    share = []
    for text in ("", "zq"):
        oracle.first_tokens = lambda requests, text=text: [[(text, -0.1)] for _ in requests]
        metrics, out = evaluate(benchmark, profile="instructdiff-medical", data=str(data))
        items = [json.loads(line) for line in (out / "items.jsonl").read_text().splitlines()]
        assert {item["answer"] for item in items} == {"A"}
        assert metrics["value"] == pytest.approx(fmean(item["target"] == "A" for item in items))
        share.append(f"{metrics['value']:.4f}")
    notes = " ".join(load_profile("instructdiff-medical").benchmarks[benchmark].notes)
    assert share[0] == share[1] and f"which scores {share[0]}" in notes


@pytest.mark.parametrize("text", ["", "zq vv. xx"])
def test_an_empty_or_garbled_solution_scores_0(oracle, evaluate, data, text):
    pytest.importorskip("math_verify")
    oracle.answer = lambda doc: text
    metrics, _ = evaluate("aime24", profile="instructdiff-mathematics", data=str(data))
    assert metrics["value"] == 0 and metrics["num_items"] == 30
    assert len(oracle.prompts) == 16 * 30
    assert "score 0" in " ".join(load_profile("instructdiff-mathematics").benchmarks["aime24"].notes)


def test_first_tokens_are_the_models_most_probable_ones(config_of, demo_model, tmp_path):
    """Of prompts that start alike and are read once, and of one beyond the context."""
    from lm_eval.api.instance import Instance

    from selectit.evaluate.model.lm import EvaluatedLM
    from selectit.inference.load import load_model, load_tokenizer

    model, tokenizer = load_model(demo_model), load_tokenizer(demo_model)
    lm = EvaluatedLM(model, tokenizer)
    lm.use(config_of("mmlu"), None, tmp_path)
    start = "The capital of France is Paris. " * 20
    prompts = [f"{start}{number}. Answer:" for number in range(5)] + ["Answer:", "word " * (lm.max_length + 1)]
    found = lm.first_tokens([Instance("first_tokens", {}, (prompt, 10), 0) for prompt in prompts])
    for prompt, first_tokens in zip(prompts, found, strict=True):
        ids = tokenizer(prompt, return_tensors="pt").input_ids[:, -lm.max_length :]
        with torch.no_grad():
            values, tokens = model(ids).logits[0, -1].float().log_softmax(-1).topk(10)
        assert [text for text, _ in first_tokens] == [tokenizer.decode([token], True) for token in tokens.tolist()]
        assert [value for _, value in first_tokens] == pytest.approx(values.tolist(), abs=1e-4)
    assert lm.truncated_prompts == {prompts[-1]}
    lm.finish()
