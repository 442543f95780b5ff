"""Uploads a folder to the hub: `selectit publish --push`. Nothing else in this project does."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from selectit.errors import UserError


def check_hub() -> None:
    """Raises: UserError offline, or without a token."""
    if constants.HF_HUB_OFFLINE:
        raise UserError("HF_HUB_OFFLINE is set, so nothing is uploaded; unset it to publish")
    if get_token() is None:
        raise UserError("the hub needs a token that may write: set HF_TOKEN, or run `hf auth login`")


def upload(folder: Path, repository: str, private: bool, kind: Literal["model", "dataset"], what: Path) -> str:
    """Args:    private: of a new repository; what: names in an error what is published.
    Returns: the address.
    Raises:  UserError as `check_hub` does, and where the hub refuses.
    """
    check_hub()
    api = HfApi()
    try:
        api.create_repo(repository, private=private, exist_ok=True, repo_type=kind)
        return str(
            api.upload_folder(
                repo_id=repository, folder_path=folder, repo_type=kind, commit_message="Upload by selectit publish"
            )
        )
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise UserError(f"{what} could not be published as {repository}: {str(error).splitlines()[0]}") from error
