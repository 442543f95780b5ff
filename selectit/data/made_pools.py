"""Pools whose rows on the hub have a form that is not read here, made into JSONL files of Alpaca rows or messages.

What is made is our reading of the data set; the form in which a paper's authors had the rows is not published.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selectit.data.jsonl import iter_jsonl, write_jsonl
from selectit.errors import UserError

RawRow = Mapping[str, Any]
LETTERS = "ABCD"
LANGUAGES = {"de": "German", "en": "English", "zh": "Chinese"}


@dataclass(frozen=True)
class MadePool:
    dataset: str
    """Hub id."""
    what: str
    rows: Callable[[RawRow], Iterable[dict[str, Any]]]
    """The rows of the pool that one row of the data set becomes."""
    revision: str = "main"
    configs: tuple[str | None, ...] = (None,)
    """Parts of the data set, one after the other; None: its only one."""
    file: str | None = None
    """A JSONL file of the repository that is read in place of its `train` split."""


def multiple_choice(row: RawRow) -> list[dict[str, Any]]:
    """A question of MedMCQA, asked as the evaluation asks it; the answer is the letter and the text of the option.

    Raises: UserError for an answer (`cop`) that is not 0 to 3.
    """
    options = [row[f"op{letter}"] for letter in "abcd"]
    if row["cop"] not in range(len(options)):
        raise UserError(f"MedMCQA, question {row.get('id')}: cop is {row['cop']!r}; it must be 0, 1, 2 or 3")
    lines = "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=True))
    return [
        {
            "instruction": f"Question: {row['question']}\n\nOptions:\n{lines}\n\nAnswer:",
            "output": f"{LETTERS[row['cop']]}. {options[row['cop']]}",
        }
    ]


def problem_and_solution(row: RawRow) -> list[dict[str, Any]]:
    return [{"instruction": row["problem"], "output": row["solution"]}]


def turns(row: RawRow) -> list[dict[str, Any]]:
    """A conversation of LIMA, user and assistant in turn; a last text without an answer is left out."""
    texts = row["conversations"][: len(row["conversations"]) // 2 * 2]
    roles = ("user", "assistant") * (len(texts) // 2)
    return [{"messages": [{"role": r, "content": t} for r, t in zip(roles, texts, strict=True)]}] if texts else []


def both_directions(row: RawRow) -> list[dict[str, Any]]:
    """A pair of sentences, each translated into the other with the prompt of the WMT benchmarks."""
    one, other = row["translation"].items()

    def ask(source: tuple[str, str], target: tuple[str, str]) -> dict[str, Any]:
        (have, text), (want, answer) = (LANGUAGES[source[0]], source[1]), (LANGUAGES[target[0]], target[1])
        return {"instruction": f"Translate this from {have} to {want}:\n{have}: {text}\n{want}:", "output": answer}

    return [ask(one, other), ask(other, one)]


POOLS = {
    "lima.jsonl": MadePool(
        "GAIR/lima", "LIMA's 1,030 training conversations (gated: accept its licence on the hub)", turns,
        file="train.jsonl",
    ),
    "medmcqa_train.jsonl": MadePool(
        "openlifescienceai/medmcqa", "MedMCQA's training questions, as the medical benchmarks ask", multiple_choice,
        revision="91c6572c454088bf71b679ad90aa8dffcd0d5868",
    ),
    "magicoder_oss.jsonl": MadePool(
        "ise-uiuc/Magicoder-OSS-Instruct-75K", "Magicoder's 75,000 problems and solutions", problem_and_solution
    ),
    "alma_parallel.jsonl": MadePool(
        "haoranxu/ALMA-Human-Parallel", "ALMA's human-written German and Chinese sentence pairs, in both directions",
        both_directions, configs=("de-en", "zh-en"),
    ),
}  # fmt: skip
"""File name -> how it is made."""


def make_pool(name: str, path: Path) -> None:
    """Write a pool; the hub's libraries raise where its data set cannot be read."""
    pool = POOLS[name]
    write_jsonl(path, (row for raw in _read(pool) for row in pool.rows(raw)))


def _read(pool: MadePool) -> Iterator[RawRow]:
    if pool.file is not None:
        from huggingface_hub import hf_hub_download

        yield from iter_jsonl(
            Path(hf_hub_download(pool.dataset, pool.file, repo_type="dataset", revision=pool.revision))
        )
        return
    from datasets import load_dataset

    for config in pool.configs:
        yield from load_dataset(pool.dataset, config, split="train", revision=pool.revision)
