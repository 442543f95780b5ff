"""The configurations of an evaluate and of a grade stage."""

from __future__ import annotations

from pathlib import Path

from selectit.config.evaluate import AnsweringFields, BenchmarkConfig, GradingFields
from selectit.config.inputs import ModelConfig
from selectit.config.schema import Location, Seed, Template, execution
from selectit.evaluate.benchmarks.files import data_files
from selectit.evaluate.benchmarks.registry import benchmarks
from selectit.evaluate.benchmarks.task_config import NamedTaskConfig


class _OneBenchmark(GradingFields):
    """Of a stage that reads one benchmark: its own files of the folder, or its data set on the hub."""

    benchmark: NamedTaskConfig | BenchmarkConfig
    profile: str = execution("")
    """Name of the profile the benchmark's settings come from, for the report."""

    def location_files(self, field: str) -> list[Path] | None:
        if field != "data" or self.data == "hub":
            return None
        return data_files(self.benchmark, Path(self.data))

    def hub_dataset(self, field: str) -> tuple[str, str] | None:
        if field != "data" or self.data != "hub" or isinstance(self.benchmark, NamedTaskConfig):
            return None
        hub = benchmarks()[self.benchmark.name].hub
        return None if hub is None else (hub, "benchmark")


class EvaluateStage(_OneBenchmark, AnsweringFields):
    """One benchmark on one model."""

    model: ModelConfig
    adapter: Location | None = None
    """PEFT adapter that no stage of this project made; a fine-tuned model comes as an input instead."""
    template: Template | None = None
    """Only where the benchmark asks for chat format."""
    epoch: int | None = None
    """The weights after this epoch of the training; default: its result."""
    seed: Seed = 42


class GradeStage(_OneBenchmark):
    """Answers to one benchmark that are there already."""

    answers: Location
    """A file of lines {benchmark, task, doc_id, answer}, or items.jsonl of an evaluation."""
    grader: str
    """Name and version of what grades them: a mended one gives another result."""
    kept_notes: tuple[str, ...] = ()
    """What an evaluation noted of how it generated these answers, such as a lowered limit of new tokens."""
    generator: str = execution("")
    """Whose answers they are, in files for the programs of others."""
