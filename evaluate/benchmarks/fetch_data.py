"""The folder that evaluate.data reads, fetched for machines without internet: from the hub, or from a release.

Hub rows are written in the authors' layout, which the benchmark's reader reads back. fetched.json has the data set of
each benchmark and its commit.
"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

from datasets import load_dataset
from huggingface_hub import HfApi, hf_hub_download

from selectit.data.fetch import Source, download, fetch, reason_of
from selectit.data.whole_files import write_whole
from selectit.errors import UserError
from selectit.evaluate.benchmarks.benchmark import Archive, Benchmark, HubFiles, HubRows, Release, Rows
from selectit.evaluate.benchmarks.files import lm_eval_tasks, prompt_forms
from selectit.evaluate.benchmarks.hub import terms_of
from selectit.evaluate.benchmarks.registry import benchmark_named, benchmarks, names_in

FETCHED_FILE = "fetched.json"


def fetch_benchmark(name: str, out: Path) -> str:
    """Write the files of a benchmark to `out`; those that are there are kept. Returns what was done, in words.

    Args:   name: a benchmark, or a folder of several: wmt22 for its four directions.
    Raises: UserError for an unknown name, no network, or data of another form than expected.
    """
    if name not in benchmarks() and (several := names_in(name)):
        return "; ".join(fetch_benchmark(one, out) for one in several)
    benchmark = benchmark_named(name)
    if benchmark.asked_as is not None:
        return fetch_benchmark(benchmark.asked_as, out)
    source = benchmark.source
    if isinstance(source, Release):
        of = f"the release of {source.publisher}"
        fetch(source.file, out / benchmark.folder, {source.file: Source(source.url, source.sha256, of)})
        _note(out, name, {"url": source.url, "sha256": source.sha256})
        return f"{name}: {out / benchmark.folder / source.file}"
    try:
        files, origin = _from_hub(benchmark, source)
        if (archive := benchmark.archive) is not None:
            files |= _from_archive(archive)
            origin |= {"archive": archive.url, "sha256": archive.sha256}
    except Exception as error:  # the hub's libraries have an exception for each of its moods
        raise UserError(
            f"{name}: the hub could not be read ({reason_of(error)}). {terms_of(source.dataset, error)}Run this where "
            "there is internet, and take the folder along"
        ) from error
    written = [file for file, content in files.items() if _write(out / benchmark.folder / file, content)]
    _note(out, name, origin)
    return f"{name}: {len(written)} files written to {out}, {len(files) - len(written)} were there"


def _from_hub(benchmark: Benchmark, source: HubRows | HubFiles) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Name in the benchmark's data folder -> content; and which data set at which commit."""
    commit = _commit(source.dataset)
    if isinstance(source, HubFiles):
        found = {ours: _file(source.dataset, theirs, commit) for ours, theirs in source.names.items()}
    else:
        forms = (None, *prompt_forms(benchmark.name))
        tasks = list(dict.fromkeys(task for form in forms for task in lm_eval_tasks(benchmark.name, form)))
        found = source.to_files(lambda config, split: _rows(source.dataset, config, split, commit), tasks)
    return found, {"dataset": source.dataset, "commit": commit}


def _from_archive(archive: Archive) -> dict[str, bytes]:
    """Name in the benchmark's data folder -> content."""
    source = Source(archive.url, archive.sha256, f"{archive.publisher}' archive")
    with zipfile.ZipFile(io.BytesIO(download(source, Path(archive.url).name))) as content:
        return {ours: content.read(theirs) for ours, theirs in archive.names.items()}


def location(dataset: str) -> str:
    """Where a data set is read from: its hub id."""
    return dataset


def _commit(dataset: str) -> str | None:
    """The hub's present commit of a data set; None for a local folder."""
    return None if Path(location(dataset)).is_dir() else HfApi().dataset_info(location(dataset)).sha


def _rows(dataset: str, config: str | None, split: str, commit: str | None) -> Rows:
    return list(load_dataset(location(dataset), config, split=split, revision=commit))


def _file(dataset: str, name: str, commit: str | None) -> bytes:
    local = Path(location(dataset)) / name
    path = local if commit is None else Path(hf_hub_download(dataset, name, repo_type="dataset", revision=commit))
    return path.read_bytes()


def _write(path: Path, content: bytes) -> bool:
    """False where the file is there already, whatever it holds."""
    if path.is_file():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, content)
    return True


def _note(out: Path, name: str, origin: dict[str, Any]) -> None:
    path = out / FETCHED_FILE
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    path.write_text(json.dumps({**known, name: origin}, indent=2, sort_keys=True) + "\n", encoding="utf-8")
