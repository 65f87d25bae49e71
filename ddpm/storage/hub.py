"""Fetches files from the Hugging Face Hub; does not interpret them.

    hf://user/repo            the newest commit of the main branch
    hf://user/repo@REVISION   a branch, a tag, or a commit, whose files never change

Fetched files go to huggingface_hub's own cache. A cached commit is used without asking the Hub; if the Hub is out of
reach (or ``HF_HUB_OFFLINE`` is set), a branch or tag means the commit that it was when the Hub was last asked.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import HubError
from ..files import write_text
from .hub_errors import Unreachable, translate_hub_errors

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo, SpaceInfo

SCHEME = "hf://"
PATIENCE = 30  # seconds that the Hub has to answer

log = logging.getLogger(__name__)


# -- references ----------------------------------------------------------------------------------------------------


def is_on_hub(reference: str) -> bool:
    return reference.startswith(SCHEME)


@dataclass(frozen=True)
class HubReference:
    """A repo on the Hub, at a revision."""

    repo_id: str
    """user/name"""
    revision: str | None = None
    """A branch, a tag or a commit; None for the main branch."""

    @classmethod
    def parse(cls, text: str) -> HubReference:
        """Read ``hf://user/repo[@revision]``, strictly.

        Raises:
            HubError: it is something else.
        """
        repo_id, at, revision = text.removeprefix(SCHEME).partition("@")
        if not is_on_hub(text):
            raise HubError(f"{text[:120]!r} must look like {SCHEME}user/repo or {SCHEME}user/repo@revision")
        check_repo_id(repo_id)
        if at and not re.fullmatch(r"(?!.*(\.\.|//))[A-Za-z0-9][\w./-]{0,99}", revision, re.ASCII):
            raise HubError(f"{revision[:120]!r} is no revision of {repo_id}: name a branch, a tag or a commit")
        return cls(repo_id, revision if at else None)

    def __str__(self) -> str:
        return f"{SCHEME}{self.repo_id}{f'@{self.revision}' if self.revision else ''}"

    @property
    def pinned(self) -> bool:
        """Whether the revision is a full commit hash, which means the same files for ever."""
        return bool(re.fullmatch(r"[0-9a-f]{40}", self.revision or ""))

    @property
    def short(self) -> str:
        """For display: with only the first seven digits of a commit."""
        return str(replace(self, revision=self.revision[:7])) if self.pinned else str(self)


def check_repo_id(repo_id: str) -> None:
    """Check that this is ``user/name``, as huggingface_hub would have it.

    Raises:
        HubError: it is not.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo_id)
        valid = "/" in repo_id
    except HFValidationError:
        valid = False
    if not valid:
        raise HubError(
            f"{repo_id[:120]!r} isn't a valid Hub name: expected user/name, each of letters, digits, '-', '_' and '.'"
        )


# -- fetching ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Listing:
    """What a repo holds at one commit."""

    reference: HubReference
    """Pinned to the commit."""
    sizes: Mapping[str, int] = field(hash=False)
    """Bytes of every file, by its path."""


def list_files(reference: HubReference) -> Listing:
    """Ask the Hub for a revision's commit and the sizes of its files; nothing is downloaded.

    Raises:
        HubError: no such repo or revision, or the Hub is out of reach.
    """
    from huggingface_hub import HfApi

    with translate_hub_errors(f"look up {reference}", reference.repo_id):
        info = HfApi().model_info(reference.repo_id, revision=reference.revision, files_metadata=True, timeout=PATIENCE)
    found = replace(reference, revision=info.sha)
    if not found.pinned:
        raise HubError(f"what answers for the Hub named no commit of {reference}: check HF_ENDPOINT")
    return Listing(found, sizes_of(info))


def sizes_of(info: ModelInfo | SpaceInfo) -> dict[str, int]:
    """The files of a commit, and their sizes in bytes."""
    return {file.rfilename: file.size or 0 for file in info.siblings or []}


def cached(reference: HubReference, names: Iterable[str]) -> Path | None:
    """The folder in the cache that holds these files of a revision, None if one is missing; does not ask the Hub."""
    from huggingface_hub import try_to_load_from_cache

    folders = set()
    for name in names:
        found = try_to_load_from_cache(reference.repo_id, name, revision=reference.revision)
        if not isinstance(found, str):
            return None
        folders.add(Path(found).parents[name.count("/")])
    return folders.pop() if len(folders) == 1 else None


def cached_references(names: Iterable[str]) -> list[HubReference]:
    """The commits of all repos whose files of these names are in the cache, the newest first."""
    from huggingface_hub import constants

    first, *others = names
    found = [
        path.parents[first.count("/")]
        for path in Path(constants.HF_HUB_CACHE).glob(f"models--*--*/snapshots/*/{first}")
    ]
    whole = [folder for folder in found if all((folder / name).is_file() for name in others)]
    return [
        HubReference(folder.parents[1].name.removeprefix("models--").replace("--", "/"), folder.name)
        for folder in sorted(whole, key=lambda folder: -folder.stat().st_mtime)
    ]


@dataclass(frozen=True)
class Fetched:
    """Files of one commit, on this machine."""

    reference: HubReference
    """Pinned to the commit."""
    folder: Path


def fetch(
    reference: HubReference,
    *kinds: Mapping[str, int],
    optional: Mapping[str, int] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    why_missing: Callable[[Iterable[str]], str | None] = lambda names: None,
) -> Fetched:
    """Fetch files of one commit to this machine: exactly those named, all or none.

    Args:
        kinds: alternative sets of files, each a name with its maximum size in bytes, which is checked before any
            download. The first set that the commit has complete is fetched.
        optional: likewise for files that may be missing; one that is too large counts as missing.
        on_progress: called with the bytes so far and the total.
        why_missing: given the names of all files, says why none of ``kinds`` is complete, if it knows.

    Raises:
        HubError: one of the files is missing or too large, the Hub refuses or is out of reach, the disk is full, ...
    """
    there = [folder for names in kinds if (folder := cached(reference, names))]
    if reference.pinned and there:
        return Fetched(reference, there[0])
    try:
        listing = list_files(reference)
    except Unreachable as error:
        if there:
            log.warning("%s. Using the commit that it was when the Hub was last asked, %s", error, there[0].name)
            return Fetched(replace(reference, revision=there[0].name), there[0])
        raise
    found, sizes = listing.reference, listing.sizes
    limits = next((names for names in kinds if names.keys() <= sizes.keys()), kinds[0])
    for name, limit in limits.items():
        if name not in sizes:
            raise HubError(f"{found.short} has no {name}: {why_missing(sizes) or 'it is no model of this kind'}")
        if sizes[name] > limit:
            raise HubError(f"{name} of {found.short} has {sizes[name]:,} bytes, more than the {limit:,} expected")
    names = [*limits, *(name for name, limit in (optional or {}).items() if sizes.get(name, limit + 1) <= limit)]
    counted = _Counted(sum(sizes[name] for name in names), on_progress or (lambda done, total: None))
    for name in names:
        folder = _download(found, name, counted)
    if not reference.pinned:  # what the cache answers if the Hub is out of reach; the cache may be read-only
        with suppress(PermissionError):
            write_text(folder.parents[1] / "refs" / (reference.revision or "main"), found.revision)
    return Fetched(found, folder)


def _download(reference: HubReference, name: str, counted: _Counted) -> Path:
    """Download one file of a commit into the cache; returns the folder of the commit."""
    from huggingface_hub import hf_hub_download

    with translate_hub_errors(f"fetch {name} of {reference.short}", reference.repo_id):
        path = hf_hub_download(reference.repo_id, name, revision=reference.revision, tqdm_class=counted.bar())
    return Path(path).parents[name.count("/")]


class _Counted:
    """Counts the bytes of several downloads, and stops them if more arrive than were announced."""

    def __init__(self, total: int, on_progress: Callable[[int, int], None]):
        self.done, self.total, self.on_progress = 0, total, on_progress

    def bar(self) -> type:
        """A progress bar as huggingface_hub expects one."""
        from huggingface_hub.utils import tqdm

        counted = self

        class Bar(tqdm):
            def update(self, n: float | None = 1) -> bool | None:
                counted.done += int(n or 0)
                if counted.done > counted.total:
                    raise HubError(f"the Hub sends more than the {counted.total:,} bytes that it announced: stopped")
                counted.on_progress(counted.done, counted.total)
                return super().update(n)

        return Bar
