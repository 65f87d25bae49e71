"""A Hub on loopback: the endpoints that huggingface_hub uses to create a repo, upload, look up and download, and to run
jobs, whose commands are run on this machine.

Repos live in memory. A ``Fault`` makes it misbehave where its pattern matches "METHOD /path".
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import unquote, urlsplit

from tests.job_machine import HARDWARE, NOW, Machine

TOKEN = "hf_aTokenThatMustNeverBeShown"
INLINE = 1_000_000  # bytes; larger files, and all safetensors, go through LFS


@dataclass
class Fault:
    """What to answer instead: a status with headers and a message, or a body that is cut half way."""

    pattern: str
    status: int = 0
    message: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    times: int = -1
    """How often; -1 for always."""


@dataclass
class Repo:
    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """By hash, in order."""

    def __post_init__(self):
        self.commit({".gitattributes": b"*.safetensors filter=lfs\n"})

    def commit(self, files: dict[str, bytes]) -> str:
        sha = hashlib.sha1(repr((len(self.commits), sorted(files.items()))).encode()).hexdigest()
        self.commits[sha] = dict(files)
        return sha

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        sha = [*self.commits][-1] if revision == "main" else revision
        return (sha, self.commits[sha]) if sha in self.commits else None


class Hub(ThreadingHTTPServer):
    """The server; ``requests`` is what it was asked, in order."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.repos: dict[str, Repo] = {}
        self.lfs: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        self.jobs: dict[str, Machine] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def add(self, name: str, files: dict[str, bytes], **about: bool) -> str:
        """Put a repo there; returns its commit."""
        return self.repos.setdefault(name, Repo(**about)).commit(files)

    def handle_error(self, request, client_address) -> None:
        """A client that hangs up, or a connection that was cut on purpose, is no news."""


@contextmanager
def hub_server() -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        for job in server.jobs.values():
            job.close()
        server.shutdown()
        server.server_close()


def is_lfs(name: str, size: int) -> bool:
    return size > INLINE or name.endswith(".safetensors")


REPO = r"(?:(?P<kind>models|spaces|datasets)/)?(?P<repo>[^/]+/[^/]+?)"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub
    ROUTES: ClassVar = (
        (r"GET /api/whoami-v2", "whoami"),
        (r"POST /api/repos/create", "create"),
        (r"DELETE /api/repos/delete", "delete"),
        (r"POST /api/validate-yaml", "validate"),
        (rf"GET /api/{REPO}(?:/revision/(?P<revision>.+))?", "info"),
        (rf"GET /api/{REPO}/tree/(?P<revision>[^/]+)", "tree"),
        (rf"POST /api/{REPO}/preupload/(?P<revision>.+)", "preupload"),
        (rf"POST /api/{REPO}/commit/(?P<revision>.+)", "commit"),
        (rf"POST /{REPO}\.git/info/lfs/objects/batch", "batch"),
        (r"PUT /lfs/(?P<oid>\w+)", "put"),
        (rf"(?:GET|HEAD) /{REPO}/resolve/(?P<revision>[^/]+)/(?P<name>.+)", "resolve"),
        (r"POST /api/jobs/(?P<owner>[^/]+)", "run_job"),
        (r"GET /api/jobs/(?P<owner>[^/]+)/(?P<job>\w+)", "inspect_job"),
        (r"GET /api/jobs/(?P<owner>[^/]+)/(?P<job>\w+)/logs", "logs"),
        (r"POST /api/jobs/(?P<owner>[^/]+)/(?P<job>\w+)/cancel", "cancel"),
        (r"GET /api/jobs/hardware", "hardware"),
    )

    def log_message(self, *_) -> None:
        pass

    def answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        asked = f"{self.command} {path}"
        self.server.requests.append(asked)
        length = int(self.headers.get("Content-Length") or 0)
        fault = next((fault for fault in self.server.faults if fault.times and re.search(fault.pattern, asked)), None)
        self.cut = bool(fault and fault.cut)
        if fault:
            fault.times -= 1
        if self.cut and length:  # an upload is cut as it comes, a download as it goes
            self.rfile.read(length // 2)
            self.close_connection = True
            return None
        self.body = self.rfile.read(length)
        if fault and fault.status:
            return self.reply(fault.status, {"error": fault.message}, fault.headers)
        # The longest route that matches: a repo's name may hold almost anything.
        for pattern, name in reversed(self.ROUTES):
            if match := re.fullmatch(pattern, asked):
                return getattr(self, name)(**{key: value for key, value in match.groupdict().items() if key != "kind"})
        return self.reply(404, {"error": f"no such endpoint: {asked}"})

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer

    def reply(self, status: int, body: object = None, headers: dict[str, str] | None = None) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for key, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.cut:
            self.wfile.write(content[: len(content) // 2])
            self.wfile.flush()
            self.close_connection = True
            return
        self.wfile.write(content)

    @property
    def may_write(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def find(self, repo: str, revision: str | None = None) -> tuple[str, dict[str, bytes]] | None:
        """A commit of a repo; where it is not to be had, that is answered and the result is None."""
        known = self.server.repos.get(repo)
        if known is None or (known.private and not self.may_write):
            self.reply(401, {"error": "Invalid username or password."}, {"X-Error-Code": "RepoNotFound"})
            return None
        found = known.at(revision or "main")
        if found is None:
            self.reply(404, {"error": "Invalid rev id"}, {"X-Error-Code": "RevisionNotFound"})
        return found

    # -- endpoints ---------------------------------------------------------------------------------------------------

    def whoami(self) -> None:
        self.reply(*((200, {"name": "me"}) if self.may_write else (401, {"error": "Invalid username or password."})))

    def create(self) -> None:
        asked = json.loads(self.body)
        if not self.may_write:
            return self.reply(401, {"error": "Invalid credentials in Authorization header"},
                              {"X-Error-Message": "Invalid credentials in Authorization header"})  # fmt: skip
        repo = f"{asked['organization']}/{asked['name']}"
        prefix = {"space": "spaces/", "dataset": "datasets/"}.get(asked.get("type"), "")
        url = {"url": f"{self.server.url}/{prefix}{repo}"}
        if repo in self.server.repos:
            return self.reply(409, {"error": "You already created this model repo", **url})
        self.server.repos[repo] = Repo(asked.get("visibility") == "private")
        return self.reply(200, url)

    def validate(self) -> None:
        content = json.loads(self.body)["content"]
        valid = content.startswith("---\n") and "\n---\n" in content
        problem = [{"message": "no metadata"}]
        self.reply(200 if valid else 400, {"errors": [] if valid else problem, "warnings": []})

    def info(self, repo: str, revision: str | None) -> None:
        if found := self.find(repo, revision):
            sha, files = found
            siblings = [{"rfilename": name, "size": len(content), "blobId": hashlib.sha1(content).hexdigest()}
                        for name, content in files.items()]  # fmt: skip
            self.reply(200, {"id": repo, "sha": sha, "private": self.server.repos[repo].private, "siblings": siblings,
                             "tags": [], "downloads": 0, "likes": 0})  # fmt: skip

    def tree(self, repo: str, revision: str) -> None:
        if found := self.find(repo, revision):
            self.reply(200, [{"type": "file", "path": name, "size": len(content), "oid": "0" * 40}
                             for name, content in found[1].items()])  # fmt: skip

    def preupload(self, repo: str, revision: str) -> None:
        files = json.loads(self.body)["files"]
        self.reply(200, {"files": [
            {"path": file["path"], "shouldIgnore": False,
             "uploadMode": "lfs" if is_lfs(file["path"], file["size"]) else "regular"}
            for file in files
        ]})  # fmt: skip

    def batch(self, repo: str) -> None:
        self.reply(200, {"transfer": "basic", "objects": [
            {**thing, "actions": {"upload": {"href": f"{self.server.url}/lfs/{thing['oid']}"}}}
            for thing in json.loads(self.body)["objects"]
        ]})  # fmt: skip

    def put(self, oid: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != oid:
            return self.reply(400, {"error": "the content is not that of its hash"})
        self.server.lfs[oid] = self.body
        return self.reply(200, {})

    def commit(self, repo: str, revision: str) -> None:
        if not self.may_write:
            return self.reply(403, {"error": "Authorization error."})
        found = self.find(repo, revision)
        if not found:
            return None
        files = dict(found[1])
        for line in map(json.loads, self.body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server.lfs[value["oid"]]
            elif line["key"] == "deletedFile":
                files.pop(value["path"], None)
        sha = self.server.repos[repo].commit(files)
        return self.reply(200, {"commitOid": sha, "commitUrl": f"{self.server.url}/{repo}/commit/{sha}"})

    def resolve(self, repo: str, revision: str, name: str) -> None:
        found = self.find(repo, revision)
        if not found:
            return None
        sha, files = found
        if name not in files:
            return self.reply(
                404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": sha}
            )
        content, start = files[name], 0
        if asked := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or ""):
            start = int(asked[1])
        return self.reply(206 if start else 200, content[start:], {
            "X-Repo-Commit": sha,
            "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
            **({"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if start else {}),
        })  # fmt: skip

    def delete(self) -> None:
        asked = json.loads(self.body)
        del self.server.repos[f"{asked['organization']}/{asked['name']}"]
        self.reply(200, {})

    # -- jobs --------------------------------------------------------------------------------------------------------

    def hardware(self) -> None:
        self.reply(200, HARDWARE)

    def run_job(self, owner: str) -> None:
        if not self.may_write:
            return self.reply(401, {"error": "Invalid username or password."})
        asked, name = json.loads(self.body), f"job{len(self.server.jobs)}"
        self.server.jobs[name] = Machine(asked, name, owner)
        return self.inspect_job(owner, name)

    def inspect_job(self, owner: str, job: str) -> None:
        if job in self.server.jobs:
            self.reply(200, self.server.jobs[job].described)
        else:
            self.reply(404, {"error": "Job not found"})

    def cancel(self, owner: str, job: str) -> None:
        self.server.jobs[job].cancel()
        self.inspect_job(owner, job)

    def logs(self, owner: str, job: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for line in self.server.jobs[job].lines():
            self.wfile.write(f"data: {json.dumps({'data': line, 'timestamp': NOW})}\n\n".encode())
            self.wfile.flush()
        self.close_connection = True
