"""Data sets of the hub at one commit: rows as datasets makes them, or files as their authors wrote them.

datasets quietly takes the newest copy in its cache, of whatever commit, when the hub does not answer; that is refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datasets import DatasetDict, load_dataset_builder
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import GatedRepoError, RemoteEntryNotFoundError

from selectit.errors import UserError
from selectit.store.fingerprint import COMMIT


def rows_at(dataset: str, name: str | None, revision: str | None, **kwargs: Any) -> DatasetDict:
    """Every split of a data set.

    Args:   name: of its configuration; revision: None is main; kwargs: a task's own, for datasets.
    Raises: UserError where it cannot be read, or datasets has only another commit of it.
    """
    try:
        builder = load_dataset_builder(dataset, name, revision=revision, **kwargs)
        if revision is not None and COMMIT.fullmatch(revision) and builder.hash != revision:
            raise UserError(
                f"benchmark data {dataset}: the hub did not answer, and the newest copy in the cache of datasets is of "
                f"commit {builder.hash}, not of {revision}; run this where the hub answers, fetch a folder (selectit "
                "data fetch) and name it in evaluate.data, or name that commit as `revision` in the profile"
            )
        builder.download_and_prepare()
        return builder.as_dataset()
    except (OSError, ValueError) as error:  # datasets' own errors are kinds of these: no network, no access, no cache
        raise _unreadable(dataset, error, dataset) from error


def file_at(dataset: str, name: str, revision: str | None) -> Path | None:
    """A file of a data set; None where the data set has no such file.

    Raises: UserError where it cannot be read.
    """
    try:
        return Path(hf_hub_download(dataset, name, repo_type="dataset", revision=revision))
    except RemoteEntryNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(f"{dataset}, {name}", error, dataset) from error


def needed_file_at(dataset: str, name: str, revision: str | None) -> Path:
    path = file_at(dataset, name, revision)
    if path is None:
        raise UserError(f"benchmark data {dataset} has no file {name} at {revision or 'main'}")
    return path


def terms_of(dataset: str, error: Exception) -> str:
    """What to do for a data set whose terms must be accepted first; empty for any other error."""
    if not isinstance(error, GatedRepoError) and "gated" not in str(error):
        return ""
    return (
        f"It is gated: accept its terms at https://huggingface.co/datasets/{dataset}, and log in (`hf auth login`) "
        "or set HF_TOKEN. "
    )


def _unreadable(what: str, error: Exception, dataset: str) -> UserError:
    return UserError(
        f"benchmark data {what} could not be read from the hub: {str(error).splitlines()[0]}\n"
        f"{terms_of(dataset, error)}Where there is no network, set evaluate.data to a folder with the benchmark's "
        "files."
    )
