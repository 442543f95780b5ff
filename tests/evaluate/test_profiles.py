"""Profiles, the files they read, and that both are known without a heavy import."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from selectit.config.evaluate import PROFILES
from selectit.errors import UserError
from selectit.evaluate.profile import data_files, load_profile

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["paper-2023", "full", "miniature"])
def test_every_profile_parses_and_carries_the_papers_benchmarks(name):
    profile = load_profile(name)
    assert list(profile.benchmarks) == ["mmlu", "bbh", "gsm8k", "tydiqa", "humaneval", "alpaca_eval"]
    assert profile.name == name and profile.description
    assert name in PROFILES


def test_the_paper_profile_is_the_released_evaluation():
    benchmarks = load_profile("paper-2023").benchmarks
    asked = {name: (b.prompts, b.grader, b.items_per_task, b.max_gen_toks, b.until) for name, b in benchmarks.items()}
    assert asked == {
        "mmlu": ("selectit", None, None, None, None),
        "bbh": ("selectit", "selectit_bbh", 40, 512, ("\n\n",)),
        "gsm8k": ("selectit", "selectit_gsm8k", 200, 512, ("\n",)),
        "tydiqa": ("selectit", "selectit_tydiqa", 100, 50, ("\n",)),
        "humaneval": (None, None, None, 512, ("\nclass", "\ndef", "\n#", "\nif", "\nprint")),
        "alpaca_eval": ("selectit", None, None, 256, ()),
    }
    for name in ("bbh", "gsm8k", "tydiqa"):
        assert (benchmarks[name].draws, benchmarks[name].sample_seed) == ("one_generator", 42)
    assert (benchmarks["mmlu"].num_fewshot, benchmarks["tydiqa"].num_fewshot) == (5, 1)
    humaneval = benchmarks["humaneval"]
    assert (humaneval.num_samples, humaneval.metric) == (20, "pass@10")
    assert (humaneval.temperature, humaneval.top_p) == (0.8, 0.95)
    assert all(benchmark.notes for benchmark in benchmarks.values())


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("humaneval: {metric: pass@1, prompts: selectit}", "humaneval has one form of prompts; leave it out"),
        (
            "gsm8k: {metric: 'exact_match', prompts: instructdiff}",
            "gsm8k has no prompts of instructdiff; it has selectit",
        ),
        (
            "alpaca_eval: {metric: win_rate, prompts: selectit, chat_template: true}",
            "leave out `prompts` for the training",
        ),
        ("gsm8k: {metric: 'exact_match', prompts: selectti}", "Input should be 'selectit' or 'instructdiff'"),
        ("bbh: {metric: exact_match, draws: at_once}", "Input should be 'each_task' or 'one_generator'"),
    ],
)
def test_a_form_of_prompts_that_a_benchmark_does_not_have_is_refused(tmp_path, entry, says):
    path = tmp_path / "mine.yaml"
    path.write_text(f"benchmarks:\n  {entry}\n")
    with pytest.raises(UserError) as refused:
        load_profile(str(path))
    assert says in str(refused.value)


def test_an_unknown_profile_names_the_nearest():
    with pytest.raises(UserError, match="Did you mean 'paper-2023'"):
        load_profile("paper-2032")


def test_a_file_of_the_same_form_is_a_profile_and_all_its_faults_are_shown(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("benchmarks:\n  mmlu: {metric: acc, tasks: [anatomy]}\n")
    profile = load_profile(str(path))
    assert profile.name == "mine" and profile.benchmarks["mmlu"].tasks == ("anatomy",)
    path.write_text(
        "benchmarks:\n  mmlu: {metric: acc, num_fewshoot: 3}\n  bbh: {metric: exact_match, tasks: [snark]}\n"
        "  gsm9k: {metric: x}\n  gsm8k: {metric: exactmatch}\n  tydiqa: {}\n"
        "  humaneval: {metric: pass@10, pass_at: [10], num_samples: 4, temperature: 1}\n"
    )
    with pytest.raises(UserError) as error:
        load_profile(str(path))
    for part in ("num_fewshot'", "'snarks'", "'gsm8k'", "gsm8k.metric", "tydiqa.metric", "num_samples of at least 10"):
        assert part in str(error.value), part


def test_data_files_name_what_a_benchmark_reads_and_what_is_missing(tmp_path):
    benchmarks = load_profile("miniature").benchmarks
    files = {name: data_files(benchmark, ROOT / "demo" / "benchmarks") for name, benchmark in benchmarks.items()}
    assert {name: len(found) for name, found in files.items()} == {
        "mmlu": 8, "bbh": 3, "gsm8k": 1, "tydiqa": 2, "humaneval": 1, "alpaca_eval": 1,
    }  # fmt: skip
    for benchmark in benchmarks.values():
        with pytest.raises(UserError, match=rf"{tmp_path / benchmark.name}(.|\n)*published as .*github\.com"):
            data_files(benchmark, tmp_path)
    with pytest.raises(UserError, match=r"abstract_algebra_dev\.csv"):
        data_files(load_profile("full").benchmarks["mmlu"], ROOT / "demo" / "benchmarks")


def test_profiles_import_nothing_heavy():
    code = (
        "import sys; from selectit.evaluate.profile import load_profile, data_files; load_profile('full')\n"
        "print([m for m in ('torch', 'transformers', 'lm_eval', 'datasets', 'peft') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_import_evaluate_finds_hugging_faces_package():
    code = "import importlib.util; print(importlib.util.find_spec('evaluate').origin)"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    in_this_process = importlib.util.find_spec("evaluate").origin  # whose path holds the root under `python -m pytest`
    for origin in (found.stdout.strip(), in_this_process):
        assert origin.endswith("site-packages/evaluate/__init__.py")


BAD = """description: x
benchmarks:
  humaneval: {metric: "pass@1", num_samples: 1, temperature: 0.8, max_gen_toks: 0, pass_at: [0]}
  gsm8k: {metric: "exact_match,flexible-extract", max_gen_toks: -5, until: [""]}
  bbh: {metric: exact_match, top_p: 0.5, until: ["x", "x"], pass_at: [1]}
  mmlu: {metric: acc, until: ["x"], num_fewshot: 9, items_per_task: 3, tasks: [anatomy, anatomy]}
  tydiqa: {metric: f1, num_fewshot: "1", max_gen_toks: true}
  medqa: {metric: 3}
  math500: {metric: avg@1, tasks: []}
"""


def test_values_are_checked_when_the_file_is_read(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text(BAD)
    with pytest.raises(UserError) as error:
        load_profile(str(path))
    for part in (
        "humaneval.max_gen_toks: Input should be greater than or equal to 1 (found 0)",
        "humaneval.pass_at.0: Input should be greater than or equal to 1 (found 0)",
        "gsm8k.max_gen_toks: Input should be greater than or equal to 1 (found -5)",
        "gsm8k.until.0: String should have at least 1 character (found '')",
        "bbh.top_p: 0.5 is of sampling, and temperature 0 is greedy",
        "bbh.until: 'x' twice",
        "bbh.pass_at: bbh runs no programs",
        "mmlu.until: mmlu is answered by its choices, nothing is generated",
        "mmlu.num_fewshot: 9, and mmlu has 5 demonstrations",
        "mmlu.tasks: 'anatomy' twice",
        "tydiqa.num_fewshot: Input should be a valid integer (found '1')",
        "tydiqa.max_gen_toks: Input should be a valid integer (found True)",
        "medqa.metric: Input should be a valid string (found 3)",
        "math500.tasks: Tuple should have at least 1 item",
    ):
        assert part in str(error.value), part


def test_a_key_that_stands_twice_is_refused(tmp_path):
    path = tmp_path / "twice.yaml"
    path.write_text(
        "benchmarks:\n  mmlu: {metric: acc}\n  bbh: {metric: exact_match}\n  mmlu: {metric: acc, num_fewshot: 0}\n"
    )
    with pytest.raises(UserError, match="mmlu"):
        load_profile(str(path))


def test_too_few_demonstrations_in_a_folder_are_known_before_anything_runs(tmp_path, demo_data):
    from selectit.evaluate.benchmarks.questions import check_data

    entry = load_profile("miniature").benchmarks["mmlu"]
    check_data(entry, demo_data)
    (tmp_path / "mmlu").mkdir()
    for split in ("dev", "test"):
        (tmp_path / "mmlu" / split).mkdir()
        row = "What?,a,b,c,d,A\n"
        (tmp_path / "mmlu" / split / f"astronomy_{split}.csv").write_text(row * 3)
    with pytest.raises(UserError, match=r"astronomy_dev\.csv has 3 demonstrations of astronomy, and num_few"):
        check_data(entry.model_copy(update={"tasks": ("astronomy",)}), tmp_path)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("name: bbh", "gsm8k.name: the key of an entry is its benchmark"),
        ("revision: ''", "gsm8k.revision: "),
        ("temperature: 1.0e-300", "gsm8k.temperature: 1e-300; 0 is greedy"),
        ("temperature: 1.0e+300", "gsm8k.temperature: 1e\\+300; 0 is greedy"),
    ],
)
def test_a_setting_that_would_be_dropped_or_fail_later_is_refused_when_read(tmp_path, setting, words):
    entry = "metric: 'exact_match,flexible-extract', max_gen_toks: 8"
    (tmp_path / "p.yaml").write_text(f"description: x\nbenchmarks:\n  gsm8k: {{{entry}, {setting}}}\n")
    with pytest.raises(UserError, match=words):
        load_profile(str(tmp_path / "p.yaml"))
