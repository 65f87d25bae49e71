"""Errors of the Hugging Face Hub in one line, with a remedy. No message ever contains a token."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import HubError, one_line

SIGN_IN = "set HF_TOKEN, or run `hf auth login`"


class Unreachable(HubError):
    """The Hub is out of reach; what was fetched before can be used."""


@contextmanager
def translate_hub_errors(doing: str, repo_id: str, token: str | None = None) -> Iterator[None]:
    """Turn whatever huggingface_hub raises while ``doing`` something into a ``HubError`` of one line.

    Raises:
        Unreachable: the Hub did not answer, or answered with a failure of its own, which may pass.
    """
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError
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
        statuses = [cause.response.status_code for cause in causes if isinstance(cause, HfHubHTTPError)]
        kind = Unreachable if any(map(_is_unreachable, causes)) else HubError
        text = _without_tokens(f"cannot {doing}: {_reason(causes, repo_id)}", token)
        raise kind(text, next(iter(statuses), None)) from None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those that caused it."""
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _is_unreachable(error: BaseException) -> bool:
    import httpx2
    from huggingface_hub import errors

    if isinstance(error, errors.HfHubHTTPError):
        return error.response.status_code >= 500
    return isinstance(error, httpx2.TransportError | errors.OfflineModeIsEnabled)


def _reason(causes: list[BaseException], repo_id: str) -> str:
    """The reason for a chain of errors, and the remedy: that of the first kind in this list that occurs in it."""
    import httpx2
    from huggingface_hub import constants, errors

    if any(getattr(cause, "errno", None) in (errno.ENOSPC, errno.EDQUOT) for cause in causes):
        return "the disk is full: make room, or let HF_HOME name a folder on another one"
    bad_token = "the token holds characters that no token has: copy it again"
    for kind, text in (
        (errors.OfflineModeIsEnabled, "HF_HUB_OFFLINE is set, and it is not in the cache: unset it, or fetch it once "
                                      "while connected"),
        (errors.LocalTokenNotFoundError, f"it needs a token: {SIGN_IN}"),
        (errors.HFValidationError, None),
        (errors.HfHubHTTPError, None),
        (httpx2.TimeoutException, f"{constants.ENDPOINT} did not answer in time: try again"),
        (httpx2.ProxyError, "the proxy refused: check HTTPS_PROXY"),
        (httpx2.LocalProtocolError, bad_token),
        (UnicodeEncodeError, bad_token),
        (httpx2.ConnectError, f"{constants.ENDPOINT} cannot be reached: check the connection, and HF_ENDPOINT if it is "
                              "set"),
        (httpx2.TransportError, "the connection was cut: try again"),
    ):  # fmt: skip
        if found := next((cause for cause in causes if isinstance(cause, kind)), None):
            return text or (_answer(found, repo_id) if kind is errors.HfHubHTTPError else _first_line(str(found)))
    return _first_line(one_line(causes[-1]))


def _answer(error: BaseException, repo_id: str) -> str:
    """What the Hub's answer means. For those who may not see a repo, the Hub says that it does not exist."""
    from huggingface_hub import constants, errors

    for kind, text in (
        (errors.GatedRepoError, f"is gated: ask for access on {constants.ENDPOINT}/{repo_id}, and {SIGN_IN}"),
        (errors.DisabledRepoError, "was disabled by its owner or the Hub"),
        (errors.RevisionNotFoundError, "has no such revision: name a branch, a tag or a commit that its page lists"),
        (errors.RemoteEntryNotFoundError, "has no such file"),
    ):
        if isinstance(error, kind):
            return f"{repo_id} {text}"
    status, said = error.response.status_code, _first_line(error.server_message or "")
    said = f" ({said})" if said else ""
    remedies = {
        401: f"it needs a valid token{said}: {SIGN_IN}",
        402: f"Hugging Face asks for a paid plan or for credit{said}: see https://huggingface.co/settings/billing",
        403: f"the token may not do this{said}: use one with write access to {repo_id.partition('/')[0]}",
        404: f"there is no {repo_id}, or it is private: check the name, or {SIGN_IN}",
        408: "the Hub did not answer in time: try again",
        409: f"the Hub is busy with another change of {repo_id}{said}: try again",
        412: f"{repo_id} was changed meanwhile: try again",
        413: f"the Hub finds it too large{said}",
        429: f"too many requests{said}: wait a few minutes, or sign in for a higher limit",
    }
    if isinstance(error, errors.RepositoryNotFoundError):  # which may be a 401
        return remedies[404]
    if status >= 500:
        return f"the Hub failed with {status}{said}: try again later, see https://status.huggingface.co"
    return remedies.get(status, f"the Hub answered {status}{said}")


def _first_line(text: str) -> str:
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return line.rstrip(".") if len(line) <= 200 else f"{line[:200]}..."


def _without_tokens(text: str, token: str | None) -> str:
    if token and token.strip():
        text = text.replace(token.strip(), "<token>")
    return re.sub(r"\bhf_[\w.-]{8,}|(?<=Bearer )\S+", "<token>", text)
