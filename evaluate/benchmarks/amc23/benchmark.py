"""AMC 2023: 40 problems."""

from selectit.evaluate.benchmarks.benchmark import Size
from selectit.evaluate.benchmarks.final_answers import problems

BENCHMARKS = (
    problems(
        "amc23",
        display_name="AMC 2023",
        hub="math-ai/amc23",
        published_at="evaluation/data/amc23/test.jsonl of github.com/QwenLM/Qwen2.5-Math",
        size=Size(1, 40, 122),
    ),
)
