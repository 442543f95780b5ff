"""The lm-eval task class that reads a benchmark from the hub or from a local data folder.

Named as `class:` in evaluate/tasks/*.yaml; everything else of a task (prompt, filters, metrics) stays
lm-eval's. The folder comes in as `metadata: {data_dir: ...}`; without it the hub is read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict, load_dataset
from lm_eval.api.task import ConfigurableTask

from selectit.errors import UserError
from selectit.evaluate.readers import MATHEMATICS_ON_HUB, arena_hard_rows, mathematics_row, mbpp_splits, read, wmt22_row

# the hub's AlpacaEval is a loading script, which datasets 4 and later do not run; its data file is read instead
_ALPACA_EVAL = "tatsu-lab/alpaca_eval"
_ALPACA_EVAL_FILES = "hf://datasets/tatsu-lab/alpaca_eval/{}.json"
_ARENA_HARD = "lmarena-ai/arena-hard-auto"
_ARENA_HARD_FILES = [
    f"hf://datasets/lmarena-ai/arena-hard-auto/data/arena-hard-v0.1/{name}"
    for name in ("question.jsonl", "model_answer/gpt-4-0314.jsonl")
]
_WMT22 = "haoranxu/WMT22-Test"
_MBPP = "google-research-datasets/mbpp"

_GROUP_KEYS = ("class", "aggregate_metric_list")
"""Keys that a task inherits from its group and that lm-eval's task configuration does not know."""


class DataDirTask(ConfigurableTask):
    def __init__(self, config: dict[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(config={k: v for k, v in (config or {}).items() if k not in _GROUP_KEYS}, **kwargs)

    def download(self, dataset_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        folder = (self.config.metadata or {}).get("data_dir")
        if folder is not None:
            found = read(Path(folder), self.DATASET_PATH, self.DATASET_NAME)
            self.dataset = DatasetDict({split: Dataset.from_list(split_rows) for split, split_rows in found.items()})
            return
        try:
            if self.DATASET_PATH == _ALPACA_EVAL:
                file = _ALPACA_EVAL_FILES.format(self.DATASET_NAME)
                self.dataset = load_dataset("json", data_files={"eval": file})
            elif self.DATASET_PATH == _ARENA_HARD:
                questions, answers = (load_dataset("json", data_files=file)["train"] for file in _ARENA_HARD_FILES)
                rows = arena_hard_rows(questions.to_list(), answers.to_list())
                self.dataset = DatasetDict({"test": Dataset.from_list(rows)})
            else:
                super().download(dataset_kwargs, **kwargs)
            self._take_rows_of_hub()
        except OSError as error:  # datasets' own errors are kinds of it: no network, no such data set, no access
            raise UserError(
                f"benchmark data {self.DATASET_PATH} could not be read from the hub: {str(error).splitlines()[0]}\n"
                "Where there is no network, set evaluate.data to a folder with the benchmark's files."
            ) from error

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
