"""How the answers to a benchmark are graded: one of these kinds stands in its declaration.

Plain data, importing nothing heavy: what reads texts is named as module:function and imported when it is used. `NAME`
and `VERSION` stand in every result; a version is raised when a kept answer would be graded differently.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from selectit.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from selectit.config import BenchmarkConfig
    from selectit.evaluate.grading.graded import Grader
    from selectit.evaluate.grading.sandbox import Program


@dataclass(frozen=True)
class Grading:
    NAME: ClassVar[str | None] = None
    """None: a judge, a scorer or another program grades."""
    VERSION: ClassVar[int] = 1
    GENERATES: ClassVar[bool] = True
    """Whether answers are texts that a model writes."""
    TAKES_SAMPLES: ClassVar[bool] = False
    """Whether several answers to an item are graded."""
    TAKES_PASS_AT: ClassVar[bool] = False
    """Whether the answers are programs, scored as pass@k."""

    def metrics(self, benchmark: BenchmarkConfig) -> tuple[str, ...]:
        """What may stand in the table. Raises: UserError for a grader that is not there."""
        raise NotImplementedError

    def described(self, benchmark: BenchmarkConfig) -> dict[str, Any] | None:
        """Name and version of what grades; None where a judge, a scorer or another program does."""
        return None if self.NAME is None else {"name": self.NAME, "version": self.VERSION}

    def grader_name(self, benchmark: BenchmarkConfig) -> str | None:
        """Of what reads answers out of texts.

        Raises: UserError where the entry names one that is not there or that grades another benchmark.
        """
        if benchmark.grader is not None:
            raise UserError(f"'{benchmark.grader}' does not grade {benchmark.name}. Leave `grader` out")
        return None


@dataclass(frozen=True)
class Choices(Grading):
    """The most probable of a question's choices."""

    NAME, VERSION, GENERATES = "choices", 2, False

    def metrics(self, benchmark: BenchmarkConfig) -> tuple[str, ...]:
        return ("acc",)


@dataclass(frozen=True)
class TrueChoices(Grading):
    """The probabilities of a question's true and false answers."""

    NAME, GENERATES = "true-choices", False

    def metrics(self, benchmark: BenchmarkConfig) -> tuple[str, ...]:
        return ("mc2", "mc1")


@dataclass(frozen=True)
class TextGrader:
    """Reads an answer out of a text and scores it."""

    function: str
    """module:function of a `Grader` (evaluate/grading/graded.py)."""
    metrics: tuple[str, ...]
    """The first is `Graded.score`, the others are the keys of `Graded.others`."""
    version: int = 1
    part_metrics: tuple[str, ...] = ()
    """The keys of `Graded.parts`; they stand next to the others and cannot be chosen for the table."""
    check: str | None = None
    """module:function of the benchmark's folder of `evaluate.data` (None: hub) that raises a UserError where what the
    grader needs is not here. None: it needs nothing.
    """

    def load(self) -> Grader:
        grader: Grader = _function(self.function)
        return grader

    def check_installed(self, folder: Path | None) -> None:
        if self.check is not None:
            _function(self.check)(folder)


def _function(name: str) -> Any:
    module, _, function = name.partition(":")
    return getattr(import_module(module), function)


@dataclass(frozen=True)
class Texts(Grading):
    graders: Mapping[str, TextGrader]
    """By name; the first is the one that a profile gets without naming one."""

    def grader_name(self, benchmark: BenchmarkConfig) -> str:
        if benchmark.grader is None:
            return next(iter(self.graders))
        if benchmark.grader not in self.graders:
            raise UserError(
                f"'{benchmark.grader}' does not grade {benchmark.name}."
                f"{did_you_mean(benchmark.grader, self.graders)} Graders of {benchmark.name}: {', '.join(self.graders)}"
            )
        return benchmark.grader

    def metrics(self, benchmark: BenchmarkConfig) -> tuple[str, ...]:
        return self.graders[self.grader_name(benchmark)].metrics

    def described(self, benchmark: BenchmarkConfig) -> dict[str, Any]:
        name = self.grader_name(benchmark)
        return {"name": name, "version": self.graders[name].version}


@dataclass(frozen=True)
class FinalAnswers(Grading):
    """Formulas, which math-verify compares."""

    NAME, VERSION, TAKES_SAMPLES = "math-verify", 4, True

    def metrics(self, benchmark: BenchmarkConfig) -> tuple[str, ...]:
        return (f"avg@{benchmark.num_samples}",)


@dataclass(frozen=True)
class Programs(Grading):
    """Programs, which are run against their tests in the sandbox."""

    NAME, VERSION, TAKES_SAMPLES, TAKES_PASS_AT = "sandbox", 2, True, True
    program: Callable[[Mapping[str, Any], str], Program]
    """(a row, a completion) -> what the sandbox runs."""

    def metrics(self, benchmark: BenchmarkConfig) -> tuple[str, ...]:
        return tuple(f"pass@{k}" for k in benchmark.pass_at)


@dataclass(frozen=True)
class Exported(Grading):
    """Programs, which are written for their authors' own grader."""

    TAKES_SAMPLES, TAKES_PASS_AT = True, True
    prompt: str
    """The field of a row in front of the completion, in the file of samples."""
    reason: str
    """Why there is no number, and what makes one."""

    def metrics(self, benchmark: BenchmarkConfig) -> tuple[str, ...]:
        return tuple(f"pass@{k}" for k in benchmark.pass_at)


@dataclass(frozen=True)
class Translations(Grading):
    """Translations, scored by sacrebleu, and by COMET where the benchmark is its column."""

    source: str
    """Code of the language: en."""
    target: str
    comet: bool = False

    def metrics(self, benchmark: BenchmarkConfig) -> tuple[str, ...]:
        return ("comet",) if self.comet else ("bleu", "chrf")


@dataclass(frozen=True)
class Judged(Grading):
    """Answers that a judge compares with reference answers."""

    reference: str
    """Whose answers the reference is."""
    games: bool = False
    """Arena-Hard's two games of an item, whose verdicts are texts; else AlpacaEval's one comparison."""
    length_control: str | None = None
    """File next to the references with what the length-controlled rate needs; None: the benchmark has no such rate."""

    def metrics(self, benchmark: BenchmarkConfig) -> tuple[str, ...]:
        return ("win_rate",)
