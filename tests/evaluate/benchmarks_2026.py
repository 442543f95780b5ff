"""Made-up rows of IFEval, MMLU-Pro, GPQA diamond and TruthfulQA, in folders of their authors' layouts."""

import csv
import json

import pyarrow
import pyarrow.parquet

SUBJECTS = ("biology", "computer science")
IFEVAL = [
    {
        "key": 1,
        "prompt": "Describe a lake in at least 3 sentences. Do not use any commas.",
        "instruction_id_list": ["length_constraints:number_sentences", "punctuation:no_comma"],
        "kwargs": [{"relation": "at least", "num_sentences": 3}, {}],
    },
    {
        "key": 2,
        "prompt": "Name two rivers. Answer in French and wrap your answer in double quotation marks.",
        "instruction_id_list": ["language:response_language", "startend:quotation"],
        "kwargs": [{"language": "fr"}, {}],
    },
    {
        "key": 3,
        "prompt": "Shout the name of a mountain: at least 2 words in capital letters. Name it Everest.",
        "instruction_id_list": ["change_case:capital_word_frequency", "keywords:existence"],
        "kwargs": [{"capital_relation": "at least", "capital_frequency": 2}, {"keywords": ["everest"]}],
    },
]
FOLLOWED = [
    "The lake is deep. It lies near St. Moritz in the hills. Dr. Brown swims there. Nobody else does.",
    '"La Seine et la Loire sont deux rivières qui traversent le pays et se jettent dans la mer."',
    "IT IS MOUNT EVEREST!",
]
"""An answer to each that follows all of its instructions."""
BROKEN = [
    "The lake is deep, and St. Moritz is near.",
    "The Seine and the Loire are two rivers that cross the whole country on their way to the sea.",
    "It is K2.",
]
"""An answer to each that follows none."""


def mmlu_pro_rows(subject, size, first_id):
    return [
        {
            "question_id": first_id + n, "question": f"Which of them is number {n} of {subject}?",
            "options": [f" thing {one}" for one in range(10 if n % 2 else 4)], "answer": "ABCD"[n % 4],
            "answer_index": n % 4, "category": subject, "src": "made",
            "cot_content": f"A: Let's think step by step. It is thing {n % 4}. The answer is ({'ABCD'[n % 4]}).",
        }
        for n in range(size)
    ]  # fmt: skip


GPQA = [
    {
        "Record ID": f"rec{n}", "Question": f"What is {n} plus {n}, in a finite field of 101 elements?\n",
        "Correct Answer": f"{2 * n}, as is seen at once", "Incorrect Answer 1": f" {2 * n + 1}",
        "Incorrect Answer 2": f"{2 * n + 2}, \"or so\"", "Incorrect Answer 3": f"{2 * n + 3}\n",
        "Subdomain": "Algebra",
    }
    for n in range(8)
]  # fmt: skip
TRUTHFUL = [
    {
        "question": "What happens if you count sheep?",
        "mc0_targets": {"You count sheep": 1, "You fall asleep": 0},
        "mc1_targets": {"You fall asleep": 0, "You count sheep": 1, "They run away": 0},
        "mc2_targets": {"You count sheep": 1, "Nothing in particular happens": 1, "You fall asleep": 0,
                        "They run away": 0, "You turn into one": 0},
    },
    {
        "question": "In which year did it rain?",
        "mc0_targets": {"1984": 1, "Never": 0},
        "mc1_targets": {"1984": 1, "Never": 0},
        "mc2_targets": {"1984": 1, "In every year": 1, "Never": 0},
    },
]  # fmt: skip


def write_parquet(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def write_ifeval(folder, rows=IFEVAL):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "input_data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_mmlu_pro(folder, num_shots=5):
    for split, size in (("test", 4), ("validation", num_shots)):
        rows = [row for at, one in enumerate(SUBJECTS) for row in mmlu_pro_rows(one, size, 100 * at)]
        rows = rows[::2] + rows[1::2]  # the authors' file does not have its subjects one after the other
        write_parquet(folder / "data" / f"{split}-00000-of-00001.parquet", rows)


def write_gpqa(folder, rows=GPQA):
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "gpqa_diamond.csv").open("w", newline="") as f:
        writer = csv.DictWriter(f, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_truthfulqa(folder, rows=TRUTHFUL):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mc_task.json").write_text(json.dumps(rows))


def write_all(data):
    write_ifeval(data / "ifeval")
    write_mmlu_pro(data / "mmlu_pro")
    write_gpqa(data / "gpqa_diamond")
    write_truthfulqa(data / "truthfulqa")
    return data


def write_rest(data):
    """A row each of the profile's other benchmarks that the demonstration data lacks."""
    plus = {
        "task_id": "Made/0", "prompt": "def one():\n", "entry_point": "one", "canonical_solution": "    return 1\n",
        "base_input": [[]], "plus_input": [[]], "atol": 0,
    }  # fmt: skip
    reference = {"dataset": "made", "instruction": "Say it.", "output": "It.", "generator": "gpt4_1106_preview"}
    answer = {"question_id": "q", "model_id": "gpt-4-0314", "choices": [{"turns": [{"content": "It."}]}]}
    files = {
        "math500/test.jsonl": json.dumps({"problem": "What is 1 + 1?", "answer": "2", "unique_id": "made/0"}),
        "humaneval_plus/HumanEvalPlus.jsonl": json.dumps(plus),
        "mbpp_plus/MbppPlus.jsonl": json.dumps(plus),
        "alpaca_eval_2/gpt4_1106_preview.json": json.dumps([reference]),
        "arena_hard/question.jsonl": json.dumps({"question_id": "q", "turns": [{"content": "Say it."}]}),
        "arena_hard/model_answer/gpt-4-0314.jsonl": json.dumps(answer),
    }
    for name, text in files.items():
        path = data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return data
