"""Write the demonstration pool and the miniature benchmarks; the same bytes on every run.

Writes pool.json, pool_labels.json and benchmarks/ next to this file. From the project's root:
    python -m demo.make_data            # write
    python -m demo.make_data --check    # compare the files on disk with what would be written
"""

import argparse
import csv
import gzip
import io
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from demo import exams
from demo.families import FAMILIES, Item, respond

FOLDER = Path(__file__).parent
ROWS_PER_FAMILY = 14
BAD_SHARE = 0.4
BAD_QUALITIES = {"wrong": 0.4, "offtopic": 0.2, "rambling": 0.2, "empty": 0.1, "refusing": 0.1}


def distinct(make: Callable[[], Any], seen: set[str]) -> Any:
    """The first item that `make` returns whose key was not seen before."""
    for _ in range(10_000):
        item = make()
        if item.key not in seen:
            seen.add(item.key)
            return item
    raise ValueError("demo/make_data.py: a generator ran out of new items; ask it for fewer")


def dump(value: object) -> bytes:
    """JSON for files that people read."""
    return (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode()


def dump_lines(rows: list[dict]) -> bytes:
    """One JSON object a line."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def make_pool(rng: Random, seen: set[str]) -> tuple[list[dict], list[dict]]:
    """Rows of the pool in Alpaca's form, and the family and quality of each."""
    pairs = []
    for family, make in FAMILIES.items():
        num_bad = round(BAD_SHARE * ROWS_PER_FAMILY)
        bad = rng.choices(list(BAD_QUALITIES), list(BAD_QUALITIES.values()), k=num_bad)
        for quality in ["good"] * (ROWS_PER_FAMILY - num_bad) + bad:
            item = distinct(partial(make, rng), seen)
            row = {"instruction": item.instruction, "input": item.input, "output": respond(item, quality, rng)}
            pairs.append((row, {"family": family, "quality": quality}))
    rng.shuffle(pairs)
    return [row for row, _ in pairs], [{"row": row, **label} for row, (_, label) in enumerate(pairs)]


def make_mmlu(rng: Random, seen: set[str]) -> dict[str, bytes]:
    """Five development and eight test questions a subject."""
    files = {}
    for subject, make in exams.SUBJECTS.items():
        for split, size in {"dev": 5, "test": 8}.items():
            text = io.StringIO()
            table = csv.writer(text, lineterminator="\n")
            table.writerow(["question", "choice0", "choice1", "choice2", "choice3", "answer"])
            for _ in range(size):
                item = distinct(partial(make, rng), seen)
                table.writerow([item.question, *item.choices, item.answer])
            files[f"mmlu/{split}/{subject}_{split}.csv"] = text.getvalue().encode()
    return files


def make_bbh(rng: Random, seen: set[str]) -> dict[str, bytes]:
    """Six examples a task."""
    files = {}
    for task, make in exams.BBH_TASKS.items():
        items = [distinct(partial(make, rng), seen) for _ in range(6)]
        examples = [{"input": item.question, "target": item.answer} for item in items]
        files[f"bbh/{task}.json"] = dump({"canary": "demonstration items, not the benchmark", "examples": examples})
    return files


def make_gsm8k(rng: Random, seen: set[str]) -> dict[str, bytes]:
    """Eight training and twelve test problems."""
    files = {}
    for split, size in {"train": 8, "test": 12}.items():
        items = [distinct(partial(exams.word_problem, rng), seen) for _ in range(size)]
        rows = [{"question": item.question, "answer": f"{item.solution}\n#### {item.answer}"} for item in items]
        files[f"gsm8k/{split}.jsonl"] = dump_lines(rows)
    return files


def make_tydiqa(rng: Random, seen: set[str]) -> dict[str, bytes]:
    """Two training and six development questions a language; as in the official files, only dev has titles."""
    files = {}
    for split, size in {"train": 2, "dev": 6}.items():
        data = []
        for language in exams.LANGUAGES:
            for number in range(size):
                item = distinct(partial(exams.passage, rng, language), seen)
                answer = {"text": item.answer, "answer_start": item.context.index(item.answer)}
                row = {
                    "question": item.question,
                    "id": f"{language}-{rng.randrange(10**6, 10**7)}-{number}",
                    "answers": [answer],
                }
                entry = {"paragraphs": [{"context": item.context, "qas": [row]}]}
                data.append(entry | ({"title": item.context.split()[0]} if split == "dev" else {}))
        files[f"tydiqa/tydiqa-goldp-v1.1-{split}.json"] = dump({"version": "demonstration items", "data": data})
    return files


def make_humaneval(rng: Random, seen: set[str]) -> dict[str, bytes]:
    """Six functions like those of the training text, and three longer ones."""
    rows = []
    for number in range(9):
        item = distinct(partial(exams.program if number < 6 else exams.long_program, rng), seen)
        checks = "".join(f"    assert candidate({argument}) == {value}\n" for argument, value in item.calls)
        rows.append(
            {
                "task_id": f"HumanEval/{number}",
                "prompt": item.prompt,
                "entry_point": item.entry_point,
                "canonical_solution": item.body,
                "test": f"\n\ndef check(candidate):\n{checks}",
            }
        )
    return {"humaneval/HumanEval.jsonl.gz": dump_lines(rows)}


def make_alpaca_eval(rng: Random, seen: set[str]) -> dict[str, bytes]:
    """Eight instructions with a reference answer."""
    rows = []
    for family in ("capitals", "opposites", "definitions", "advice", "naming", "reasons", "sentiment", "thanks"):
        item: Item = distinct(partial(FAMILIES[family], rng), seen)
        rows.append({"dataset": "demo", "instruction": item.key, "output": item.full, "generator": "demo-reference"})
    return {"alpaca_eval/text_davinci_003.json": dump(rows)}


def make_files() -> tuple[dict[str, bytes], set[str]]:
    """All files by their path under demo/, and the keys of all questions in them; none stands in two files."""
    seen: set[str] = set()
    files: dict[str, bytes] = {}
    for seed, make in enumerate([make_alpaca_eval, make_mmlu, make_bbh, make_gsm8k, make_tydiqa, make_humaneval]):
        files |= {f"benchmarks/{path}": content for path, content in make(Random(seed), seen).items()}
    pool, labels = make_pool(Random(7), seen)
    return {"pool.json": dump(pool), "pool_labels.json": dump(labels)} | files, seen


def stored(path: Path) -> bytes:
    """What a file holds; compressed bytes may differ between versions of zlib, so they are unpacked."""
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def main() -> None:
    parser = argparse.ArgumentParser(description="Write or check the files of the demonstration.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file differs")
    check = parser.parse_args().check
    files, _ = make_files()
    if check:
        differing = [
            path for path, content in files.items() if not (FOLDER / path).is_file() or stored(FOLDER / path) != content
        ]
        if differing:
            sys.exit(f"demo: {', '.join(differing)} differ from what the script makes; run python -m demo.make_data")
        return
    for path, content in files.items():
        target = FOLDER / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(gzip.compress(content, mtime=0) if target.suffix == ".gz" else content)


if __name__ == "__main__":
    main()
