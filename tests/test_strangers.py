"""What strangers can do to a server: a web site under its own name, a link, a visitor who sends more than widgets."""

import http.client
import logging
import os
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from markdown_it import MarkdownIt
from websockets.exceptions import InvalidStatus

from ddpm.config import config_from_dict, config_to_yaml
from pages.components import models
from pages.components.door import is_own, own_names
from pages.components.turns import Replaced
from tests.browser.conftest import environment, serve, server_at
from tests.websocket_client import Visitor, connect, state

EVIL = "evil.example"
LURE = "[Sign in](//evil.example)![x](//evil.example/x.png) https://evil.example"
SECRET = "/srv/pictures-of-the-owner"


def _write_run(folder: Path, name: str) -> None:
    data = {"dataset": "folder", "path": SECRET, "image_size": 8}
    config = config_from_dict({"name": name, "data": data, "model": {"channel_mult": [1], "attention_resolutions": []}})
    (folder / "outputs" / name).mkdir(parents=True)
    (folder / "outputs" / name / "config.yaml").write_text(config_to_yaml(config))


@pytest.fixture(scope="module")
def private(tmp_path_factory):
    """A server at home, with a run, that others reach as lab.example.org: its address and its folder."""
    folder = tmp_path_factory.mktemp("private")
    _write_run(folder, "mine")
    with serve(folder, env=environment(folder) | {"DDPM_PUBLIC": "0", "DDPM_HOSTS": "lab.example.org"}) as url:
        yield url, folder


@pytest.fixture(scope="module")
def public(tmp_path_factory):
    """A public server that may show one of its owner's two runs."""
    folder = tmp_path_factory.mktemp("public")
    for name in ("shown", "hidden"):
        _write_run(folder, name)
    with serve(
        folder,
        env=environment(folder) | {"DDPM_PUBLIC": "1", "DDPM_MODELS": "run:shown", "DDPM_MAX_EVALUATIONS": "120"},
    ) as url:
        yield url


def request(url: str, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, str, dict[str, str]]:
    """Status, text and headers of an answer; 0 where the server hung up."""
    server = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    with suppress(BrokenPipeError, ConnectionResetError):  # it had answered already
        server.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    try:
        answer = server.getresponse()
        return answer.status, answer.read().decode("utf-8", "replace"), dict(answer.getheaders())
    except (ConnectionError, http.client.HTTPException):
        return 0, "", {}
    finally:
        server.close()


# -- names ---------------------------------------------------------------------------------------------------------

NETWORK, LOOPBACK = "0.0.0.0", "127.0.0.1"


@pytest.mark.parametrize(
    ("host", "listening", "own"),
    [
        ("127.0.0.1:8501", LOOPBACK, True),
        ("localhost", LOOPBACK, True),
        ("LOCALHOST.:8501", LOOPBACK, True),
        ("[::1]:8501", LOOPBACK, True),
        ("lab.example.org", LOOPBACK, True),
        ("any.example.net:443", LOOPBACK, True),
        ("example.net", LOOPBACK, False),
        ("evil.example:8501", LOOPBACK, False),
        ("lab.example.org.evil.example", LOOPBACK, False),
        ("localhost.evil.example", LOOPBACK, False),
        ("127.0.0.1.evil.example", LOOPBACK, False),
        ("192.168.1.5:8501", LOOPBACK, False),
        ("192.168.1.5:8501", NETWORK, True),
        ("192.168.1.5:8501", "", True),
        ("192.168.1.5:8501", "192.168.1.5", True),
        ("box:8501", "box", True),
        (socket.gethostname(), NETWORK, True),
        ("evil.example", NETWORK, False),
        ("me-digits.hf.space", NETWORK, True),
        ("", NETWORK, False),
        ("null", NETWORK, False),
        ("localhost@evil.example", NETWORK, False),
        ("localhost:x", NETWORK, False),
        ("localhost/..", NETWORK, False),
        ("localhost, evil.example", NETWORK, False),
    ],
)
def test_a_server_knows_its_names(host, listening, own, monkeypatch):
    monkeypatch.setenv("SPACE_HOST", "me-digits.hf.space")
    assert is_own(host, ("lab.example.org", "*.example.net"), listening) == own


def test_names_that_are_none_are_refused_at_the_start(monkeypatch):
    monkeypatch.setenv("DDPM_HOSTS", " Lab.example.org, *.example.net ")
    assert own_names() == ("lab.example.org", "*.example.net")
    for wrong in ("http://lab.example.org", "lab.example.org:8501", "*", "a b"):
        monkeypatch.setenv("DDPM_HOSTS", wrong)
        with pytest.raises(SystemExit, match=re.escape(f"got {wrong!r}")):
            own_names()


def _delete_mine(url: str, host: str, origin: str | None) -> None:
    with connect(url, host=host, origin=origin) as visitor:
        visitor.open("train")
        visitor.send(state(visitor.widget("train_Delete for good_mine"), trigger_value=True))


def test_a_site_under_its_own_name_runs_no_page_and_changes_nothing(private):
    url, folder = private
    port = urlsplit(url).port
    before = sorted(folder.rglob("outputs/**/*"))
    for host, origin in (
        (f"{EVIL}:{port}", f"http://{EVIL}:{port}"),
        (f"{EVIL}:{port}", None),
        (f"127.0.0.1:{port}", f"http://{EVIL}"),
        (f"127.0.0.1:{port}", "null"),
    ):
        with pytest.raises(InvalidStatus, match="403"):
            _delete_mine(url, host, origin)
    assert sorted(folder.rglob("outputs/**/*")) == before != []
    for method, path in (
        ("GET", "/"),
        ("GET", "/train"),
        ("PUT", "/_stcore/upload_file/a/b"),
        ("GET", "/_stcore/health"),
    ):
        status, text, _ = request(url, method, path, Host=f"{EVIL}:{port}")
        assert status == 403
        assert f"{EVIL}:{port} is no name of this server" in text
        assert f"DDPM_HOSTS={EVIL}" in text


@pytest.mark.slow
def test_under_its_own_names_it_is_served_also_behind_a_proxy(private):
    url, _ = private
    here = urlsplit(url).netloc
    for host, origin in (
        (here.replace("127.0.0.1", "localhost"), url.replace("127.0.0.1", "localhost")),
        ("lab.example.org", "https://lab.example.org"),  # a proxy that passes its own name on
        (here, "https://lab.example.org"),  # one that does not
    ):
        with connect(url, host=host, origin=origin) as visitor:
            visitor.open("curves")
            assert "Curves" in str(visitor.drawn)


# -- what a link says ----------------------------------------------------------------------------------------------


def said(visitor: Visitor) -> list[str]:
    """All that a page shows as Markdown."""
    return [shown.body for kind, shown in visitor.drawn.values() if kind in ("markdown", "alert", "toast")]


@pytest.mark.slow
@pytest.mark.parametrize(
    "link",
    ["playground?play_model=LURE", "playground?play_rolled=LURE", "playground?play_draw=LURE", "schedules?sched=LURE",
     "playground?play_model=digits&play_count=1&play_steps=2&play_pixels=LURE", "train?train_schedule=LURE",
     "curves?curves_axis=LURE", "ladder?ladder_model=LURE"],
)  # fmt: skip
def test_what_a_link_says_is_shown_as_text(link, private):
    page, _, query = link.replace("LURE", quote(LURE)).partition("?")
    with connect(private[0]) as visitor:
        visitor.open(page, query)
        shown = [text for text in said(visitor) if "Sign in" in text]
        assert shown
        for text in shown:
            tokens = [each for token in MarkdownIt().parse(text) for each in token.children or ()]
            assert not {"link_open", "image"} & {token.type for token in tokens}
            plain = "".join(token.content for token in tokens if token.type != "code_inline")
            assert not re.search(r"https?://evil|www\.", plain)  # of which Streamlit makes a link by itself


# -- what belongs to the owner -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_public_pages_show_no_folder_and_only_the_runs_that_the_owner_names(public):
    for page, query in (
        ("train", "train_from=run:shown"),
        ("train", "train_from=run:hidden"),
        ("curves", "curves_runs=hidden"),
        ("evaluate", "eval_model=run:hidden"),
    ):
        with connect(public) as visitor:
            visitor.open(page, query)
            everything = str(visitor.drawn).replace(query, "")  # what the link said, as it is told
        assert Path(SECRET).name not in everything
        assert "run:hidden" not in everything
        assert '"hidden"' not in everything
        assert ("your/images" in everything) == (query == "train_from=run:shown")


@pytest.mark.slow
def test_figures_of_the_server_are_for_its_owner(private, public):
    assert request(private[0], "GET", "/_stcore/metrics")[0] == 200
    for path in ("/_stcore/metrics", "/_stcore/metrics?families=cache_memory_bytes", "/_stcore/metrics/"):
        status, text, _ = request(public, "GET", path)
        assert status in (404, 307), path
        assert "cache_memory" not in text


# -- uploads -------------------------------------------------------------------------------------------------------


def upload(url: str, visitor: Visitor, name: str, content: bytes, token: str) -> int:
    body = b'--b\r\nContent-Disposition: form-data; name="f"; filename="x.png"\r\n\r\n' + content + b"\r\n--b--\r\n"
    headers = {
        "Content_Type": "multipart/form-data; boundary=b",
        "X_Xsrftoken": token,
        "Cookie": f"_streamlit_xsrf={token}",
    }
    return request(url, "PUT", f"/_stcore/upload_file/{visitor.session_id}/{name}", body, **headers)[0]


@pytest.mark.slow
def test_twenty_visitors_do_not_fill_the_memory_with_files(public):
    sessions, each, content = 20, 40 if os.environ.get("DDPM_SOAK") else 4, bytes(9_900_000)
    server = server_at(public)
    token = re.search("_streamlit_xsrf=([^;]+)", request(public, "GET", "/_stcore/health")[2]["set-cookie"])[1]
    with ExitStack() as open_:
        visitors = [open_.enter_context(connect(public)) for _ in range(sessions)]
        for visitor in visitors:
            visitor.open("share")  # which is off in public, and so the quickest
        before, most = server.memory_info().rss, 0
        taken = []
        for visitor in visitors:
            with ThreadPoolExecutor(4) as pool:
                names = map(str, range(each))
                statuses = list(pool.map(lambda name, who=visitor: upload(public, who, name, content, token), names))
            assert set(statuses) <= {204, 413, 0}
            taken.append(statuses.count(204))
            most = max(most, server.memory_info().rss - before)
    assert taken[0] == 3  # 30 MB
    assert sum(taken) == 21  # 200 MB
    assert most < 300e6


def test_a_file_as_large_as_the_images_of_a_training_is_refused_in_public(public):
    token = re.search("_streamlit_xsrf=([^;]+)", request(public, "GET", "/_stcore/health")[2]["set-cookie"])[1]
    with connect(public) as visitor:
        visitor.open("share")
        assert upload(public, visitor, "1", bytes(10 * 2**20 + 20_000), token) in (413, 0)


def test_an_upload_that_does_not_say_its_length_is_refused(public):
    with connect(public) as visitor:
        visitor.open("share")
        headers = {"Transfer_Encoding": "chunked"}
        assert request(public, "PUT", f"/_stcore/upload_file/{visitor.session_id}/x", b"0\r\n\r\n", **headers)[0] == 411


# -- downloads -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("error", "records"), [(Replaced(), 0), (ValueError("x"), 1)])
def test_a_download_that_another_one_replaces_is_no_error_in_the_log(error, records, caplog):
    log = logging.getLogger("streamlit.runtime.backend_operation_handler")
    assert models._worth_logging in log.filters
    log.addHandler(caplog.handler)
    try:
        raise RuntimeError("Callable execution failed") from error
    except RuntimeError:
        log.exception("Error executing deferred callable for file_id %s", "x")
    finally:
        log.removeHandler(caplog.handler)
    assert len({id(record) for record in caplog.records}) == records
