"""Uploads a folder of weights to the hub. Nothing else in this project does, and this only when it is asked to."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from selectit.errors import UserError
from selectit.finetune.card import read_card

WEIGHTS = ("adapter_model.safetensors", "model.safetensors", "model.safetensors.index.json")


def files_of(folder: Path) -> list[Path]:
    """What an upload would take.

    Raises: UserError where weights or their card are absent.
    """
    if not any((folder / name).is_file() for name in WEIGHTS):
        raise UserError(
            f"{folder} holds no weights ({', '.join(WEIGHTS)}); name an adapter/ or model/ folder, or a merge"
        )
    read_card(folder)
    return sorted(path for path in folder.rglob("*") if path.is_file())


def push(folder: Path, repository: str, private: bool) -> str:
    """Returns: the address. Raises: UserError offline, without a token, or where the hub refuses."""
    files_of(folder)
    if constants.HF_HUB_OFFLINE:
        raise UserError("HF_HUB_OFFLINE is set, so nothing is uploaded; unset it to publish")
    if get_token() is None:
        raise UserError("the hub needs a token that may write: set HF_TOKEN, or run `hf auth login`")
    api = HfApi()
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        return str(
            api.upload_folder(repo_id=repository, folder_path=folder, commit_message="Upload by selectit publish")
        )
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise UserError(f"{folder} could not be published as {repository}: {str(error).splitlines()[0]}") from error
