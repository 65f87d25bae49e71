"""The door of the server: under which names it answers, and how much a visitor may upload.

It comes before everything that Streamlit answers, see ``streamlit_app.py``. Without it, any web site could control an
app that has no login on 127.0.0.1: the site's own name, looked up again, leads to that address (DNS rebinding), and the
browser then takes the app for a part of the site. Only the name in the headers Host and Origin gives it away.

``ddpm`` is imported late: it loads torch, and the server should answer before that.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import re
import socket
import sys
from collections import Counter
from collections.abc import Iterable
from contextlib import contextmanager
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from streamlit import config
from streamlit.logger import get_logger
from streamlit.runtime import get_instance

NAMES = "DDPM_HOSTS"
UPLOAD = re.compile(r".*/_stcore/upload_file/(?P<session>[^/]+)/[^/]+/?")
UPLOAD_SECONDS = 300  # for a file of up to 10 MB, on a line of 300 kbit/s; for a larger one as much more
FILE_BYTES = 10_000  # that a file counts on top of its content: a million empty ones fill the memory too
MOST_TOLD = 100  # names that were refused, in the log


# -- names ---------------------------------------------------------------------------------------------------------


def own_names() -> tuple[str, ...]:
    """$DDPM_HOSTS, the names under which others reach this server, such as lab.example.org or *.example.org.

    Raises:
        SystemExit: it lists something else.
    """
    found = tuple(name.strip().lower() for name in os.environ.get(NAMES, "").split(",") if name.strip())
    for name in found:
        if not re.fullmatch(r"(\*\.)?[a-z0-9]([a-z0-9._-]*[a-z0-9])?|[0-9a-f:]+", name):
            sys.exit(f"{NAMES} lists names without http:// and port, as in lab.example.org,*.example.org, got {name!r}")
    return found


def is_own(host: str, names: Iterable[str], address: str) -> bool:
    """Whether a server that listens on ``address`` is meant by ``host``, as a browser names it: ``name[:port]``.

    It is if ``host`` is a name of this machine or one of ``names``, and, if the server listens on the network, if it is
    an IP address: a page of another site cannot have one for its own name.
    """
    try:
        parts = urlsplit(f"//{host}")
        name, _ = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        return False
    if parts.netloc != host or "@" in host or not name:
        return False
    listening = address.strip("[]").lower() or "0.0.0.0"  # Streamlit's default: all
    known = {"localhost", listening, os.environ.get("SPACE_HOST", "").lower(), *names}
    local = (_number(listening) and _number(listening).is_loopback) or listening == "localhost"
    if number := _number(name):
        return number.is_loopback or name in known or not local
    known |= set() if local else {socket.gethostname().lower()}
    return name in known or any(each.startswith("*.") and name.endswith(each[1:]) for each in known)


def _number(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


# -- the door ------------------------------------------------------------------------------------------------------


class Door:
    """An ASGI layer: refuses requests under a foreign name and uploads that are too large, and passes on the rest."""

    def __init__(self, app: ASGIApp):
        self._app, self._names, self._told = app, own_names(), set()
        self._coming: Counter[str] = Counter()  # bytes of the uploads that are under way, by session
        # Streamlit checks origins too, but takes a proxy that puts another name into Host for a foreign site.
        here = [f"https://{name}" for name in self._names if "*" not in name]
        config.set_option("server.corsAllowedOrigins", [*config.get_option("server.corsAllowedOrigins"), *here])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
        elif refused := self._foreign(HTTPConnection(scope)):
            await _refuse(403, refused, scope, receive, send)
        elif scope["path"].rstrip("/").endswith("/_stcore/metrics") and await asyncio.to_thread(_is_public):
            await _refuse(404, "Not found", scope, receive, send)
        elif scope.get("method") == "PUT" and (upload := UPLOAD.fullmatch(scope["path"])):
            await self._upload(upload["session"], scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _foreign(self, asked: HTTPConnection) -> str:
        """Why a request is not for this server; "" if it is."""
        address = config.get_option("server.address") or ""
        # An origin is scheme://host; of a page that has none of its own it is "null".
        origins = [origin.partition("://")[2] for origin in asked.headers.getlist("origin")]
        for host in (*asked.headers.getlist("host"), *origins) if "host" in asked.headers else ("",):
            if not is_own(host, self._names, address):
                shown = re.sub(r"[^\w.:*-]", "?", host[:80]) or "without a name"
                name = shown.split(":")[0]
                remedy = f"If it should be, start the server with {NAMES}={name}, see docs/hosting.md, Behind a proxy."
                if shown not in self._told and len(self._told) < MOST_TOLD:
                    self._told.add(shown)
                    get_logger(__name__).warning("refused: %s is no name of this server. %s", shown, remedy)
                return f"{shown} is no name of this server. {remedy}"
        return ""

    async def _upload(self, session: str, scope: Scope, receive: Receive, send: Send) -> None:
        size = HTTPConnection(scope).headers.get("content-length", "")
        if not re.fullmatch("[0-9]{1,12}", size):
            await _refuse(411, "An upload has to say its length.", scope, receive, send)
            return
        with self._counted(session, int(size)) as refused:
            if refused:
                await _refuse(413, refused, scope, receive, send)
                return
            seconds = UPLOAD_SECONDS * max(1, int(size) / 10_000_000)
            try:
                async with asyncio.timeout(seconds):
                    await self._app(scope, receive, send)
            except TimeoutError:
                get_logger(__name__).warning("an upload took more than %d seconds", seconds)

    @contextmanager
    def _counted(self, session: str, size: int):
        """Count an upload while it is under way; yields why it is refused, "" if it is not."""
        from ddpm.deploy.public import limits

        here, files = limits(), get_instance().uploaded_file_mgr.file_storage
        size += FILE_BYTES
        kept = {
            name: sum(len(file.data) + FILE_BYTES for file in list(of.values())) for name, of in list(files.items())
        }
        refused = ""
        if size > here.file_megabytes * 2**20 + FILE_BYTES:
            refused = f"The file has more than {here.file_megabytes} MB."
        elif kept.get(session, 0) + self._coming[session] + size > here.session_upload_megabytes * 2**20:
            refused = f"Your files together have more than {here.session_upload_megabytes} MB: reload the page."
        elif sum(kept.values()) + self._coming.total() + size > here.server_upload_megabytes * 2**20:
            refused = "This server holds as many files as it can: try again in some minutes."
        if refused:
            yield refused
            return
        self._coming[session] += size
        try:
            yield ""
        finally:
            self._coming[session] -= size
            self._coming += Counter()  # forgets those at 0


def _is_public() -> bool:
    from ddpm.deploy.public import is_public
    from ddpm.errors import ConfigError

    try:
        return is_public()
    except ConfigError:  # every page reports it
        return True


async def _refuse(status: int, why: str, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with a line of text; a websocket, before it is one."""
    if scope["type"] == "websocket":  # the server makes a 403 of it; no browser shows a page what one says
        await send({"type": "websocket.close", "code": 1008})
        return
    headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Connection": "close"}
    await PlainTextResponse(why + "\n", status, headers)(scope, receive, send)
