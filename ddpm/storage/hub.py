"""Transfers files to and from the Hugging Face Hub; does not interpret them.

    hf://user/repo            the newest commit of the main branch
    hf://user/repo@REVISION   a branch, a tag, or a commit, whose files never change

Fetched files lie in huggingface_hub's own cache. A commit that is there is used without asking the Hub; where the Hub
is out of reach (or ``HF_HUB_OFFLINE`` is set), a branch or tag means the commit that it was when last asked for.

A token is huggingface_hub's own affair (``HF_TOKEN``, ``hf auth login``) unless one is passed; none is ever in a
message.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..errors import HubError, one_line
from ..files import write_text

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo, SpaceInfo

SCHEME = "hf://"
MANAGED = {".gitattributes"}  # written by the Hub itself into every repo
SIGN_IN = "set HF_TOKEN, or run `hf auth login`"
PATIENCE = 30  # seconds that the Hub has to answer a question

log = logging.getLogger(__name__)


# -- references ----------------------------------------------------------------------------------------------------


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
        if not text.startswith(SCHEME):
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
        """As people read it: with the first seven digits of a commit."""
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
    return Listing(found, _sizes(info))


def cached(reference: HubReference, names: Iterable[str]) -> Path | None:
    """The folder in the cache that holds these files of a revision, None where one is missing; asks nobody."""
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
    """Have files of one commit on this machine: exactly those named, all or none.

    Args:
        kinds: sets of files, by name with how many bytes each may have at most, which is checked before any is
            downloaded. Fetched is the first set that the commit has whole.
        optional: likewise for files that may be missing; one that is too large counts as missing.
        on_progress: told of the bytes there are, and of all to come.
        why_missing: given the names of all files, says what they lack where one of ``kinds`` is missing, if it knows.

    Raises:
        HubError: one of the files is missing or too large, the Hub refuses or is out of reach, the disk is full, ...
    """
    there = [folder for names in kinds if (folder := cached(reference, names))]
    if reference.pinned and there:
        return Fetched(reference, there[0])
    try:
        listing = list_files(reference)
    except _Unreachable as error:
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
    if not reference.pinned:  # what the cache answers where the Hub is out of reach; it may be there to read only
        with suppress(PermissionError):
            write_text(folder.parents[1] / "refs" / (reference.revision or "main"), found.revision)
    return Fetched(found, folder)


def _download(reference: HubReference, name: str, counted: _Counted) -> Path:
    """Have one file of a commit in the cache; returns the folder of the commit."""
    from huggingface_hub import hf_hub_download

    with translate_hub_errors(f"fetch {name} of {reference.short}", reference.repo_id):
        path = hf_hub_download(reference.repo_id, name, revision=reference.revision, tqdm_class=counted.bar())
    return Path(path).parents[name.count("/")]


class _Counted:
    """Counts the bytes of several downloads, and ends them where more come than were announced."""

    def __init__(self, total: int, on_progress: Callable[[int, int], None]):
        self.done, self.total, self.on_progress = 0, total, on_progress

    def bar(self) -> type:
        """A progress bar as huggingface_hub wants one."""
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


# -- publishing ----------------------------------------------------------------------------------------------------


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

    A repo that does not exist is created. Of a Space that exists, files that are not in ``folder`` are removed; they
    stay in its history. A model's repo that holds such files is refused: it may be that of something else.

    Args:
        repo_id: ``user/name``.
        token: of the Hub, with write access; None for the one that this machine is signed in with.
        private: only for you to see; a repo that exists already and is public is refused.
        space_sdk: of a Space: docker, static, ...
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
        foreign = sorted(_sizes(before).keys() - ours.keys() - MANAGED)
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
    there = _sizes(after)
    for name in sorted((ours.keys() | there.keys()) - MANAGED):
        if ours.get(name) != there.get(name):
            sizes = [f"{files[name]:,} bytes" if name in files else "missing" for files in (there, ours)]
            raise HubError(f"{name} is {sizes[0]} in {repo_id} after the upload, {sizes[1]} here: publish it again")
    return Published(str(url), commit)


def check_token(repo_id: str, token: str | None = None) -> None:
    """Ask the Hub whether it knows the token, before work that would be for nothing; see ``token_for``.

    Raises:
        HubError: it does not, is out of reach, or there is no token.
    """
    from huggingface_hub import HfApi

    with translate_hub_errors(f"publish {repo_id}", repo_id, token):
        HfApi(token=token_for(repo_id, token)).whoami()


def token_for(repo_id: str, token: str | None = None) -> str:
    """The token to publish with: the one given, else that of this machine.

    Raises:
        HubError: this is no name of a repo, or there is no token.
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


def _sizes(info: ModelInfo | SpaceInfo) -> dict[str, int]:
    """The files of a commit, and their sizes in bytes."""
    return {file.rfilename: file.size or 0 for file in info.siblings or []}


# -- what goes wrong -----------------------------------------------------------------------------------------------


@contextmanager
def translate_hub_errors(doing: str, repo_id: str, token: str | None = None) -> Iterator[None]:
    """Turn whatever huggingface_hub raises while ``doing`` something into a ``HubError`` of one line."""
    import httpx2
    from huggingface_hub.utils import disable_progress_bars
    from huggingface_hub.utils import logging as hub_logging

    if "HF_HUB_VERBOSITY" not in os.environ:
        hub_logging.set_verbosity_error()  # it warns at every retry, with the whole address
    if not sys.stderr.isatty():
        disable_progress_bars()
    try:
        yield
    except HubError:
        raise
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError, RuntimeError, EOFError) as error:
        causes = list(_causes(error))
        kind = _Unreachable if any(map(_is_unreachable, causes)) else HubError
        raise kind(_without_tokens(f"cannot {doing}: {_reason(causes, repo_id)}", token), _status(causes)) from None


class _Unreachable(HubError):
    """The Hub is out of reach; what was fetched before can be used."""


def _is_unreachable(error: BaseException) -> bool:
    import httpx2
    from huggingface_hub import errors

    if isinstance(error, errors.HfHubHTTPError):
        return error.response.status_code >= 500
    return isinstance(error, httpx2.TransportError | errors.OfflineModeIsEnabled)


def _reason(causes: list[BaseException], repo_id: str) -> str:
    """What is behind an error that came from others, and the remedy."""
    import httpx2
    from huggingface_hub import constants, errors

    def first(*kinds: type[BaseException]) -> BaseException | None:
        return next((cause for cause in causes if isinstance(cause, kinds)), None)

    if any(getattr(cause, "errno", None) in (errno.ENOSPC, errno.EDQUOT) for cause in causes):
        return "the disk is full: make room, or let HF_HOME name a folder on another one"
    if first(errors.OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set, and it is not in the cache: unset it, or fetch it once while connected"
    if first(errors.LocalTokenNotFoundError):
        return f"it needs a token: {SIGN_IN}"
    if found := first(errors.HFValidationError):
        return _first_line(str(found))
    if found := first(errors.HfHubHTTPError):
        return _answer(found, repo_id)
    if first(httpx2.TimeoutException):
        return f"{constants.ENDPOINT} did not answer in time: try again"
    if first(httpx2.ProxyError):
        return "the proxy refused: check HTTPS_PROXY"
    if first(httpx2.LocalProtocolError, UnicodeEncodeError):
        return "the token holds characters that no token has: copy it anew"
    if first(httpx2.ConnectError):
        return f"{constants.ENDPOINT} cannot be reached: check the connection, and HF_ENDPOINT if it is set"
    if first(httpx2.TransportError):
        return "the connection was cut: try again"
    return _first_line(one_line(causes[-1]))


def _answer(error: BaseException, repo_id: str) -> str:
    """What the Hub's answer means. Who may not see a repo is told that it does not exist."""
    from huggingface_hub import constants, errors

    status, said = error.response.status_code, _first_line(error.server_message or "")
    said = f" ({said})" if said else ""
    if isinstance(error, errors.GatedRepoError):
        return f"{repo_id} is gated: ask for access on {constants.ENDPOINT}/{repo_id}, and {SIGN_IN}"
    if isinstance(error, errors.DisabledRepoError):
        return f"{repo_id} was disabled by its owner or the Hub"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{repo_id} has no such revision: name a branch, a tag or a commit that its page lists"
    if isinstance(error, errors.RemoteEntryNotFoundError):
        return f"{repo_id} has no such file"
    if isinstance(error, errors.RepositoryNotFoundError) or status == 404:
        return f"there is no {repo_id}, or it is private: check the name, or {SIGN_IN}"
    remedies = {
        401: f"it needs a valid token{said}: {SIGN_IN}",
        402: f"Hugging Face asks for a paid plan{said}",
        403: f"the token may not do this{said}: use one with write access to {repo_id.partition('/')[0]}",
        408: "the Hub did not answer in time: try again",
        409: f"the Hub is busy with another change of {repo_id}{said}: try again",
        412: f"{repo_id} was changed meanwhile: try again",
        413: f"the Hub finds it too large{said}",
        429: f"too many requests{said}: wait a few minutes, or sign in for a higher limit",
    }
    if status >= 500:
        return f"the Hub failed with {status}{said}: try again later, see https://status.huggingface.co"
    return remedies.get(status, f"the Hub answered {status}{said}")


def _status(causes: list[BaseException]) -> int | None:
    """The status of the Hub's answer, where it gave one."""
    from huggingface_hub.errors import HfHubHTTPError

    return next((cause.response.status_code for cause in causes if isinstance(cause, HfHubHTTPError)), None)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those that it came from."""
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _first_line(text: str) -> str:
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return line.rstrip(".") if len(line) <= 200 else f"{line[:200]}..."


def _without_tokens(text: str, token: str | None) -> str:
    if token and token.strip():
        text = text.replace(token.strip(), "<token>")
    return re.sub(r"\bhf_[\w.-]{8,}|(?<=Bearer )\S+", "<token>", text)
