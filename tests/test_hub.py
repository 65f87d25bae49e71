"""Files to and from the Hub, by the real client against a Hub on loopback: what is moved, what is refused, and what is
said where it goes wrong."""

import errno
import os
import re
import time

import pytest

from ddpm.errors import HubError
from ddpm.storage import hub as hub_module
from ddpm.storage.hub import HubReference, cached, fetch, list_files
from ddpm.storage.publish import publish
from tests.hub_server import TOKEN, Fault

FILES = {"config.yaml": b"name: x\n", "model.safetensors": bytes(300_000), "README.md": b"# x\n"}
LIMITS = {"config.yaml": 1000, "model.safetensors": 300_000}


def fault_of(action, *arguments, **options) -> str:
    with pytest.raises(HubError) as caught:
        action(*arguments, **options)
    text = str(caught.value)
    assert "\n" not in text
    assert TOKEN not in text
    return text


@pytest.fixture
def repo(hub) -> HubReference:
    """A repo with three files, at its commit."""
    return HubReference("me/digits", hub.add("me/digits", FILES))


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "upload"
    (path / "sub").mkdir(parents=True)
    (path / "README.md").write_text("---\nlicense: mit\n---\n# x\n")
    (path / "model.safetensors").write_bytes(bytes(3_000))
    (path / "sub" / "big.bin").write_bytes(os.urandom(1_200_000))
    return path


# -- references ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "repo_id", "revision"),
    [
        ("hf://user/repo", "user/repo", None),
        ("hf://User-1/re.po_2@main", "User-1/re.po_2", "main"),
        ("hf://u/r@v1.0", "u/r", "v1.0"),
        ("hf://u/r@refs/pr/3", "u/r", "refs/pr/3"),
        ("hf://u/r@" + "a1" * 20, "u/r", "a1" * 20),
    ],
)
def test_a_reference_is_read_and_written_alike(text, repo_id, revision):
    reference = HubReference.parse(text)
    assert reference == HubReference(repo_id, revision)
    assert str(reference) == text
    assert reference.pinned == (revision == "a1" * 20)


def test_a_commit_is_shown_short():
    assert HubReference("u/r", "0123456789" * 4).short == "hf://u/r@0123456"
    assert HubReference("u/r", "main").short == "hf://u/r@main"


@pytest.mark.parametrize(
    "text",
    [
        "", "hf://", "hf://repo", "hf://a/b/c", "hf://../..", "hf://u/..", "hf://u/r@", "hf://u/r@../../x",
        "hf://u/r@a b", "hf://u/r@a//b", "hf://u/r@-x", "hf://u/r@a\nb", "hf://u/r@ä", "hf://u /r", "hf://u/r.git", "hf://u/r?x=1",
        "hf://u/-r", "hf://" + "u" * 200 + "/r", "HF://u/r", "https://huggingface.co/u/r", "hf://u/r@" + "a" * 101,
    ],
)  # fmt: skip
def test_what_is_no_reference_is_refused(text):
    fault_of(HubReference.parse, text)


# -- publishing ----------------------------------------------------------------------------------------------------


def test_a_folder_is_published_in_one_commit_small_files_and_large(hub, folder):
    url = publish(folder, "me/new", kind="model", token=TOKEN, message="first")
    assert url == f"{hub.url}/me/new"
    there = hub.repos["me/new"].commits
    assert len(there) == 2  # the Hub's own, and ours
    assert [*there][-1] == url.commit
    files = there[url.commit]
    assert files.pop(".gitattributes")
    assert files == {path.relative_to(folder).as_posix(): path.read_bytes()
                     for path in folder.rglob("*") if path.is_file()}  # fmt: skip
    assert len(hub.lfs) == 2
    assert not hub.repos["me/new"].private


@pytest.mark.slow
def test_publishing_the_same_again_changes_nothing_and_something_else_is_another_commit(hub, folder):
    first = publish(folder, "me/new", kind="model", token=TOKEN, message="first")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# y\n")
    second = publish(folder, "me/new", kind="model", token=TOKEN, message="second")
    assert second == first
    assert second.commit != first.commit
    assert hub.repos["me/new"].commits[second.commit]["README.md"].endswith(b"# y\n")


@pytest.mark.slow
def test_a_space_loses_what_is_no_longer_in_its_folder(hub, folder):
    publish(folder, "me/app", kind="space", space_sdk="docker", token=TOKEN, message="first")
    (folder / "sub" / "big.bin").unlink()
    url = publish(folder, "me/app", kind="space", space_sdk="docker", token=TOKEN, message="second")
    assert url == f"{hub.url}/spaces/me/app"
    assert hub.repos["me/app"].commits[url.commit].keys() == {".gitattributes", "README.md", "model.safetensors"}


def test_a_repo_that_holds_something_else_is_not_overwritten(hub, folder):
    before = hub.add("me/llm", {"model.safetensors": b"other", "tokenizer.json": b"{}"})
    fault = fault_of(publish, folder, "me/llm", kind="model", token=TOKEN, message="m")
    assert fault.startswith("me/llm holds files that are not of this upload (tokenizer.json): choose another name")
    assert [*hub.repos["me/llm"].commits][-1] == before


@pytest.mark.slow
def test_private_means_private(hub, folder):
    publish(folder, "me/secret", kind="model", token=TOKEN, private=True, message="m")
    assert hub.repos["me/secret"].private
    hub.add("me/open", {})
    fault = fault_of(publish, folder, "me/open", kind="model", token=TOKEN, private=True, message="m")
    assert fault == "me/open exists and is public: choose another name, or make it private in its settings"
    assert len(hub.repos["me/open"].commits) == 2


def test_what_is_there_after_the_upload_is_compared(hub, folder, monkeypatch):
    put = hub.RequestHandlerClass.put

    def shortened(handler, oid):
        put(handler, oid)
        handler.server.lfs[oid] = handler.server.lfs[oid][:100]

    monkeypatch.setattr(hub.RequestHandlerClass, "put", shortened)
    fault = fault_of(publish, folder, "me/new", kind="model", token=TOKEN, message="m")
    assert fault == "model.safetensors is 100 bytes in me/new after the upload, 3,000 bytes here: publish it again"


def test_a_folder_that_cannot_be_uploaded_is_refused_before_anything_is_asked(hub, tmp_path, folder):
    assert fault_of(publish, tmp_path / "none", "me/x", kind="model", token=TOKEN, message="m").endswith("to upload")
    (folder / "sub" / ".gitignore").write_text("*")
    fault = fault_of(publish, folder, "me/x", kind="model", token=TOKEN, message="m")
    assert fault == f"{folder}/sub/.gitignore would hide files from the upload: remove it"
    assert hub.requests == []


def test_no_token_is_said_before_anything_is_asked(hub, folder):
    fault = fault_of(publish, folder, "me/x", kind="model", message="m")
    assert fault == "publishing me/x needs a token with write access: set HF_TOKEN, or run `hf auth login`"
    fault = fault_of(publish, folder, "nothing", kind="model", message="m")
    assert fault.startswith("'nothing' isn't a valid Hub name")
    assert hub.requests == []


@pytest.mark.parametrize("token", ["hf_wrongwrong", "a\nb", "ä", TOKEN + "\nX-Y: z"])
def test_a_token_that_is_not_valid_is_said_without_the_token(hub, folder, token):
    fault = fault_of(publish, folder, "me/x", kind="model", token=token, message="m")
    assert "token" in fault
    assert token not in fault


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pattern", "status", "expected"),
    [
        ("repos/create", 402, "Hugging Face asks for a paid plan or for credit (why)"),
        ("repos/create", 403, "the token may not do this (why): use one with write access to me"),
        ("POST .*/commit", 403, "the token may not do this (why): use one with write access to me"),
        ("POST .*/commit", 404, "there is no me/x, or it is private: check the name, or set HF_TOKEN"),
        ("POST .*/commit", 409, "the Hub is busy with another change of me/x (why): try again"),
        ("POST .*/commit", 412, "me/x was changed meanwhile: try again"),
        ("POST .*/commit", 413, "the Hub finds it too large (why)"),
        ("repos/create", 429, "too many requests (why): wait a few minutes"),
        ("PUT /lfs", 429, "too many requests (why): wait a few minutes"),
        ("PUT /lfs", 403, "the token may not do this (why)"),
        ("preupload", 503, "the Hub failed with 503 (why): try again later"),
        ("objects/batch", 418, "the Hub answered 418 (why)"),
    ],
)  # fmt: skip
def test_what_the_hub_answers_to_an_upload_is_one_line_with_a_remedy(hub, folder, pattern, status, expected):
    hub.faults.append(Fault(pattern, status, f"why\nand more, {TOKEN}"))
    fault = fault_of(publish, folder, "me/x", kind="model", token=TOKEN, message="m")
    assert fault.startswith(f"cannot publish me/x: {expected}")


@pytest.mark.slow
def test_an_upload_that_is_cut_is_tried_again_and_given_up_in_one_line(hub, folder):
    hub.faults.append(Fault("PUT /lfs", cut=True, times=1))
    publish(folder, "me/x", kind="model", token=TOKEN, message="m")
    hub.faults.append(Fault("PUT /lfs", cut=True))
    (folder / "model.safetensors").write_bytes(os.urandom(500_000))
    fault = fault_of(publish, folder, "me/x", kind="model", token=TOKEN, message="m")
    assert fault == "cannot publish me/x: the connection was cut: try again"


# -- fetching ------------------------------------------------------------------------------------------------------


def test_files_are_listed_with_their_sizes_and_the_commit(hub, repo):
    listing = list_files(HubReference("me/digits"))
    assert listing.reference == repo
    assert listing.sizes.items() >= {name: len(content) for name, content in FILES.items()}.items()
    assert not any("resolve" in asked for asked in hub.requests)


def test_exactly_the_files_asked_for_are_fetched_at_one_commit(hub, repo):
    told = []
    fetched = fetch(HubReference("me/digits"), LIMITS, optional={"README.md": 100, "missing.txt": 5},
                    on_progress=lambda done, total: told.append((done, total)))  # fmt: skip
    assert fetched.reference == repo
    assert {path.name: path.read_bytes() for path in fetched.folder.iterdir()} == FILES
    assert told[-1] == (300_012, 300_012)
    assert sorted(told) == told


def test_a_commit_that_is_in_the_cache_is_used_without_asking(hub, repo):
    assert cached(repo, LIMITS) is None
    fetched = fetch(repo, LIMITS)
    hub.requests.clear()
    assert fetch(repo, LIMITS) == fetched
    assert cached(repo, LIMITS) == fetched.folder
    assert cached(HubReference("me/digits"), LIMITS) is None  # nobody asked for its main branch
    assert hub.requests == []


def test_out_of_reach_a_branch_is_the_commit_that_it_was_and_this_is_said(hub, repo, caplog, monkeypatch):
    from huggingface_hub import constants

    reference = HubReference("me/digits")
    fetch(reference, LIMITS)
    hub.add("me/digits", FILES | {"config.yaml": b"name: y\n"})
    hub.faults.append(Fault("GET /api", 503))
    assert fetch(reference, LIMITS).reference == repo
    assert re.search(f"the Hub failed with 503.*Using the commit.*{repo.revision}", caplog.text)
    hub.faults.clear()
    assert fetch(reference, LIMITS).reference != repo  # it answers again
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetch(repo, LIMITS).reference == repo
    fault = fault_of(fetch, HubReference("me/other"), LIMITS)
    assert "HF_HUB_OFFLINE is set, and it is not in the cache" in fault


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"config.yaml": b"x"}, " has no model.safetensors: it is no model of this kind"),
        (FILES | {"config.yaml": bytes(1001)}, "has 1,001 bytes, more than the 1,000 expected"),
        (FILES | {"model.safetensors": bytes(300_001)}, "has 300,001 bytes, more than the 300,000 expected"),
    ],
)
def test_a_file_that_is_missing_or_too_large_is_refused_before_a_byte_is_downloaded(hub, files, expected):
    hub.add("me/bad", files)
    assert fault_of(fetch, HubReference("me/bad"), LIMITS).endswith(expected)
    assert not any("resolve" in asked for asked in hub.requests)


def test_more_bytes_than_announced_are_not_taken(hub, repo, monkeypatch):
    resolve = hub.RequestHandlerClass.resolve

    def grown(handler, repo, revision, name):
        if handler.command == "GET":
            handler.server.repos[repo].at(revision)[1][name] += bytes(50_000_000)
        resolve(handler, repo, revision, name)

    monkeypatch.setattr(hub.RequestHandlerClass, "resolve", grown)
    assert "the Hub sends more than the" in fault_of(fetch, repo, LIMITS)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault("GET /api", 401, headers={"X-Error-Code": "RepoNotFound"}), "there is no me/digits, or it is private"),
        (Fault("GET /api", 401, "Invalid username"), "it needs a valid token (Invalid username): set HF_TOKEN"),
        (Fault("GET /api", 401, headers={"X-Error-Message": "Invalid credentials in Authorization header"}),
         "it needs a valid token (Invalid credentials in Authorization header): set HF_TOKEN"),
        (Fault("GET /api", 403, headers={"X-Error-Code": "GatedRepo"}), "me/digits is gated: ask for access on http"),
        (Fault("GET /api", 403, headers={"X-Error-Message": "Access to this resource is disabled."}), "was disabled"),
        (Fault("GET /api", 404), "there is no me/digits, or it is private"),
        (Fault("GET /api", 404, headers={"X-Error-Code": "RevisionNotFound"}), "me/digits has no such revision"),
        (Fault("GET /api", 409, "busy"), "the Hub is busy with another change of me/digits (busy): try again"),
        (Fault("GET /api", 429), "too many requests: wait a few minutes"),
        (Fault("GET /api", 500), "the Hub failed with 500: try again later"),
        (Fault("GET /api", cut=True), "the connection was cut: try again"),
        (Fault("HEAD .*model.safetensors", 404, headers={"X-Error-Code": "EntryNotFound"}), "has no such file"),
        (Fault("GET .*model.safetensors", 429), "too many requests"),
        (Fault("GET .*model.safetensors", 403), "the token may not do this"),
        (Fault("GET .*model.safetensors", 502), "the Hub failed with 502"),
    ],
)  # fmt: skip
def test_what_goes_wrong_with_a_download_is_one_line_with_a_remedy(hub, repo, fault, expected):
    hub.faults.append(fault)
    assert expected in fault_of(fetch, repo, LIMITS)
    assert cached(repo, LIMITS) is None


@pytest.mark.slow
def test_a_download_that_is_cut_goes_on_where_it_was_or_leaves_nothing(hub, repo, tmp_path):
    hub.faults.append(Fault("GET .*model.safetensors", cut=True, times=2))
    assert (fetch(repo, LIMITS).folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    other = HubReference("me/other", hub.add("me/other", FILES | {"model.safetensors": os.urandom(300_000)}))
    hub.faults[:] = [Fault("GET .*other.*model.safetensors", cut=True)]
    assert "the connection was cut: try again" in fault_of(fetch, other, LIMITS)
    assert cached(other, LIMITS) is None
    assert not [*tmp_path.rglob("*.incomplete")]


def test_a_full_disk_says_so(hub, repo, monkeypatch):
    from huggingface_hub import file_download

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", "/somewhere")

    monkeypatch.setattr(file_download, "http_get", full)
    assert "the disk is full: make room, or let HF_HOME name a folder on another one" in fault_of(fetch, repo, LIMITS)


def test_nobody_there_and_nobody_who_answers(hub, repo, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(hub_module, "PATIENCE", 0.2)
    info = hub.RequestHandlerClass.info
    monkeypatch.setattr(hub.RequestHandlerClass, "info", lambda *a, **k: (time.sleep(0.6), info(*a, **k)))
    assert "did not answer in time: try again" in fault_of(list_files, repo)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "http://127.0.0.1:9 cannot be reached: check the connection" in fault_of(list_files, repo)


def test_what_is_no_hub_is_said(hub, repo):
    hub.repos["me/digits"].commits = {"not a commit": {}}
    assert "named no commit of hf://me/digits" in fault_of(list_files, HubReference("me/digits"))
