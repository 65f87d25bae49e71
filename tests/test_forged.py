"""Messages as no browser sends them, to a real server: every widget ends with what it offers, and nothing is lost.

``make soak`` sends 5,000 of them, in public mode and at home; the seed is always the same.
"""

import os
import random
from pathlib import Path

import pytest
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.Common_pb2 import FileUploaderState
from streamlit.proto.WidgetStates_pb2 import WidgetState, WidgetStates
from streamlit.runtime.state.common import WidgetMetadata
from streamlit.runtime.state.session_state import SessionState, Value, WStates

from pages.components import frame  # noqa: F401  which replaces what Streamlit does not check
from tests.browser.conftest import environment, serve, server_at
from tests.websocket_client import Visitor, Widget, connect, state

SOAK = bool(os.environ.get("DDPM_SOAK"))
MESSAGES = 5000 if SOAK else 300
MODES = ["public", "home"] if SOAK else ["public"]
PAGES = {"public": ["", "playground", "draw", "ladder", "schedules", "plane", "train", "curves", "evaluate"]}
PAGES["home"] = [*PAGES["public"], "share"]
# An honest click on one of these makes the machine work, for minutes in all; they are sent everything but that.
WORKING = ("play_generate", "play_roll", "ladder_go", "home_roll", "train_launch", "eval_start", "FormSubmitter",
           "sampling_stop")  # fmt: skip
GROWTH = 100e6  # bytes
SESSION, BURST = 42, 42  # messages of a visitor in all, and such as interrupt each other


@pytest.fixture(scope="module", params=MODES)
def mode(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def log(mode, tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("server") / "server.log"


@pytest.fixture(scope="module")
def url(mode, log):
    with serve(log.parent, env=environment(log.parent) | {"DDPM_PUBLIC": str(int(mode == "public"))}) as url:
        yield url


def memory(url: str) -> int:
    return server_at(url).memory_info().rss


def cpu(url: str) -> float:
    """Seconds that the server has computed."""
    times = server_at(url).cpu_times()
    return times.user + times.system


# -- single messages -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_choice_repeated_a_hundred_thousand_times_counts_once(url):
    with connect(url) as visitor:
        visitor.open("playground")
        before, computed = memory(url), cpu(url)
        visitor.send(state(visitor.widget("play_frames"), string_array_value=["result"] * 100_000))
        strip = next(widget for widget in visitor.widgets if getattr(widget.shown, "label", "") == "Strip")
        assert visitor.download(strip).endswith(".png")
        assert cpu(url) - computed < 5
        assert memory(url) - before < GROWTH
        assert not visitor.exceptions


@pytest.mark.slow
def test_an_honest_value_is_taken_in_either_kind_of_number(url):
    with connect(url) as visitor:
        visitor.open("playground", "play_live=false")
        for value in ({"int_value": 4}, {"double_value": 3.0}):
            visitor.send(
                state(visitor.widget("play_count"), **value), state(visitor.widget("play_generate"), trigger_value=True)
            )
            (count,) = value.values()
            assert f"{count:.0f} generated images" in str(visitor.drawn.values())


@pytest.mark.slow
def test_a_config_is_measured_before_it_is_read(url):
    with connect(url) as visitor:
        visitor.open("train")
        before = cpu(url)
        visitor.send(
            state(visitor.widget("train_yaml_1"), string_value=f"a: [{'x,' * 190_000}]"),
            state(visitor.widget("train_training_epochs"), string_value="3"),
        )
        assert cpu(url) - before < 3
        assert "has more than 20,000 characters, which are the most of a config" in visitor.text
        assert not visitor.exceptions


@pytest.mark.slow
def test_all_fields_of_a_message_are_written_at_once(url):
    with connect(url) as visitor:
        visitor.open("train")
        key = next(widget for widget in visitor.widgets if widget.key.startswith("train_yaml"))
        visitor.send(state(key, string_value=f"extra: [{'x,' * 8000}]\n{key.shown.default}"))
        fields = [widget for widget in visitor.widgets if widget.kind == "text_input" and "yaml" not in widget.key]
        before = cpu(url)
        visitor.send(*(state(field, string_value="7") for field in fields))
        assert len(fields) > 20
        assert cpu(url) - before < 10  # reading it takes a second
        assert not visitor.exceptions


@pytest.mark.slow
def test_a_file_too_large_for_a_config_is_not_read(url):
    with connect(url) as visitor:
        visitor.open("train")
        visitor.send(state(visitor.widget("train_from"), string_value="a YAML file"))
        uploader = next(widget for widget in visitor.widgets if widget.kind == "file_uploader")
        before = cpu(url)
        visitor.send(visitor.upload(uploader, "big.yaml", f"a: [{'x,' * 190_000}]".encode()))
        assert cpu(url) - before < 3
        assert "The file has 380,005 bytes; 20,000 characters are the most of a config" in visitor.text


@pytest.mark.slow
def test_a_file_of_another_name_than_asked_for_is_none(url, log):
    with connect(url) as visitor:
        visitor.open("train")
        visitor.send(state(visitor.widget("train_from"), string_value="a YAML file"))
        uploader = next(widget for widget in visitor.widgets if widget.kind == "file_uploader")
        visitor.send(visitor.upload(uploader, "config.exe", b"name: x"))
        assert not visitor.exceptions
        assert "Traceback" not in log.read_text(encoding="utf-8")


@pytest.mark.slow
def test_nobody_clears_what_all_visitors_share(url):
    def cost() -> float:
        before = cpu(url)
        with connect(url) as visitor:
            visitor.open("evaluate")
        return cpu(url) - before

    cost()
    warm = cost()
    for _ in range(2):
        with connect(url) as visitor:
            visitor.open("")
            visitor.post(BackMsg(clear_cache=True))
            visitor.send()  # after which the other was seen to
        assert cost() < 2 * warm + 0.5


ROLLS = ['{"roll": "x"}', '{"roll": -1}', '{"roll": 10000}', '{"roll": [1]}', '{"roll": true}', '{"roll": {"a": 1}}',
         "{", "[" * 9999, "null", '"roll"']  # fmt: skip
EVENTS = ["[[]]", *(f'[{{"event": "roll", "value": {value}}}]' for value in ("null", '"x"', "-1", "10000", "[1]"))]


@pytest.mark.slow
def test_an_image_that_is_not_there_is_not_rolled(url, log):
    with connect(url) as visitor:
        visitor.open("playground")
        player = visitor.widget("play_player")
        for message in [
            *(state(player, json_value=value) for value in ROLLS),
            *(state(events_of(player), json_trigger_value=value) for value in (*EVENTS, *ROLLS)),
        ]:
            before = cpu(url)
            visitor.send(message)
            assert not visitor.exceptions
            assert cpu(url) - before < 3
    assert "Traceback" not in log.read_text(encoding="utf-8")


def events_of(component: Widget) -> str:
    """Where a component of ours tells of events."""
    return f"$$STREAMLIT_INTERNAL_KEY_{component.id}__events"


# -- many messages -------------------------------------------------------------------------------------------------

TEXTS = ["", "x", "\0", "NaN", "-1", "1e999", "9" * 5000, "😀", "../../etc/passwd", "<b>", "run:x", "hf://a/b", "null",
         "a: [", "{{7*7}}"]  # fmt: skip
NUMBERS = [0.0, -1.0, 0.5, 3.0, 64.0, 1e6, 1e300, float("nan"), float("inf"), float("-inf")]


def forged(draw: random.Random, widget: Widget, size: int) -> WidgetState:
    """A value of any kind for a widget: of the wrong type, out of range, repeated, huge, or now and then an honest one;
    of about ``size`` bytes where it is huge."""
    options = [str(option) for option in getattr(widget.shown, "options", [])] or ["x"]

    def text() -> str:
        return draw.choice([draw.choice(TEXTS), draw.choice(options), "x" * size])

    def texts() -> list[str]:
        one = [text(), draw.choice(options)]
        return draw.choice([[], one, one * 3, [draw.choice(options)] * (size // 8), [str(i) for i in range(size // 8)]])

    def numbers() -> list[float]:
        return draw.choice([[], [draw.choice(NUMBERS)], draw.choices(NUMBERS, k=2), [1.0] * (size // 8)])

    files = FileUploaderState()
    files.uploaded_file_info.add(file_id=text(), name=text(), size=draw.randrange(10**9))
    json = draw.choice(['{"roll": "x"}', '{"roll": 99999}', "[" * 9999, "{", '[{"event": "roll", "value": null}]',
                        '{"a": "' + "x" * size + '"}', "9" * 5000])  # fmt: skip
    kinds = {
        "trigger_value": lambda: not widget.key.startswith(WORKING),
        "bool_value": lambda: draw.random() < 0.5,
        "double_value": lambda: draw.choice(NUMBERS),
        "int_value": lambda: draw.choice([0, -1, 2**62]),
        "string_value": text,
        "double_array_value": numbers,
        "int_array_value": lambda: draw.choice([[], [1], [2**62] * 3]),
        "string_array_value": texts,
        "json_value": lambda: json,
        "json_trigger_value": lambda: json,
        "bytes_value": lambda: b"x" * size,
        "file_uploader_state_value": lambda: files,
        "string_trigger_value": text,
    }
    kind = draw.choice(list(kinds))
    id = events_of(widget) if widget.kind == "bidi_component" and draw.random() < 0.5 else widget.id
    return state(id, **{kind: kinds[kind]()})


def message(draw: random.Random, visitor: Visitor, others: list[Widget]) -> list[WidgetState]:
    """Values for a few of the page's widgets, or of another page's."""
    size = draw.choice([10, 1000, 1000, 300_000])
    about = draw.choices(visitor.widgets, k=draw.choice([1, 1, 3])) + draw.choices(others, k=draw.random() < 0.1)
    return [forged(draw, widget, size) for widget in about]


@pytest.mark.slow
def test_a_server_takes_whatever_is_sent(mode, url, log):
    draw, pages = random.Random(0), PAGES[mode]
    others: list[Widget] = []
    for page in pages:
        with connect(url) as visitor:
            visitor.open(page)
            others += visitor.widgets
    kinds = {widget.kind for widget in others}
    assert kinds >= {"selectbox", "slider", "number_input", "multiselect", "button_group", "text_area", "checkbox"}
    before = memory(url)
    for first in range(0, MESSAGES, SESSION):
        page = pages[first // SESSION % len(pages)]
        if first % (12 * SESSION) == 0:  # whether it goes on growing, or up to what the caches hold
            print(f"{mode}, {first:,} messages: {memory(url) / 1e6:.0f} MB")
        with connect(url) as visitor:
            visitor.open(page)
            for _ in range(0, SESSION, BURST):
                for _ in range(BURST):
                    visitor.ask(*message(draw, visitor, others))
                visitor.settle()
                assert not visitor.exceptions
    print(f"{mode}: {before / 1e6:.0f} -> {memory(url) / 1e6:.0f} MB")
    before_it, traceback, after = log.read_text(encoding="utf-8").partition("Traceback")
    assert not traceback, before_it[-1000:] + traceback + after[:6000]
    with connect(url) as visitor:
        assert visitor.open("playground") < 2
    assert memory(url) - before < GROWTH


def test_values_may_change_while_one_goes_through_them():
    states = WStates()
    states["a"], states["b"] = Value(1), Value(2)
    for name in states:
        states[f"{name}, too"] = Value(3)
        del states[name]
    assert set(states) == {"a, too", "b, too"}


@pytest.mark.parametrize("pressed", [False, True])
def test_a_callback_runs_when_a_button_is_pressed_and_not_when_its_state_was_forgotten(pressed):
    session = SessionState()
    session._set_widget_metadata(WidgetMetadata("id", bool, bool, "trigger_value", callback=lambda: None))
    told = WidgetState(id="id", trigger_value=True) if pressed else WidgetState(id="id", string_value="x")
    session.set_widgets_from_proto(WidgetStates(widgets=[told]))
    assert session._widget_changed("id") == pressed  # by which Streamlit decides
