"""AIME 2024: 30 problems whose answer is a whole number."""

from selectit.evaluate.benchmarks.benchmark import Size
from selectit.evaluate.benchmarks.final_answers import problems

BENCHMARKS = (
    problems(
        "aime24",
        display_name="AIME 2024",
        hub="Maxwell-Jia/AIME_2024",
        hub_split="train",
        published_at="evaluation/data/aime24/test.jsonl of github.com/QwenLM/Qwen2.5-Math",
        size=Size(1, 30, 145),
    ),
)
