"""The folder that evaluate.data reads, fetched for machines without internet: from the hub, or evalplus' releases.

Hub rows are written in the authors' layout, which evaluate/benchmarks/readers.py reads back. fetched.json
says which commit of which data set a benchmark came from.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from datasets import load_dataset
from huggingface_hub import HfApi, hf_hub_download

from selectit.data.fetch import Source, fetch, reason_of
from selectit.data.jsonl import jsonl_lines
from selectit.data.whole_files import write_whole
from selectit.errors import UserError, did_you_mean
from selectit.evaluate.benchmarks.files import (
    BENCHMARKS,
    COMET,
    MATHEMATICS,
    ON_HUB,
    TRANSLATION,
    languages,
    lm_eval_tasks,
    prompt_forms,
)

FETCHED_FILE = "fetched.json"
RELEASES = {
    "humaneval_plus": (
        "HumanEvalPlus.jsonl.gz",
        "https://github.com/evalplus/humanevalplus_release/releases/download/v0.1.10/HumanEvalPlus.jsonl.gz",
        "272720b90ac375502c8ed23cd791c2a93dfb22a911641a494da74a426c09f101",
    ),
    "mbpp_plus": (
        "MbppPlus.jsonl.gz",
        "https://github.com/evalplus/mbppplus_release/releases/download/v0.2.0/MbppPlus.jsonl.gz",
        "af43697e8791c4c149bdfd6b489d8b5412507551ac20e28a439f650b8225db63",
    ),
}
"""File, address and sha256 of evalplus' data."""
_HUB_FILES = {
    "alpaca_eval": {"text_davinci_003.json": "alpaca_eval.json"},
    "alpaca_eval_2": {"gpt4_1106_preview.json": "alpaca_eval_gpt4_baseline.json", "df_gamed.csv": "df_gamed.csv"},
    "arena_hard": {
        name: f"data/arena-hard-v0.1/{name}" for name in ("question.jsonl", "model_answer/gpt-4-0314.jsonl")
    },
}
"""Benchmarks whose hub repository holds the authors' own files: our name -> theirs."""
Rows = list[dict[str, Any]]
Files = dict[str, bytes]


def fetch_benchmark(name: str, out: Path) -> str:
    """Write the files of a benchmark to `out`; those that are there are kept. Returns what was done, in words.

    Args:   name: a benchmark, or wmt22 for its four directions.
    Raises: UserError for an unknown name, no network, or data of another form than expected.
    """
    if name == "wmt22" or name in COMET:
        pairs = TRANSLATION if name == "wmt22" else (name.removesuffix("_comet"),)
        return "; ".join(fetch_benchmark(pair, out) for pair in pairs)
    if name not in BENCHMARKS:
        raise UserError(f"no benchmark '{name}'.{did_you_mean(name, BENCHMARKS)} Known: {', '.join(BENCHMARKS)}")
    if name in RELEASES:
        file, url, sha256 = RELEASES[name]
        fetch(file, out / name, {file: Source(url, sha256, "evalplus' release")})
        _note(out, name, {"url": url, "sha256": sha256})
        return f"{name}: {out / name / file}"
    try:
        files, origin = _from_hub(name)
    except Exception as error:  # the hub's libraries have an exception for each of its moods
        raise UserError(
            f"{name}: the hub could not be read ({reason_of(error)}). Run this where there is internet, and take the "
            "folder along"
        ) from error
    written = [path for path, content in files.items() if _write(out / path, content)]
    _note(out, name, origin)
    return f"{name}: {len(written)} files written to {out}, {len(files) - len(written)} were there"


def _from_hub(name: str) -> tuple[Files, dict[str, Any]]:
    """Path below the data folder -> content; and which data set at which commit."""
    dataset = ON_HUB[name]
    commit = _commit(dataset)
    if name in _HUB_FILES:
        found = {f"{name}/{ours}": _file(dataset, theirs, commit) for ours, theirs in _HUB_FILES[name].items()}
    else:
        found = _MAKERS[name](lambda config, split: _rows(dataset, config, split, commit))
    return found, {"dataset": dataset, "commit": commit}


def location(dataset: str) -> str:
    """Where a data set is read from: its hub id."""
    return dataset


def _commit(dataset: str) -> str | None:
    """The hub's present commit of a data set; None for a local folder."""
    return None if Path(location(dataset)).is_dir() else HfApi().dataset_info(location(dataset)).sha


def _rows(dataset: str, config: str | None, split: str, commit: str | None) -> Rows:
    return list(load_dataset(location(dataset), config, split=split, revision=commit))


def _file(dataset: str, name: str, commit: str | None) -> bytes:
    local = Path(location(dataset)) / name
    path = local if commit is None else Path(hf_hub_download(dataset, name, repo_type="dataset", revision=commit))
    return path.read_bytes()


Read = Callable[[str | None, str], Rows]
"""(configuration, split) -> rows"""


def _mmlu(benchmark: str, read: Read) -> Files:
    """Every subject that a form of the benchmark's prompts asks."""
    files = {}
    for subject in {task: None for form in (None, *prompt_forms(benchmark)) for task in lm_eval_tasks(benchmark, form)}:
        for split in ("dev", "test"):
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows(
                [row["question"], *row["choices"], "ABCD"[row["answer"]]] for row in read(subject, split)
            )
            files[f"mmlu/{split}/{subject}_{split}.csv"] = text.getvalue().encode()
    return files


def _bbh(read: Read) -> Files:
    return {
        f"bbh/{task}.json": json.dumps({"examples": _only(read(task, "test"), "input", "target")}).encode()
        for task in lm_eval_tasks("bbh")
    }


def _tydiqa(read: Read) -> Files:
    files = {}
    for split, name in (("train", "train"), ("validation", "dev")):
        paragraphs = [
            {
                "context": row["context"],
                "qas": [
                    {
                        "id": row["id"],
                        "question": row["question"],
                        "answers": [
                            {"text": text, "answer_start": start}
                            for text, start in zip(row["answers"]["text"], row["answers"]["answer_start"], strict=True)
                        ],
                    }
                ],
            }
            for row in read("secondary_task", split)
        ]
        files[f"tydiqa/tydiqa-goldp-v1.1-{name}.json"] = json.dumps({"data": [{"paragraphs": paragraphs}]}).encode()
    return files


def _humaneval(read: Read) -> Files:
    # without a time in the header, so that two fetches give the same bytes
    return {"humaneval/HumanEval.jsonl.gz": gzip.compress(_lines(read(None, "test")), mtime=0)}


def _mathematics(benchmark: str, split: str, read: Read) -> Files:
    return {f"{benchmark}/test.jsonl": _lines(read(None, split))}


def _medqa(read: Read) -> Files:
    rows = [
        {
            "question": row["sent1"],
            "options": {letter: row[f"ending{i}"] for i, letter in enumerate("ABCD")},
            "answer_idx": "ABCD"[row["label"]],
        }
        for row in read(None, "test")
    ]
    return {"medqa/phrases_no_exclude_test.jsonl": _lines(rows)}


def _medmcqa(read: Read) -> Files:
    # the authors count the right option from 1
    rows = [{**row, "cop": row["cop"] + 1} for row in read(None, "validation")]
    return {"medmcqa/dev.json": _lines(rows)}


def _mbpp(read: Read) -> Files:
    rows = [*read("full", "prompt"), *read("full", "test")]
    keys = ("task_id", "text", "code", "test_list", "test_setup_code")
    return {"mbpp/mbpp.jsonl": _lines(_only(rows, *keys))}


def _bigcodebench(read: Read) -> Files:
    return {"bigcodebench/BigCodeBench.jsonl": _lines(read(None, "v0.1.4"))}


def _gsm8k(read: Read) -> Files:
    return {"gsm8k/test.jsonl": _lines(_only(read("main", "test"), "question", "answer"))}


def _wmt22(benchmark: str, read: Read) -> Files:
    source, target = languages(benchmark)
    pair = f"{source}-{target}"
    rows = [row[pair] for row in read(pair, "test")]
    return {
        f"wmt22/test.{pair}.{code}": "".join(" ".join(row[code].split("\n")) + "\n" for row in rows).encode()
        for code in (source, target)
    }


def _only(rows: Rows, *keys: str) -> Rows:
    return [{key: row[key] for key in keys} for row in rows]


def _lines(rows: Iterable[dict[str, Any]]) -> bytes:
    return "".join(jsonl_lines(rows)).encode()


def _write(path: Path, content: bytes) -> bool:
    """False where the file is there already, whatever it holds."""
    if path.is_file():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, content)
    return True


def _note(out: Path, name: str, origin: dict[str, Any]) -> None:
    path = out / FETCHED_FILE
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    path.write_text(json.dumps({**known, name: origin}, indent=2, sort_keys=True) + "\n", encoding="utf-8")


_MAKERS: dict[str, Callable[[Read], Files]] = {
    "mmlu": partial(_mmlu, "mmlu"),
    "mmlu_medical": partial(_mmlu, "mmlu_medical"),
    "bbh": _bbh,
    "gsm8k": _gsm8k,
    "tydiqa": _tydiqa,
    "humaneval": _humaneval,
    "medqa": _medqa,
    "medmcqa": _medmcqa,
    "mbpp": _mbpp,
    "bigcodebench": _bigcodebench,
    **{name: partial(_mathematics, name, "train" if name == "aime24" else "test") for name in MATHEMATICS},
    **{name: partial(_wmt22, name) for name in TRANSLATION},
}
"""What makes the authors' files of a data set's rows."""
