"""The `evaluate` section, the entries of a profile, and the configuration of an evaluate stage."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from selectit.config.inputs import ModelConfig
from selectit.config.schema import Config, Location, LocationMark, execution


class EvaluateConfig(Config):
    profile: Annotated[str, LocationMark(keywords=("paper-2023", "full", "miniature"))] = "paper-2023"
    """A protocol of evaluate/profiles/ or a YAML file of the same form."""
    data: Annotated[str, LocationMark(keywords=("hub",))] = "hub"
    """`hub`, or a folder that holds mmlu/, bbh/, gsm8k/, tydiqa/, humaneval/, alpaca_eval/."""
    benchmarks: tuple[str, ...] | None = Field(None, min_length=1)
    """Which of the profile's benchmarks; default: all."""
    limit: int | None = Field(None, ge=1)
    """At most this many items per task (an MMLU subject, a BBH task and a TyDiQA language are tasks)."""
    judge: Annotated[str, LocationMark(prefixes=("hf:",))] | None = None
    """`hf:<model>`: an in-process log-probability judge for AlpacaEval. None: outputs are written, not judged."""
    sandbox: Literal["bwrap", "none"] = "bwrap"
    """Where model-written code runs. `none` runs it unprotected and must be asked for."""
    batch_size: int | None = execution(None, ge=1)
    """Rows of a forward pass at most. None: as many as fit; a batch that does not fit is halved in any case."""
    num_processes: int | None = execution(None, ge=1)
    """Processes that answer. None: one per GPU; on CPU one per core where the work is enough."""


class BenchmarkConfig(Config):
    """How one benchmark is run: one entry of a profile."""

    name: str
    """mmlu, bbh, gsm8k, tydiqa, humaneval or alpaca_eval."""
    tasks: tuple[str, ...] | None = None
    """MMLU subjects, BBH tasks or TyDiQA languages; default: all of the benchmark."""
    items_per_task: int | None = Field(None, ge=1)
    """A seeded sample of this many items per task; default: every item."""
    sample_seed: int = 42
    """Seed of that sample."""
    num_fewshot: int | None = None
    """Only where the benchmark's shots are not fixed by its task."""
    max_gen_toks: int | None = None
    """New tokens at most (generation benchmarks)."""
    until: tuple[str, ...] | None = None
    """Stop strings (generation benchmarks)."""
    num_samples: int = Field(1, ge=1)
    """Completions per item (HumanEval)."""
    pass_at: tuple[int, ...] = (1,)
    """Values of k for HumanEval's pass@k."""
    temperature: float = Field(0.0, ge=0)
    """0: greedy."""
    top_p: float = Field(1.0, gt=0, le=1)
    chat_template: bool = False
    """True: prompts stand in the training template; False: the benchmark's own base-model prompt."""
    metric: str
    """The metric that goes into the table."""


class EvaluateStage(Config):
    """One benchmark on one model."""

    model: ModelConfig
    adapter: Location | None = None
    """PEFT adapter that no stage of this project made; a fine-tuned model comes as an input instead."""
    benchmark: BenchmarkConfig
    profile: str = execution("")
    """Name of the profile the benchmark's settings come from, for the report."""
    data: Annotated[str, LocationMark(keywords=("hub",))] = "hub"
    limit: int | None = None
    template: Literal["alpaca", "llmzoo", "chat"] | None = None
    """Only where the benchmark asks for chat format."""
    judge: Annotated[str, LocationMark(prefixes=("hf:",))] | None = None
    sandbox: Literal["bwrap", "none"] = execution("bwrap")
    batch_size: int | None = execution(None, ge=1)
    num_processes: int | None = execution(None, ge=1)
    seed: int = 42

    def location_files(self, field: str) -> list[Path] | None:
        if field != "data" or self.data == "hub":
            return None
        from selectit.evaluate.profile import data_files

        return data_files(self.benchmark, Path(self.data))
