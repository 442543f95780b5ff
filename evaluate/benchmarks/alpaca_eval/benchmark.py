"""AlpacaEval: answers that a judge compares with text_davinci_003's."""

from __future__ import annotations

from selectit.evaluate.benchmarks.benchmark import Benchmark, Find, HubFiles, Read, Rows, Size
from selectit.evaluate.benchmarks.rows import json_of, rows_with
from selectit.evaluate.grading.kinds import Judged

HUB = "tatsu-lab/alpaca_eval"
"""A loading script, which datasets 4 and later do not run; its data files are read instead."""
FILE = "text_davinci_003.json"


def reader_of(file: str) -> Read:
    """Of a file of reference answers."""

    def read(find: Find, _: str) -> dict[str, Rows]:
        path = find(file)
        return {"eval": rows_with(path, json_of(path), ("dataset", "instruction", "output", "generator"))}

    return read


BENCHMARKS = (
    Benchmark(
        name="alpaca_eval",
        display_name="AlpacaEval",
        folder="alpaca_eval",
        published_at="results/text_davinci_003/model_outputs.json of github.com/tatsu-lab/alpaca_eval",
        files=(FILE,),
        read=reader_of(FILE),
        source=HubFiles(HUB, {FILE: "alpaca_eval.json"}),
        grading=Judged(reference="text_davinci_003"),
        right_answer=lambda row: str(row["output"]),
        size=Size(1, 805, 70),
        item_file=FILE,
    ),
)
