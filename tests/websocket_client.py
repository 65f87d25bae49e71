"""A visitor without a browser, who speaks Streamlit's protocol and may send what no browser sends.

``with connect(url) as visitor:`` is a session; ``visitor.open("playground", "play_seed=3")`` runs a page and waits for
it; ``visitor.widgets`` are those that it shows, and ``visitor.send(state(widget, string_value="x"))`` runs the page
again with that value.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from socket import create_connection
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from google.protobuf.message import Message
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.Common_pb2 import FileUploaderState
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as connect_websocket

PATIENCE = 600  # seconds for an answer
QUIET = 0.5  # seconds after which nothing more comes of what seems to be finished


@dataclass(frozen=True)
class Widget:
    kind: str
    """Its name in Streamlit's protocol, such as ``multiselect``; a button that submits a form is a ``button`` too."""
    shown: Message
    """Its element or block, as a browser draws it."""

    @property
    def id(self) -> str:
        return self.shown.id

    @property
    def key(self) -> str:
        """The key in the page's code, ``None`` as text where it has none."""
        return self.id.split("-", 2)[-1]


def state(widget: Widget | str, **value) -> WidgetState:
    """The value of a widget, or of an id, as a field of ``WidgetState``: ``int_value=3``, ``string_array_value=["a"]``;
    without a field, a value that was cleared."""
    made = WidgetState(id=widget if isinstance(widget, str) else widget.id)
    for name, content in value.items():
        kind = WidgetState.DESCRIPTOR.fields_by_name[name].message_type
        if kind is None:
            setattr(made, name, content)
        elif isinstance(content, Message):
            getattr(made, name).CopyFrom(content)
        elif isinstance(content, list):
            getattr(made, name).SetInParent()
            getattr(made, name).data.extend(content)
        else:
            getattr(made, name).data = content
    return made


@dataclass
class Visitor:
    """A session with the server; one message at a time is sent and answered."""

    url: str
    socket: ClientConnection
    page: str = ""
    query: str = ""
    session_id: str = ""
    running: bool = False
    """Whether a run was asked for and is not finished."""
    drawn: dict[tuple[int, ...], tuple[str, Message]] = field(default_factory=dict)
    """What the page shows, by place: the kind of each element and block, and itself."""

    @property
    def widgets(self) -> list[Widget]:
        return [Widget(kind, shown) for kind, shown in self.drawn.values() if getattr(shown, "id", "")]

    @property
    def exceptions(self) -> list[str]:
        """The messages of the exceptions on the page."""
        return [shown.message for kind, shown in self.drawn.values() if kind == "exception"]

    @property
    def text(self) -> str:
        """All Markdown of the page, alerts among it."""
        return "\n".join(shown.body for kind, shown in self.drawn.values() if kind in ("markdown", "alert", "html"))

    def widget(self, key: str) -> Widget:
        """The widget of a key.

        Raises:
            KeyError: the page shows none.
        """
        for widget in self.widgets:
            if widget.key == key:
                return widget
        raise KeyError(f"no widget {key} on {self.page or 'home'}: {sorted(widget.key for widget in self.widgets)}")

    def open(self, page: str = "", query: str = "") -> float:
        """Run a page by its name in the address, Home is "", as a link to it does; the seconds that it took."""
        self.page, self.query = page, query
        return self.send()

    def send(self, *states: WidgetState) -> float:
        """Run the page again with these values; the seconds until it was finished."""
        started = time.monotonic()
        self.ask(*states)
        self.wait()
        return time.monotonic() - started

    def ask(self, *states: WidgetState) -> None:
        """``send`` without waiting: the next one interrupts it."""
        message = BackMsg()
        message.rerun_script.page_name, message.rerun_script.query_string = self.page, self.query
        message.rerun_script.widget_states.widgets.extend(states)
        self.running = True
        self.post(message)

    def post(self, message: BackMsg) -> None:
        """Send any message, without waiting for what comes of it."""
        self.socket.send(message.SerializeToString())

    def upload(self, uploader: Widget, name: str, content: bytes) -> WidgetState:
        """Bring a file to the server; the value of the uploader that ``send`` then tells of.

        Raises:
            urllib.error.HTTPError: the server refuses the file.
        """
        asked = BackMsg()
        asked.file_urls_request.request_id, asked.file_urls_request.session_id = name, self.session_id
        asked.file_urls_request.file_names.append(name)
        self.post(asked)
        while (message := self._receive(PATIENCE)).WhichOneof("type") != "file_urls_response":
            pass
        urls = message.file_urls_response.file_urls[0]
        boundary = "of the parts"
        head = f'Content-Disposition: form-data; name="{urls.file_id}"; filename="{name}"'
        body = f"--{boundary}\r\n{head}\r\n\r\n".encode() + content + f"\r\n--{boundary}--\r\n".encode()
        with urlopen(f"{self.url}/_stcore/health", timeout=PATIENCE) as answer:
            cookie = SimpleCookie(answer.headers["Set-Cookie"])["_streamlit_xsrf"].value
        headers = {
            "Content-Type": f'multipart/form-data; boundary="{boundary}"',
            "Cookie": f"_streamlit_xsrf={cookie}",
            "X-Xsrftoken": cookie,
        }
        urlopen(Request(f"{self.url}{urls.upload_url}", body, headers, method="PUT"), timeout=PATIENCE).close()
        files = FileUploaderState()
        files.uploaded_file_info.add(file_id=urls.file_id, name=name, size=len(content), file_urls=urls)
        return state(uploader, file_uploader_state_value=files)

    def download(self, button: Widget) -> str:
        """Have a file made that is made at the click: its address on the server, or what the server says is wrong."""
        asked = BackMsg()
        operation = asked.backend_operation_request
        operation.request_id, operation.session_id = button.id, self.session_id
        operation.deferred_file.file_id = button.shown.deferred_file_id
        self.post(asked)
        while (message := self._receive(PATIENCE)).WhichOneof("type") != "backend_operation_response":
            pass
        return message.backend_operation_response.deferred_file.url or message.backend_operation_response.error_msg

    def wait(self, seconds: float = PATIENCE) -> None:
        """Read until a run of the page is finished.

        Raises:
            TimeoutError: it was not within ``seconds``.
        """
        end = time.monotonic() + seconds
        while not self._read(self._receive(max(0.0, end - time.monotonic()))):
            pass

    def settle(self) -> None:
        """Read until the last of several runs that were asked for is finished: the server says nothing more.

        Raises:
            TimeoutError: it was not.
        """
        end = time.monotonic() + PATIENCE
        while True:
            try:
                self._read(self._receive(QUIET))
            except TimeoutError:
                if not self.running:
                    return
                if time.monotonic() > end:
                    raise

    def _read(self, message: ForwardMsg) -> bool:
        """Take in what the server says; whether it is that a run is finished."""
        match message.WhichOneof("type"):
            case "new_session":
                self.session_id, self.running = message.new_session.initialize.session_id, True
                if not message.metadata.run.fragment_ids:
                    self.drawn.clear()
            case "delta":
                self._draw(tuple(message.metadata.delta_path), message.delta)
            case "script_finished":
                self.running = message.script_finished == ForwardMsg.FINISHED_EARLY_FOR_RERUN
                return not self.running
        return False

    def _receive(self, seconds: float) -> ForwardMsg:
        return ForwardMsg.FromString(self.socket.recv(seconds))

    def _draw(self, place: tuple[int, ...], delta: Message) -> None:
        match delta.WhichOneof("type"):
            case "new_element":
                kind = delta.new_element.WhichOneof("type")
                self.drawn[place] = kind, getattr(delta.new_element, kind)
            case "add_block":
                kind = delta.add_block.WhichOneof("type") or "block"
                self.drawn[place] = kind, getattr(delta.add_block, kind, delta.add_block)


@contextmanager
def connect(url: str, host: str | None = None, origin: str | None = None) -> Iterator[Visitor]:
    """A session at the server of ``url`` (http://127.0.0.1:8501).

    Args:
        host: the Host header, that of ``url`` unless it is given.
        origin: the Origin header, none unless it is given; a browser sends the address of the page that connects.

    Raises:
        websockets.exceptions.InvalidStatus: the server refuses the connection.
    """
    server = urlsplit(url)
    address = f"ws://{host or server.netloc}/_stcore/stream"
    with connect_websocket(
        address,
        sock=create_connection((server.hostname, server.port), PATIENCE),
        origin=origin,
        subprotocols=["streamlit"],
        max_size=None,
        open_timeout=PATIENCE,
    ) as socket:
        yield Visitor(url, socket)
