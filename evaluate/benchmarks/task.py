"""The lm-eval task class that reads a benchmark from the hub or from a local data folder.

Named as `class:` in evaluate/benchmarks/tasks/*.yaml; everything else of a task (prompt, filters, metrics) stays
lm-eval's. The folder comes in as `metadata: {data_dir: ...}`; without it the hub is read, at its `revision`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict
from lm_eval.api.task import ConfigurableTask

from selectit.evaluate.benchmarks.hub import needed_file_at, rows_at
from selectit.evaluate.benchmarks.readers import (
    MATHEMATICS_ON_HUB,
    alpaca_eval_rows,
    arena_hard_rows,
    mathematics_row,
    mbpp_splits,
    read,
    wmt22_row,
)

# the hub's AlpacaEval is a loading script, which datasets 4 and later do not run; its data file is read instead
_ALPACA_EVAL = "tatsu-lab/alpaca_eval"
_ARENA_HARD = "lmarena-ai/arena-hard-auto"
_ARENA_HARD_FILES = [f"data/arena-hard-v0.1/{name}" for name in ("question.jsonl", "model_answer/gpt-4-0314.jsonl")]
_WMT22 = "haoranxu/WMT22-Test"
_MBPP = "google-research-datasets/mbpp"

_GROUP_KEYS = ("class", "aggregate_metric_list")
"""Keys that a task inherits from its group and that lm-eval's task configuration does not know."""


class DataDirTask(ConfigurableTask):
    def __init__(self, config: dict[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(config={k: v for k, v in (config or {}).items() if k not in _GROUP_KEYS}, **kwargs)

    def download(self, dataset_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        metadata = self.config.metadata or {}
        folder, revision = metadata.get("data_dir"), metadata.get("revision")
        if folder is not None:
            found = read(Path(folder), self.DATASET_PATH, self.DATASET_NAME)
            self.dataset = DatasetDict({split: Dataset.from_list(split_rows) for split, split_rows in found.items()})
        elif self.DATASET_PATH == _ALPACA_EVAL:
            file = needed_file_at(_ALPACA_EVAL, f"{self.DATASET_NAME}.json", revision)
            self.dataset = DatasetDict({"eval": Dataset.from_list(alpaca_eval_rows(file))})
        elif self.DATASET_PATH == _ARENA_HARD:
            files = (needed_file_at(_ARENA_HARD, name, revision) for name in _ARENA_HARD_FILES)
            self.dataset = DatasetDict({"test": Dataset.from_list(arena_hard_rows(*files))})
        else:
            options = {key: value for key, value in (dataset_kwargs or {}).items() if key != "trust_remote_code"}
            self.dataset = rows_at(str(self.DATASET_PATH), self.DATASET_NAME, revision, **options)
            self._take_rows_of_hub()

    def _take_rows_of_hub(self) -> None:
        """The five sets of problems name their columns in five ways, and only some call their one split test. MBPP's
        ten tasks of the split prompt are not all in its prompt.
        """
        if self.DATASET_PATH in MATHEMATICS_ON_HUB:
            split = next(name for name in ("test", "train") if name in self.dataset)
            rows = [
                mathematics_row(row, f"{self.DATASET_PATH}, item {n}") for n, row in enumerate(self.dataset[split], 1)
            ]
            self.dataset = DatasetDict({"test": Dataset.from_list(rows)})
        elif self.DATASET_PATH == _WMT22:
            pair = str(self.DATASET_NAME)
            texts = [[row[pair][code] for code in pair.split("-")] for row in self.dataset["test"]]
            rows = [wmt22_row(number, *two) for number, two in enumerate(texts)]
            self.dataset = DatasetDict({"test": Dataset.from_list(rows)})
        elif self.DATASET_PATH == _MBPP:
            every = [row for split in ("prompt", "test") for row in self.dataset[split]]
            splits = mbpp_splits(every, self.DATASET_PATH)
            self.dataset = DatasetDict({split: Dataset.from_list(rows) for split, rows in splits.items()})
