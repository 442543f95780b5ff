"""IFEval: prompts with instructions that a program can check, such as the number of words."""

from __future__ import annotations

import json

from selectit.data.jsonl import read_jsonl
from selectit.errors import UserError
from selectit.evaluate.benchmarks.benchmark import Archive, Benchmark, Find, HubFiles, Rows, Size
from selectit.evaluate.benchmarks.rows import rows_with
from selectit.evaluate.grading.kinds import TextGrader, Texts

FILE = "input_data.jsonl"
GRADER = "selectit.evaluate.grading.followed_instructions"
PUNKT = {f"tokenizers/punkt_tab/english/{name}": f"punkt_tab/english/{name}"
         for name in ("abbrev_types.txt", "collocations.tab", "ortho_context.tab", "sent_starters.txt")}  # fmt: skip
"""nltk's model of English sentences, which it looks for below a folder of its data -> in the archive."""


def _read(find: Find, _: str) -> dict[str, Rows]:
    path = find(FILE)
    rows = rows_with(path, read_jsonl(path), ("key", "prompt", "instruction_id_list", "kwargs"))
    for number, row in enumerate(rows, 1):
        names, settings = row["instruction_id_list"], row["kwargs"]
        is_paired = isinstance(names, list) and isinstance(settings, list) and len(names) == len(settings) > 0
        if not is_paired or not all(isinstance(one, dict) for one in settings):
            raise UserError(
                f"{path}, item {number}: expected a list instruction_id_list and, as long as it, a list kwargs of "
                f"settings by name; found {json.dumps([names, settings])[:200]}"
            )
        # of every shape, so they stay JSON; the copies in circulation have null where a setting is of another check
        row["kwargs"] = json.dumps([{k: v for k, v in one.items() if v is not None} for one in settings])
    return {"test": rows}


BENCHMARKS = (
    Benchmark(
        name="ifeval",
        display_name="IFEval",
        folder="ifeval",
        published_at="instruction_following_eval/data/input_data.jsonl of github.com/google-research/google-research",
        files=(FILE,),
        optional_files=tuple(PUNKT),
        read=_read,
        source=HubFiles("google/IFEval", {FILE: "ifeval_input_data.jsonl"}),
        archive=Archive(
            "https://raw.githubusercontent.com/nltk/nltk_data/gh-pages/packages/tokenizers/punkt_tab.zip",
            "e57f64187974277726a3417ca6f181ec5403676c717672eef6a748a7b20e0106",
            "nltk",
            PUNKT,
        ),
        grading=Texts(
            {
                "ifeval": TextGrader(
                    f"{GRADER}:grade_ifeval",
                    ("prompt_level_strict_acc", "prompt_level_loose_acc"),
                    part_metrics=("inst_level_strict_acc", "inst_level_loose_acc"),
                    check=f"{GRADER}:check_installed",
                )
            }
        ),
        right_answer=lambda row: None,
        size=Size(1, 541, 95),
        item_file=FILE,
    ),
)
