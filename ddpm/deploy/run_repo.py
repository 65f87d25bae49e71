"""A run's folder in a private model repo of the Hugging Face Hub, where a job and this machine exchange it.

The repo holds what the run's folder holds; ``job/`` has what is the job's own: the code, the status, the wish to stop.
"""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..errors import HubError
from ..files import RunFolder, write_bytes
from ..image_folder.manifest import list_folder
from ..storage.hub import PATIENCE, sizes_of
from ..storage.hub_errors import translate_hub_errors
from ..storage.publish import private_repo

OWN = "job"
STATUS = f"{OWN}/status.json"
STOP = f"{OWN}/stop"
IMAGES = "images.zip"
LATEST = "ckpts/latest.pt"
HERE_ONLY = ("job.json", "train.log", "status.json", OWN)  # not to be uploaded from where they are
SMALL = ("logs/*.jsonl", "grids/*", "config.yaml", STATUS)  # what the pages show while it trains


class RunRepo:
    """The repo of one run. Every method raises HubError, with the reason and the remedy."""

    def __init__(self, repo_id: str, token: str | None = None):
        """token: None for the one that this machine is signed in with."""
        from huggingface_hub import HfApi

        self.repo_id, self.token, self.api = repo_id, token, HfApi(token=token)
        self.pulled = ""  # the commit that ``pull_new`` has downloaded

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        with translate_hub_errors(f"{what} {self.repo_id}", self.repo_id, self.token):
            yield

    def create(self) -> None:
        """Create the private repo.

        Raises:
            HubError: there is a repo of that name already, ...
        """
        try:
            with self.doing("create"):
                self.api.create_repo(self.repo_id, private=True)
        except HubError as error:
            if error.status != 409:
                raise
            raise HubError(
                f"{self.repo_id} exists already: choose another --run or --repo, or continue that run with --resume",
                409,
            ) from None

    def push(
        self, folder: RunFolder, message: str, extra: Mapping[str, bytes] | None = None, delete: Sequence[str] = ()
    ) -> None:
        """Upload what is in a run's folder now, in one commit; it may be written to meanwhile.

        Args:
            extra: more files, by their path in the repo.
            delete: patterns of files that are removed unless they are uploaded.
        """
        with tempfile.TemporaryDirectory() as name, self.doing("upload the run to"):
            copy = Path(name) / "run"  # in which no file changes between its hash and its upload
            shutil.copytree(folder.path, copy, ignore=shutil.ignore_patterns(".*", *HERE_ONLY))
            for path, content in (extra or {}).items():
                write_bytes(copy / path, content)
            self.api.upload_folder(
                repo_id=self.repo_id, folder_path=copy, commit_message=message, delete_patterns=list(delete) or None
            )

    def pull(self, folder: RunFolder, *patterns: str) -> None:
        """Download the files that match into a run's folder; without patterns all but the code and the wish to stop."""
        from huggingface_hub import snapshot_download

        with self.doing("download the run from"):
            snapshot_download(
                self.repo_id, local_dir=folder.path, token=self.token, allow_patterns=list(patterns) or None,
                ignore_patterns=[f"{OWN}/*.whl", STOP, ".gitattributes", "README.md"],
            )  # fmt: skip

    def pull_new(self, folder: RunFolder, *patterns: str) -> None:
        """``pull`` unless there is no commit since the last time."""
        with self.doing("look up"):
            newest = self.api.model_info(self.repo_id, timeout=PATIENCE).sha
        if newest != self.pulled:
            self.pull(folder, *patterns)
            self.pulled = newest

    def files(self) -> dict[str, int]:
        """The files, and their sizes in bytes."""
        with self.doing("look up"):
            return sizes_of(self.api.model_info(self.repo_id, files_metadata=True, timeout=PATIENCE))

    def ask_to_stop(self) -> None:
        with self.doing("stop the run of"):
            self.api.upload_file(
                path_or_fileobj=b"stop\n", path_in_repo=STOP, repo_id=self.repo_id, commit_message="Stop"
            )

    def stop_asked(self) -> bool:
        with self.doing("look up"):
            return self.api.file_exists(self.repo_id, STOP)

    # -- the images of a folder, in a private dataset repo beside it --------------------------------------------------

    @property
    def images(self) -> str:
        return f"{self.repo_id}-images"

    def push_images(self, folder: Path) -> int:
        """Upload the images of a folder as one archive; its size in bytes."""
        listing = list_folder(folder)
        with tempfile.NamedTemporaryFile(suffix=".zip") as file:
            with zipfile.ZipFile(file, "w") as archive:  # stored: images are compressed already
                for name, _ in listing.files:
                    archive.write(listing.root / name, name)
            file.flush()
            with self.doing("upload the images of"):
                private_repo(self.api, self.images, "dataset")
                self.api.upload_file(
                    path_or_fileobj=file.name, path_in_repo=IMAGES, repo_id=self.images, repo_type="dataset",
                    commit_message="Images to train on",
                )  # fmt: skip
            return Path(file.name).stat().st_size

    def pull_images(self, folder: Path) -> None:
        """Unpack the images to where they are on the machine that sent them, so that config and checkpoints name the
        same folder on both."""
        with self.doing("download the images of"):
            path = self.api.hf_hub_download(self.images, IMAGES, repo_type="dataset")
            with zipfile.ZipFile(path) as archive:
                archive.extractall(folder)
