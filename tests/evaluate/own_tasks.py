"""A folder of task YAMLs in lm-eval's form, with files as data: what a user names with include_path."""

import json

CHOICE = """
task: sums_choice
dataset_path: json
dataset_kwargs: {data_files: {test: sums.jsonl, train: train.jsonl}}
output_type: multiple_choice
training_split: train
test_split: test
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_choice: choices
doc_to_target: gold
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}
"""
TEXT = """
task: sums_text
dataset_path: json
dataset_kwargs: {data_files: {test: sums.jsonl, train: train.jsonl}}
output_type: generate_until
training_split: train
test_split: test
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_target: answer
generation_kwargs: {until: ["\\n"], max_gen_toks: 8, do_sample: false}
filter_list:
  - name: number
    filter: [{function: regex, regex_pattern: "(-?[0-9]+)"}, {function: take_first}]
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
  - {metric: !function scoring.near, aggregation: mean, higher_is_better: true}
"""
SCORING = """
def near(references, predictions, **kwargs):
    try:
        return float(abs(int(references[0]) - int(predictions[0])) <= 2)
    except ValueError:
        return 0.0


def average(values):
    return sum(values) / len(values)


def points(doc, results):
    return {"points": 100.0 * (results[0].strip() == doc["answer"]), "lines": -1.0}
"""
SHORT = """
include: sums_choice.yaml
task: sums_short
dataset_kwargs: {data_files: {test: few.jsonl, train: train.jsonl}}
doc_to_text: "{{question}}"
"""
EVEN = """
include: sums_choice.yaml
task: sums_even
doc_to_choice: ["no", "yes"]
doc_to_target: even
metric_list:
  - {metric: f1, aggregation: f1, higher_is_better: true}
  - {metric: acc, aggregation: !function scoring.average, higher_is_better: true}
"""
GROUPS = {
    "sums_group": "group: sums\ntask: [sums_choice, {task: sums_short}]\n"
    "aggregate_metric_list: [{metric: acc, weight_by_size: false}, {metric: acc_norm, weight_by_size: true}]\n",
    "bare_group": "group: bare\ntask: [sums_choice, sums_short]\n",
}
POINTS = """
include: sums_text.yaml
task: sums_points
filter_list:
  - {name: none, filter: [{function: take_first}]}
process_results: !function scoring.points
metric_list:
  - {metric: points, aggregation: mean, higher_is_better: true}
  - {metric: lines, aggregation: mean, higher_is_better: false}
"""
ROLLING = """
task: sums_rolling
dataset_path: json
dataset_kwargs: {data_files: {test: sums.jsonl}}
output_type: loglikelihood_rolling
test_split: test
doc_to_text: ""
doc_to_target: question
metric_list: [{metric: word_perplexity}]
"""


def rows(numbers):
    return [
        {"id": f"{a}+{b}", "question": f"What is {a} plus {b}?", "answer": str(a + b), "gold": 1,
         "even": (a + b + 1) % 2, "choices": [str(a + b - 1), str(a + b), str(a + b + 10)]}
        for a, b in numbers
    ]  # fmt: skip


def write_tasks(folder):
    """sums_choice, sums_text, sums_even (20 items), sums_short (6), groups sums and bare, tasks that are refused."""
    folder.mkdir(parents=True)
    files = {
        "sums_choice": CHOICE,
        "sums_text": TEXT,
        "sums_short": SHORT,
        "sums_points": POINTS,
        "sums_even": EVEN,
        **GROUPS,
    }
    for name, text in {**files, "sums_rolling": ROLLING}.items():
        (folder / f"{name}.yaml").write_text(text)
    (folder / "scoring.py").write_text(SCORING)
    numbers = [(a, b) for a in range(1, 6) for b in range(3, 7)]
    splits = {"sums": numbers, "few": numbers[:6], "train": [(7, 8), (8, 7), (9, 9), (10, 3), (11, 2)]}
    for name, chosen in splits.items():
        lines = [json.dumps(row) for row in rows(chosen)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    return folder
