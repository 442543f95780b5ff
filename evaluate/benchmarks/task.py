"""The lm-eval task class that reads a benchmark from the hub or from a local data folder.

Named as `class:` in the task YAMLs of the benchmarks' folders; everything else of a task (prompt, filters, metrics)
stays lm-eval's. Benchmark, folder and revision come in as `metadata: {benchmark:, data_dir:, revision:}`; without a
folder the hub is read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict
from lm_eval.api.task import ConfigurableTask

from selectit.evaluate.benchmarks.benchmark import HubFiles, HubRows, Rows
from selectit.evaluate.benchmarks.files import in_data_folder, refuse_hub
from selectit.evaluate.benchmarks.hub import needed_file_at, rows_at
from selectit.evaluate.benchmarks.registry import benchmarks

_GROUP_KEYS = ("class", "aggregate_metric_list")
"""Keys that a task inherits from its group and that lm-eval's task configuration does not know."""


class DataDirTask(ConfigurableTask):
    def __init__(self, config: dict[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(config={k: v for k, v in (config or {}).items() if k not in _GROUP_KEYS}, **kwargs)

    def download(self, dataset_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        metadata = self.config.metadata or {}
        benchmark, revision = benchmarks()[metadata["benchmark"]], metadata["revision"]
        source, name = benchmark.source, self.DATASET_NAME or ""
        if metadata["data_dir"] is not None:
            self._take(benchmark.read(in_data_folder(benchmark, Path(metadata["data_dir"])), name))
        elif isinstance(source, HubFiles):
            self._take(benchmark.read(lambda file: needed_file_at(source.dataset, source.names[file], revision), name))
        else:
            refuse_hub(benchmark)
            options = {key: value for key, value in (dataset_kwargs or {}).items() if key != "trust_remote_code"}
            self.dataset = rows_at(str(self.DATASET_PATH), self.DATASET_NAME, revision, **options)
            if isinstance(source, HubRows) and source.to_splits is not None:
                self._take(source.to_splits(self.dataset, name))

    def _take(self, splits: dict[str, Rows]) -> None:
        self.dataset = DatasetDict({split: Dataset.from_list(rows) for split, rows in splits.items()})
