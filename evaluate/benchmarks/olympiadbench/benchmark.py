"""OlympiadBench's open-ended problems in English without images."""

from selectit.evaluate.benchmarks.benchmark import Size
from selectit.evaluate.benchmarks.final_answers import problems

BENCHMARKS = (
    problems(
        "olympiadbench",
        display_name="OlympiadBench",
        hub="math-ai/olympiadbench",
        published_at="evaluation/data/olympiadbench/test.jsonl of github.com/QwenLM/Qwen2.5-Math",
        size=Size(1, 675, 134),
    ),
)
