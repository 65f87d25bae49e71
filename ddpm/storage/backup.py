"""A folder of runs and images kept in a private repo of the Hugging Face Hub, for machines whose disk does not last."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from .hub_errors import translate_hub_errors
from .publish import private_repo, token_for

REMADE = [".folders/*", ".folders/**", "**/.lock", ".cache/**"]  # caches and locks


def back_up(folder: Path, repo_id: str) -> None:
    """Send what is new in a folder to the Hub, in one commit: all of it is there afterwards, or what was there before.

    Args:
        repo_id: ``user/name``, created private if it does not exist.

    Raises:
        HubError: there is no token, the Hub refuses or is out of reach; or the repo is public.
    """
    with translate_hub_errors(f"back up to {repo_id}", repo_id):
        api = _private(repo_id)
        api.upload_folder(
            repo_id=repo_id, folder_path=folder, ignore_patterns=REMADE, commit_message=f"Back up {folder.name}"
        )


def restore(folder: Path, repo_id: str) -> bool:
    """Fetch a folder that was backed up, unless it is there; returns whether there was something to fetch.

    Raises:
        HubError: see ``back_up``.
    """
    if folder.exists():
        return False
    staging = folder.with_name(f".{folder.name}-restoring")  # a restoration that is killed leaves no half of a folder
    with translate_hub_errors(f"restore from {repo_id}", repo_id):
        from huggingface_hub import snapshot_download

        api = _private(repo_id)
        if not set(api.list_repo_files(repo_id)) - {".gitattributes"}:
            return False
        snapshot_download(repo_id, local_dir=staging, token=api.token)
    shutil.rmtree(staging / ".cache", ignore_errors=True)  # huggingface_hub's notes on the download
    (staging / ".gitattributes").unlink(missing_ok=True)
    os.rename(staging, folder)
    return True


def _private(repo_id: str):
    """The Hub's API, once the repo is there and nobody else can read it."""
    from huggingface_hub import HfApi

    api = HfApi(token=token_for(repo_id))
    private_repo(api, repo_id)
    return api
