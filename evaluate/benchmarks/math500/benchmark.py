"""MATH-500: problems with a final answer."""

from selectit.evaluate.benchmarks.benchmark import Size
from selectit.evaluate.benchmarks.final_answers import problems

BENCHMARKS = (
    problems(
        "math500",
        display_name="MATH-500",
        hub="HuggingFaceH4/MATH-500",
        published_at="test.jsonl of huggingface.co/datasets/HuggingFaceH4/MATH-500",
        size=Size(1, 500, 109),
    ),
)
