"""AlpacaEval 2: AlpacaEval's questions, answers that a judge compares with gpt4_1106_preview's."""

from __future__ import annotations

from selectit.evaluate.benchmarks.alpaca_eval.benchmark import HUB, reader_of
from selectit.evaluate.benchmarks.benchmark import Benchmark, HubFiles, Size
from selectit.evaluate.grading.kinds import Judged

FILE, GAMED = "gpt4_1106_preview.json", "df_gamed.csv"

BENCHMARKS = (
    Benchmark(
        name="alpaca_eval_2",
        display_name="AlpacaEval 2",
        folder="alpaca_eval_2",
        published_at="results/gpt4_1106_preview/model_outputs.json of github.com/tatsu-lab/alpaca_eval",
        files=(FILE,),
        optional_files=(GAMED,),
        read=reader_of(FILE),
        source=HubFiles(HUB, {FILE: "alpaca_eval_gpt4_baseline.json", GAMED: GAMED}),
        grading=Judged(reference="gpt4_1106_preview", length_control=GAMED),
        right_answer=lambda row: str(row["output"]),
        size=Size(1, 805, 74),
        item_file=FILE,
    ),
)
