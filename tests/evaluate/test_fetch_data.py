"""`selectit data fetch --benchmarks`: rows of the hub, in folders of its layout, become files that the readers read."""

import gzip
import json

import pytest
import yaml
from typer.testing import CliRunner

from selectit.cli.app import app
from selectit.data.fetch import Source
from selectit.errors import UserError
from selectit.evaluate.benchmarks import fetch_data
from selectit.evaluate.benchmarks.fetch_data import fetch_benchmark
from selectit.evaluate.benchmarks.files import chosen_tasks, data_files, in_data_folder
from selectit.evaluate.benchmarks.registry import benchmarks
from selectit.evaluate.profile import load_profile

CHOICES = ["None", "two", 'a "quoted", text', "d\nlines"]
MEDICAL = chosen_tasks(load_profile("instructdiff-medical").benchmarks["mmlu_medical"])
"""Those of profile medical among them."""
HUB = {
    "cais/mmlu": {
        (subject, split): [{"question": "Which?", "subject": subject, "choices": CHOICES, "answer": 2}]
        for subject in MEDICAL for split in ("dev", "test")
    },
    "openai/gsm8k": {("main", "test"): [{"question": "1+1?", "answer": "#### 2"}]},
    "google-research-datasets/tydiqa": {
        ("secondary_task", split): [
            {"id": f"finnish-{split}", "title": "t", "context": "a b", "question": "q?",
             "answers": {"text": ["a"], "answer_start": [0]}}
        ]
        for split in ("train", "validation")
    },
    "openai/openai_humaneval": {
        (None, "test"): [{"task_id": "HumanEval/0", "prompt": "def f():\n", "canonical_solution": "    return 1\n",
                          "test": "def check(f):\n    assert f() == 1\n", "entry_point": "f"}]
    },
    "HuggingFaceH4/MATH-500": {(None, "test"): [{"problem": "p", "solution": "s", "answer": "2", "unique_id": "u"}]},
    "Maxwell-Jia/AIME_2024": {(None, "train"): [{"ID": "I-1", "Problem": "p", "Solution": "s", "Answer": 204}]},
    "math-ai/olympiadbench": {(None, "test"): [{"id": 1, "question": "q", "final_answer": ["7"]}]},
    "GBaker/MedQA-USMLE-4-options-hf": {
        (None, "test"): [{"id": "1", "sent1": "q", "sent2": "", **{f"ending{i}": c for i, c in enumerate(CHOICES)},
                          "label": 1}]
    },
    "openlifescienceai/medmcqa": {
        (None, "validation"): [{"id": "x", "question": "q", "opa": "a", "opb": "b", "opc": "c", "opd": "d", "cop": 0}]
    },
    "google-research-datasets/mbpp": {
        ("full", split): [{"task_id": n, "text": "t", "code": "def f(): pass", "test_list": ["assert f()"] * 3,
                           "test_setup_code": "", "challenge_test_list": []} for n in ids]
        for split, ids in (("prompt", range(1, 11)), ("test", (11, 12)))
    },
    "haoranxu/WMT22-Test": {
        ("en-de", "test"): [{"en-de": {"en": "one\u2028line", "de": "eine Zeile"}}, {"en-de": {"en": "a", "de": "b"}}]
    },
}  # fmt: skip
"""Data set -> (configuration, split) -> rows."""
FILES = {
    "tatsu-lab/alpaca_eval/alpaca_eval.json": json.dumps(
        [{"dataset": "d", "instruction": "i", "output": "o", "generator": "g"}]
    ),
    "tatsu-lab/alpaca_eval/alpaca_eval_gpt4_baseline.json": json.dumps(
        [{"dataset": "d", "instruction": "i", "output": "o", "generator": "gpt4_1106_preview"}]
    ),
    "tatsu-lab/alpaca_eval/df_gamed.csv": "model,index",
    "lmarena-ai/arena-hard-auto/data/arena-hard-v0.1/question.jsonl": json.dumps(
        {"question_id": "q", "category": "c", "cluster": "c", "turns": [{"content": "Do."}]}
    ),
    "lmarena-ai/arena-hard-auto/data/arena-hard-v0.1/model_answer/gpt-4-0314.jsonl": json.dumps(
        {"question_id": "q", "model_id": "gpt-4-0314", "choices": [{"index": 0, "turns": [{"content": "Done."}]}]}
    ),
}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Folders as `hf download --repo-type dataset` leaves them: JSON lines and a README that names configurations."""
    for dataset, parts in HUB.items():
        home = tmp_path / "hub" / dataset
        home.mkdir(parents=True)
        configs: dict[str, list] = {}
        for (config, split), rows in parts.items():
            name = f"{config or 'default'}-{split}.jsonl"
            (home / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
            configs.setdefault(config or "default", []).append({"split": split, "path": name})
        reported = {"configs": [{"config_name": name, "data_files": files} for name, files in configs.items()]}
        (home / "README.md").write_text(f"---\n{yaml.safe_dump(reported)}---\n")
    for path, text in FILES.items():
        (tmp_path / "hub" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "hub" / path).write_text(text + "\n")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fetch_data, "location", lambda dataset: str(tmp_path / "hub" / dataset))
    return tmp_path / "hub"


@pytest.mark.parametrize(
    ("benchmark", "dataset", "config", "split", "expected"),
    [
        ("mmlu_medical", "cais/mmlu", "anatomy", "test", {"choices": CHOICES, "answer": 2}),
        ("gsm8k", "openai/gsm8k", "main", "test", {"question": "1+1?", "answer": "#### 2"}),
        ("tydiqa", "google-research-datasets/tydiqa", "", "validation", {"id": "finnish-validation", "context": "a b"}),
        ("humaneval", "openai/openai_humaneval", "", "test", {"task_id": "HumanEval/0", "prompt": "def f():\n"}),
        ("math500", "HuggingFaceH4/MATH-500", "", "test", {"id": "u", "problem": "p", "final_answers": ["2"]}),
        ("aime24", "Maxwell-Jia/AIME_2024", "", "test", {"id": "I-1", "final_answers": ["204"]}),
        ("olympiadbench", "math-ai/olympiadbench", "", "test", {"problem": "q", "final_answers": ["7"]}),
        ("medqa", "GBaker/MedQA-USMLE-4-options-hf", "", "test", {"sent1": "q", "ending3": CHOICES[3], "label": 1}),
        ("medmcqa", "openlifescienceai/medmcqa", "", "validation", {"id": "x", "opd": "d", "cop": 0}),
        ("mbpp", "google-research-datasets/mbpp", "full", "test", {"task_id": 11, "test_list": ["assert f()"] * 3}),
        ("wmt22_en_de", "haoranxu/WMT22-Test", "en-de", "test", {"source": "one\u2028line", "reference": "eine Zeile"}),
        ("alpaca_eval", "tatsu-lab/alpaca_eval", "alpaca_eval", "eval", {"instruction": "i", "output": "o"}),
        ("arena_hard", "lmarena-ai/arena-hard-auto", "", "test", {"id": "q", "instruction": "Do.", "output": "Done."}),
    ],
)
def test_what_is_fetched_reads_back_as_the_hubs_rows(hub, tmp_path, benchmark, dataset, config, split, expected):
    reported = fetch_benchmark(benchmark, tmp_path / "data")
    assert "written" in reported
    declared = benchmarks()[benchmark]
    row = declared.read(in_data_folder(declared, tmp_path / "data"), config)[split][0]
    assert {key: row[key] for key in expected} == expected
    names = ("full", "mathematics", "medical", "code", "chat", "translation", "instructdiff-medical")
    settings = [found[benchmark] for name in names if benchmark in (found := load_profile(name).benchmarks)]
    assert settings and all(data_files(one, tmp_path / "data") for one in settings)
    assert json.loads((tmp_path / "data" / "fetched.json").read_text())[benchmark]["dataset"] == dataset
    assert "0 files written" in fetch_benchmark(benchmark, tmp_path / "data")


def test_what_length_control_needs_comes_with_alpaca_eval_2(hub, tmp_path):
    assert "2 files written" in fetch_benchmark("alpaca_eval_2", tmp_path / "data")
    assert (tmp_path / "data" / "alpaca_eval_2" / "df_gamed.csv").read_text() == "model,index\n"


def test_releases_of_evalplus_are_checked_by_their_sha256(monkeypatch, tmp_path):
    taken = []

    def fetch(name, out, sources):
        taken.append((name, out, sources[name]))

    monkeypatch.setattr(fetch_data, "fetch", fetch)
    (tmp_path / "data").mkdir()
    fetch_benchmark("mbpp_plus", tmp_path / "data")
    ((name, out, source),) = taken
    assert (name, out) == ("MbppPlus.jsonl.gz", tmp_path / "data" / "mbpp_plus") and isinstance(source, Source)
    assert len(source.sha256) == 64 and source.url.startswith("https://github.com/evalplus/")


def test_the_command_fetches_and_a_missing_file_names_it(hub, tmp_path):
    out = tmp_path / "data"
    with pytest.raises(UserError, match=rf"selectit data fetch --benchmarks gsm8k --out {out}`"):
        data_files(load_profile("full").benchmarks["gsm8k"], out)
    done = CliRunner().invoke(app, ["data", "fetch", "--benchmarks", "gsm8k,humaneval", "--out", str(out)])
    assert done.exit_code == 0 and done.output.count("1 files written") == 2
    assert gzip.decompress((out / "humaneval" / "HumanEval.jsonl.gz").read_bytes()).startswith(b'{"task_id"')
    with pytest.raises(UserError, match=r"Did you mean 'gsm8k'"):
        fetch_benchmark("gsm8", out)


def test_an_unknown_name_is_found_before_anything_is_fetched(hub, tmp_path):
    done = CliRunner().invoke(app, ["data", "fetch", "--benchmarks", "gsm8k, humanevl", "--out", str(tmp_path / "out")])
    assert isinstance(done.exception, UserError) and "Did you mean 'humaneval'?" in str(done.exception)
    assert not [*(tmp_path / "out").rglob("*")]


def test_without_the_hub_the_error_states_where_to_run_it(tmp_path):
    with pytest.raises(UserError, match=r"gsm8k: the hub could not be read .*where there is internet"):
        fetch_benchmark("gsm8k", tmp_path)


def test_whatever_the_hubs_libraries_raise_is_one_sentence(tmp_path, monkeypatch):
    """Without a network, huggingface_hub raises httpx.ConnectError, which is neither an OSError nor a ValueError."""
    import httpx

    def refuse(dataset):
        raise httpx.ConnectError("[Errno -2] Name or service not known")

    monkeypatch.setattr(fetch_data, "_commit", refuse)
    with pytest.raises(UserError, match=r"gsm8k: the hub could not be read \(\[Errno -2\].*where there is internet"):
        fetch_benchmark("gsm8k", tmp_path)
