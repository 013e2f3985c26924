"""Folders of checkpoints on the Hugging Face hub: fetched whole, pushed whole."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, snapshot_download

from tslm.models.llm.store import explain_hub_error

_FILES = ("*.json", "*.safetensors", "*.jinja", "*.model", "*.txt", "README.md", "LICENSE*", "NOTICE*", "*TERMS*")
_FETCH_OPTIONS = ("revision", "token", "cache_dir", "force_download", "local_files_only")


def fetch_checkpoint(name: str, **options: Any) -> Path:
    """The folder of a checkpoint: a local one as it is, that of a hub id `owner/name` after download.

    Args:
        name: folder or hub id.
        options: of transformers' `from_pretrained`; only those about the download are used.

    Raises:
        OSError: no such folder, or the hub refused or cannot be reached; one line.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise FileNotFoundError(f"there is no checkpoint folder {name}; a name on the hub has the form owner/name")
    asked = {key: options[key] for key in _FETCH_OPTIONS if options.get(key) is not None}
    try:
        return Path(snapshot_download(name, allow_patterns=list(_FILES), **asked))
    except OSError as error:
        raise OSError(f"checkpoint {name} could not be loaded: {explain_hub_error(name, error)}") from error


def push_folder(
    write: Callable[[Path, str], None],
    repo_id: str,
    *,
    private: bool | None = None,
    token: str | bool | None = None,
    revision: str | None = None,
    commit_message: str = "Upload model",
    create_pr: bool = False,
) -> str:
    """Upload a folder that `write` fills, and return the address of the commit.

    Args:
        write: called with an empty folder and the full name on the hub.
        repo_id: name on the hub; created if it does not exist.
        private: whether a new repository is hidden from others; None: as the account is set.
        token: of the account; None: that of `hf auth login`.
        revision: branch.
        commit_message: of the upload.
        create_pr: propose the change instead of making it.
    """
    api = HfApi(token=token)
    full_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), full_id)
        return str(
            api.upload_folder(
                repo_id=full_id,
                folder_path=folder,
                commit_message=commit_message,
                revision=revision,
                create_pr=create_pr,
            )
        )
