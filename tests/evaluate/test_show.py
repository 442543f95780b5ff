"""`--show`: the prompts of a real run, without weights, and what is read out of the right answer."""

import json

import pytest
from typer.testing import CliRunner

from selectit.cli.app import app
from selectit.errors import UserError
from selectit.evaluate.profile import load_profile
from selectit.evaluate.show import asked, print_asked
from selectit.evaluate.stage_config import EvaluateStage


@pytest.fixture
def configure(demo_model, demo_data):
    def make(benchmark, profile="miniature", data=demo_data, template="alpaca", model=demo_model):
        settings = load_profile(profile).benchmarks[benchmark]
        return EvaluateStage(model=model, benchmark=settings, profile=profile, data=str(data), template=template)

    return make


@pytest.mark.parametrize("benchmark", ["mmlu", "bbh", "gsm8k", "tydiqa", "alpaca_eval"])
def test_the_prompts_are_those_of_a_real_run(evaluate, configure, benchmark):
    _, out = evaluate(benchmark, limit=2)
    asked_by_the_run = [json.loads(line)["prompt"] for line in (out / "items.jsonl").read_text().splitlines()]
    assert [one.item.prompt for one in asked(configure(benchmark), 2)] == asked_by_the_run[:2]


@pytest.mark.parametrize("profile", ["paper-2023", "full", "miniature"])
@pytest.mark.parametrize("benchmark", ["mmlu", "bbh", "gsm8k", "tydiqa", "humaneval", "alpaca_eval"])
def test_the_right_answer_goes_through_the_extraction_and_is_right(configure, data, demo_data, benchmark, profile):
    lines = []
    print_asked(configure(benchmark, profile, demo_data if profile == "miniature" else data), 2, lines.append)
    text = "\n".join(lines)
    assert text.count("end of the prompt") in (1, 2), "tydiqa's sample has one question a language"
    if benchmark in ("mmlu", "bbh", "gsm8k", "tydiqa"):
        assert text.count(f"{load_profile(profile).benchmarks[benchmark].metric} 1\n") == text.count("right answer: ")
    settings = lines[0]
    assert ("most probable" in settings) == (benchmark == "mmlu")
    assert ("stop strings: " in settings) == (benchmark != "mmlu")
    assert ("chat format, template alpaca" in settings) == (benchmark == "alpaca_eval" and profile != "paper-2023")
    notes = load_profile(profile).benchmarks[benchmark].notes
    assert settings.count("note: ") == len(notes) and all(note in settings for note in notes)


@pytest.mark.parametrize(
    ("profile", "benchmark", "says"),
    [
        ("instructdiff-medical", "medqa", "most probable letter, A to D, among the 10 first tokens"),
        ("instructdiff-medical", "mmlu_medical", "tasks: 12, of which this is the first: anatomy"),
        ("instructdiff-mathematics", "minerva", "temperature 1, top_p 1; 16 completions of each"),
        ("instructdiff-general", "alpaca_eval_2", "weighted_alpaca_eval_gpt-4o-2024-08-06"),
        ("instructdiff-code", "humaneval", "512 new tokens at most; greedy"),
    ],
)
def test_instructdiffs_profiles_are_shown_with_their_notes(configure, data, profile, benchmark, says):
    lines = []
    print_asked(configure(benchmark, profile, data), 2, lines.append)
    assert says in lines[0] and lines[0].count("note: ") == len(load_profile(profile).benchmarks[benchmark].notes)
    if profile != "instructdiff-code":
        assert "asks it: prompts of instructdiff; metric" in lines[0]
    if benchmark in ("medqa", "mmlu_medical", "minerva"):
        metric = load_profile(profile).benchmarks[benchmark].metric
        assert "\n".join(lines).count(f"{metric} 1\n") == 2


def test_only_chat_format_and_cut_prompts_need_a_tokenizer(configure, demo_model, data):
    nowhere = demo_model.model_copy(update={"path": "/nowhere"})
    assert asked(configure("gsm8k", model=nowhere), 1)
    assert asked(configure("bbh", "paper-2023", data, model=nowhere), 1)
    with pytest.raises(UserError, match="no tokenizer could be loaded"):
        asked(configure("mmlu", "paper-2023", data, model=nowhere), 1)
    with pytest.raises(UserError, match="no tokenizer could be loaded"):
        asked(configure("alpaca_eval", model=nowhere), 1)
    with pytest.raises(UserError, match="--template"):
        asked(configure("alpaca_eval", template=None), 1)


def test_the_command_prints_prompts_and_needs_neither_model_nor_folder(demo_data):
    def run(*arguments):
        return CliRunner().invoke(app, ["evaluate", "--profile", "miniature", "--data", str(demo_data), *arguments])

    shown = run("--show", "gsm8k,mmlu", "--items", "2")
    assert shown.exit_code == 0 and shown.output.count("end of the prompt") == 4
    assert "stop strings: '</s>', '\\n', and the end token; 48 new tokens at most; greedy" in shown.output
    assert "add --model" in str(run("--show", "alpaca_eval").exception)
    assert "cut to a number of tokens" in str(run("--show", "mmlu", "--profile", "paper-2023").exception)
    assert "'gsm8k'" in str(run("--show", "gsm9k").exception)
    assert "needs --model (or --adapter) and --out" in str(run().exception)
