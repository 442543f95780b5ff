"""Minerva's 272 questions of undergraduate science; not lm-eval's minerva_math."""

from selectit.evaluate.benchmarks.benchmark import Size
from selectit.evaluate.benchmarks.final_answers import problems

BENCHMARKS = (
    problems(
        "minerva",
        display_name="Minerva",
        hub="math-ai/minervamath",
        published_at="evaluation/data/minerva_math/test.jsonl of github.com/QwenLM/Qwen2.5-Math",
        size=Size(1, 272, 176),
    ),
)
