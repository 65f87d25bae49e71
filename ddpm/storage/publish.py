"""Uploads a folder to the Hugging Face Hub in one commit, and checks what is there afterwards.

huggingface_hub finds the token (``HF_TOKEN``, ``hf auth login``) unless one is passed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..errors import HubError
from .hub import PATIENCE, check_repo_id, sizes_of
from .hub_errors import SIGN_IN, translate_hub_errors

if TYPE_CHECKING:
    from huggingface_hub import HfApi

MANAGED = {".gitattributes"}  # written by the Hub itself into every repo


class Published(str):
    """The address of a repo, and the commit that was made in it."""

    commit: str

    def __new__(cls, url: str, commit: str) -> Published:
        self = super().__new__(cls, url)
        self.commit = commit
        return self


def publish(
    folder: Path,
    repo_id: str,
    *,
    kind: Literal["model", "space"],
    token: str | None = None,
    private: bool = False,
    space_sdk: str | None = None,
    message: str,
) -> Published:
    """Upload a folder to the Hub in one commit, and check afterwards that it is there.

    A repo that does not exist is created. From an existing Space, files that are not in ``folder`` are removed; they
    stay in its history. A model's repo with such files is refused: it may hold something else.

    Args:
        repo_id: ``user/name``.
        token: of the Hub, with write access; None for the one that this machine is signed in with.
        private: make the repo private; an existing public repo is refused.
        space_sdk: for a Space: docker, static, ...
        message: the commit's title.

    Returns:
        The repo's address; its ``commit`` is the full hash.

    Raises:
        HubError: nothing to upload, the Hub refuses or is out of reach, or what is there afterwards differs.
    """
    from huggingface_hub import HfApi

    ours = _files_of(folder)
    with translate_hub_errors(f"publish {repo_id}", repo_id, token):
        api = HfApi(token=token_for(repo_id, token))
        url = api.create_repo(repo_id, repo_type=kind, private=private or None, space_sdk=space_sdk, exist_ok=True)
        before = api.repo_info(repo_id, repo_type=kind, files_metadata=True, timeout=PATIENCE)
        if private and not before.private:
            raise HubError(f"{repo_id} exists and is public: choose another name, or make it private in its settings")
        foreign = sorted(sizes_of(before).keys() - ours.keys() - MANAGED)
        if kind == "model" and foreign:
            raise HubError(
                f"{repo_id} holds files that are not of this upload ({', '.join(foreign[:3])}"
                f"{', ...' if foreign[3:] else ''}): choose another name, or delete them there first"
            )
        commit = api.upload_folder(
            repo_id=repo_id,
            repo_type=kind,
            folder_path=folder,
            commit_message=message,
            delete_patterns=foreign or None,
        ).oid
        after = api.repo_info(repo_id, repo_type=kind, revision=commit, files_metadata=True, timeout=PATIENCE)
    there = sizes_of(after)
    for name in sorted((ours.keys() | there.keys()) - MANAGED):
        if ours.get(name) != there.get(name):
            sizes = [f"{files[name]:,} bytes" if name in files else "missing" for files in (there, ours)]
            raise HubError(f"{name} is {sizes[0]} in {repo_id} after the upload, {sizes[1]} here: publish it again")
    return Published(str(url), commit)


def private_repo(api: HfApi, repo_id: str, kind: Literal["model", "dataset"] = "model") -> None:
    """Create a repo for one's own images, if there is none.

    Raises:
        HubError: it is there, and others can read it.
    """
    api.create_repo(repo_id, repo_type=kind, private=True, exist_ok=True)
    if not api.repo_info(repo_id, repo_type=kind, timeout=PATIENCE).private:
        raise HubError(f"{repo_id} is public, and your images would be too: name another, or make it private")


def check_token(repo_id: str, token: str | None = None) -> None:
    """Ask the Hub whether it knows the token, before work that would be wasted; see ``token_for``.

    Raises:
        HubError: it does not, is out of reach, or there is no token.
    """
    from huggingface_hub import HfApi

    with translate_hub_errors(f"publish {repo_id}", repo_id, token):
        HfApi(token=token_for(repo_id, token)).whoami()


def token_for(repo_id: str, token: str | None = None) -> str:
    """The token to publish with: the one given, else that of this machine.

    Raises:
        HubError: not the name of a repo, or there is no token.
    """
    from huggingface_hub import get_token

    check_repo_id(repo_id)
    if found := (token or get_token() or "").strip():
        return found
    raise HubError(f"publishing {repo_id} needs a token with write access: {SIGN_IN}")


def _files_of(folder: Path) -> dict[str, int]:
    """The files of a folder to upload, and their sizes in bytes."""
    files = {path.relative_to(folder).as_posix(): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    if not files:
        raise HubError(f"{folder} holds no files to upload")
    for name in files:
        if name.rpartition("/")[2] == ".gitignore":
            raise HubError(f"{folder / name} would hide files from the upload: remove it")
    return files
